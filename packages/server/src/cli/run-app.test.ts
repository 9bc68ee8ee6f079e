import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import { createInterface } from "node:readline";
import { afterEach, expect, test } from "vitest";

/** A process that runs an app whose `start` and `stop` are these expressions, and exits with what `runApp` says. */
function program(start: string, stop: string): string {
  return `
    import { createLogger } from ${JSON.stringify(import.meta.resolve("../runtime/logger.ts"))};
    import { runApp } from ${JSON.stringify(import.meta.resolve("./run-app.ts"))};
    const logger = createLogger({ level: "info" });
    const app = { name: "app", start: async () => { ${start} }, stop: async (signal) => { ${stop} }, address: () => "http://here" };
    const code = await runApp(app, { logger, shutdownTimeoutMs: 200, version: "1" }).catch((error) => {
      console.error("thrown: " + error.message);
      return 9;
    });
    process.exit(code);
  `;
}

const children: ChildProcess[] = [];
afterEach(() => {
  for (const child of children.splice(0)) child.kill("SIGKILL");
});

interface Run {
  readonly child: ChildProcess;
  readonly events: string[];
  /** Resolves once a line with this event was logged. */
  logged(event: string): Promise<void>;
  readonly exitCode: Promise<number>;
}

function run(start: string, stop: string): Run {
  const child = spawn(process.execPath, ["--input-type=module-typescript", "-e", program(start, stop)], {
    stdio: ["ignore", "pipe", "inherit"],
  });
  children.push(child);
  const events: string[] = [];
  const waiting = new Map<string, () => void>();
  createInterface({ input: child.stdout }).on("line", (line) => {
    const { event } = JSON.parse(line) as { event: string };
    events.push(event);
    waiting.get(event)?.();
  });
  return {
    child,
    events,
    logged: (event) =>
      new Promise((resolve) => {
        if (events.includes(event)) resolve();
        else waiting.set(event, resolve);
      }),
    exitCode: once(child, "close").then(([code]) => code as number),
  };
}

test.each(["SIGTERM", "SIGINT"] as const)(
  "%s stops cleanly, exit code 0; SIGHUP before it changes nothing",
  async (name) => {
    const app = run("", "");
    await app.logged("started");
    app.child.kill("SIGHUP");
    await app.logged("signal_ignored");
    app.child.kill(name);
    expect(await app.exitCode).toBe(0);
    expect(app.events).toEqual(["started", "signal_ignored", "stopping", "stopped"]);
  },
);

test("a signal while the app still starts stops it", async () => {
  const app = run(`logger.info({ event: "begun" }); await new Promise(() => {});`, "");
  await app.logged("begun");
  app.child.kill("SIGTERM");
  expect(await app.exitCode).toBe(0);
  expect(app.events).toEqual(["begun", "stopping", "stopped"]);
});

test("the stop's signal aborts after the shutdown time", async () => {
  const app = run("", `await new Promise((resolve) => signal.addEventListener("abort", resolve));`);
  await app.logged("started");
  app.child.kill("SIGTERM");
  expect(await app.exitCode).toBe(0);
});

test("a second signal ends a stop that hangs, at once, exit code 1", async () => {
  const app = run("", "await new Promise(() => {});");
  await app.logged("started");
  app.child.kill("SIGTERM");
  await app.logged("stopping");
  // As npm does it with Ctrl+C: once more, at once. That is no second wish.
  app.child.kill("SIGINT");
  await new Promise((resolve) => setTimeout(resolve, 500));
  expect(app.child.exitCode).toBe(null);
  app.child.kill("SIGTERM");
  expect(await app.exitCode).toBe(1);
  expect(app.events).toEqual(["started", "stopping", "stop_forced"]);
});

test("without a second signal, a stop that hangs is given up, exit code 1", async () => {
  const app = run("", "await new Promise(() => {});");
  await app.logged("started");
  app.child.kill("SIGTERM");
  expect(await app.exitCode).toBe(1);
  expect(app.events).toEqual(["started", "stopping", "stop_gave_up"]);
}, 30_000);

test.each([
  ["rejection", `void Promise.reject(new Error("lost"));`],
  ["exception", `setImmediate(() => { throw new Error("lost"); });`],
])("an unhandled %s is logged, stops the app, exit code 1", async (_kind, start) => {
  const app = run(start, `logger.info({ event: "stop_called" });`);
  expect(await app.exitCode).toBe(1);
  expect(app.events.filter((event) => event !== "started")).toEqual(["fatal", "stop_called", "stopped"]);
});

test("a failed start is thrown after the app was stopped", async () => {
  const app = run(`throw new Error("broken");`, `logger.info({ event: "stop_called" });`);
  expect(await app.exitCode).toBe(9);
  expect(app.events).toEqual(["stop_called", "stopped"]);
});

test("a stop that fails is logged, exit code 1", async () => {
  const app = run("", `throw new Error("broken");`);
  await app.logged("started");
  app.child.kill("SIGTERM");
  expect(await app.exitCode).toBe(1);
  expect(app.events).toEqual(["started", "stopping", "stop_failed"]);
});
