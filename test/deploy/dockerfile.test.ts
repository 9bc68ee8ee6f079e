import { execFile, spawn } from "node:child_process";
import { once } from "node:events";
import { cpSync, mkdirSync, readFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import { createInterface } from "node:readline";
import { promisify } from "node:util";
import { expect, test } from "vitest";
import { useTestFolder } from "../support/use-test-folder.ts";

const run = promisify(execFile);
const root = fileURLToPath(new URL("../..", import.meta.url));
const folder = useTestFolder("dockerfile");

/** `npm ci`, a build and an install. */
const BUILD_TIMEOUT_MS = 900_000;

interface Instruction {
  readonly word: string;
  readonly rest: string;
}

/** The instructions of a Dockerfile, continued lines joined. */
function instructionsOf(file: string): Instruction[] {
  return readFileSync(file, "utf8")
    .replaceAll(/^#.*\n/gm, "")
    .replaceAll("\\\n", " ")
    .split("\n")
    .filter((line) => line.trim() !== "")
    .map((line) => {
      const [word = "", ...rest] = line.trim().split(/\s+/);
      return { word, rest: rest.join(" ") };
    });
}

test(
  "the Dockerfile's build runs in a fresh folder, and what it makes serves",
  async () => {
    const instructions = instructionsOf(join(root, "Dockerfile"));
    const stages = instructions.flatMap(({ word }, index) => (word === "FROM" ? [index] : []));
    const build = join(folder, "build");
    mkdirSync(build);
    for (const { word, rest } of instructions.slice(stages[0], stages[1])) {
      if (word === "COPY") await copyTracked(build);
      if (word === "RUN") await run("sh", ["-ec", rest], { cwd: build, maxBuffer: 64 * 1_048_576 });
    }
    const emcache = join(build, "app/node_modules/.bin/emcache");
    expect((await run(emcache, ["--version"])).stdout.trim()).toMatch(/^\d+\.\d+\.\d+$/);
    const answer = await whileServing(emcache, (address) => fetch(`${address}/health/live`));
    expect(answer.status).toBe(200);
  },
  BUILD_TIMEOUT_MS,
);

test("the image's program is not root, and is asked whether it lives", () => {
  const instructions = instructionsOf(join(root, "Dockerfile"));
  const last = instructions.slice(instructions.findLastIndex(({ word }) => word === "FROM"));
  expect(last.find(({ word }) => word === "USER")?.rest).toMatch(/^[1-9]\d+/);
  expect(last.find(({ word }) => word === "HEALTHCHECK")?.rest).toContain("/health/live");
  expect(last.find(({ word }) => word === "ENTRYPOINT")?.rest).toBe('["emcache"]');
});

/** What `COPY . .` takes from a clean checkout. */
async function copyTracked(target: string): Promise<void> {
  const { stdout } = await run("git", ["ls-files", "-z"], { cwd: root, maxBuffer: 64 * 1_048_576 });
  for (const file of stdout.split("\0").filter((name) => name !== "")) {
    mkdirSync(dirname(join(target, file)), { recursive: true });
    cpSync(join(root, file), join(target, file));
  }
}

/** Runs `action` beside `emcache serve`, which must then end cleanly. */
async function whileServing<Result>(program: string, action: (address: string) => Promise<Result>): Promise<Result> {
  const settings = [
    "--server.port",
    "0",
    "--data-dir",
    join(folder, "data"),
    "--cache.base_dir",
    join(folder, "caches"),
  ];
  const server = spawn(program, ["serve", ...settings], { cwd: folder, stdio: ["ignore", "pipe", "inherit"] });
  const ended = once(server, "exit");
  try {
    for await (const line of createInterface({ input: server.stdout })) {
      const { event, address } = JSON.parse(line) as { event?: string; address?: string };
      if (event === "started" && address !== undefined) return await action(address);
    }
    throw new Error("the server ended while starting");
  } finally {
    server.kill();
    server.stdout.resume();
    expect(await ended).toEqual([0, null]);
  }
}
