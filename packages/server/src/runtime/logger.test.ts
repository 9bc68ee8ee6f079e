import { EmcacheError } from "@emcache/protocol";
import { expect, test } from "vitest";
import { createLogger, moduleLogger, setLogLevels } from "./logger.ts";

type Line = Readonly<Record<string, unknown>>;

function memoryLogger(level: string): { logger: ReturnType<typeof createLogger>; lines: Line[]; text: () => string } {
  const written: string[] = [];
  const lines: Line[] = [];
  const destination = {
    write(text: string): void {
      written.push(text);
      lines.push(JSON.parse(text) as Line);
    },
  };
  return { logger: createLogger({ level, destination }), lines, text: () => written.join("") };
}

test("writes one JSON object a line with level, time and event", () => {
  const { logger, lines } = memoryLogger("info");
  logger.info({ event: "copy_started", entity: "users" }, "copy started");
  logger.debug({ event: "hidden" }, "not at this level");
  expect(lines).toEqual([
    {
      level: "info",
      time: expect.stringMatching(/^\d{4}-\d\d-\d\dT.*Z$/),
      event: "copy_started",
      entity: "users",
      msg: "copy started",
    },
  ]);
});

test("never writes a password, wherever in the line it stands", () => {
  const { logger, text } = memoryLogger("info");
  const uri = "mongodb://app:hunter2@db.example:27017/app";
  logger.info({ event: "a", uri, nested: { list: [uri] } }, `connecting to ${uri}`);
  const error = new EmcacheError("source_unavailable", `no answer from ${uri}`, { cause: new Error(uri) });
  logger.error({ event: "b", err: error }, error.message);
  logger.child({ uri }).warn({ event: "c", error }, "again");
  expect(text()).not.toContain("hunter2");
  expect(text()).toContain("mongodb://app:***@db.example:27017/app");
});

test("shows an error's code, hint and stack", () => {
  const { logger, lines } = memoryLogger("info");
  logger.error({ event: "x", err: new EmcacheError("cache_damaged", "bad page") }, "bad page");
  expect(lines[0]?.["err"]).toMatchObject({ code: "cache_damaged", stack: expect.stringContaining("logger.test.ts") });
});

test("a module has its own level, and its children too", () => {
  const { logger, lines } = memoryLogger("warn,source=debug");
  moduleLogger(logger, "source").debug({ event: "seen" }, "");
  moduleLogger(logger.child({ process: 1 }), "source")
    .child({ name: "main" })
    .debug({ event: "seen too" }, "");
  moduleLogger(logger, "oplog").info({ event: "hidden" }, "");
  expect(lines.map((line) => [line["event"], line["module"]])).toEqual([
    ["seen", "source"],
    ["seen too", "source"],
  ]);
});

test("levels can be set anew while it runs, for the modules too", () => {
  const { logger, lines } = memoryLogger("info");
  const source = moduleLogger(logger, "source");
  const api = moduleLogger(logger, "api");
  setLogLevels(logger, "warn,source=debug");
  source.debug({ event: "shown" }, "now shown");
  api.info({ event: "hidden" }, "now hidden");
  logger.info({ event: "hidden" }, "hidden too");
  expect(lines.map(({ event }) => event)).toEqual(["shown"]);
  expect(() => setLogLevels(logger, "loud")).toThrow(/"loud" is no level/);
});
