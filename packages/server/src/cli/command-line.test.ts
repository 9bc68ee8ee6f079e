import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { EmcacheError } from "@emcache/protocol";
import { afterEach, beforeEach, expect, test } from "vitest";
import { runCommandLine } from "./command-line.ts";
import { describeError } from "./describe-error.ts";

let folder: string;
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), "emcache-cli-"));
});
afterEach(() => rmSync(folder, { recursive: true }));

async function runWith(...args: string[]): Promise<{ exitCode: number; out: string; err: string }> {
  let out = "";
  let err = "";
  const exitCode = await runCommandLine(args, {
    print: (text) => void (out += text),
    printError: (text) => void (err += text),
  });
  return { exitCode, out, err };
}

function configFile(toml: string): string {
  const path = join(folder, "config.toml");
  writeFileSync(path, toml);
  return path;
}

test("--version and --help are no mistakes; an unknown command, or none, is", async () => {
  expect(await runWith("--version")).toEqual({ exitCode: 0, out: expect.stringMatching(/^\d+\.\d+\.\d+\n$/), err: "" });
  const help = await runWith("serve", "--help");
  expect(help.exitCode).toBe(0);
  expect(help.out).toMatch(/--port, --server\.port <value>\s+Port that the API listens on/);
  expect(await runWith("sevre")).toMatchObject({ exitCode: 2, err: expect.stringContaining("Did you mean serve?") });
  expect((await runWith()).exitCode).toBe(2);
  const slip = await runWith("serve", "--server.prot", "1");
  expect(slip).toMatchObject({ exitCode: 2, err: expect.stringContaining("Did you mean --server.port?") });
});

test("config check shows what is in force and where it was set, without passwords", async () => {
  const file = configFile('[sources.main]\nuri = "mongodb://u:hunter2@h/app"\n');
  const flags = ["--port", "0", "--sources.other.uri=mongodb://h2/x", "--sources.other.database", "given"];
  const { exitCode, out } = await runWith("config", "check", "--config", file, ...flags);
  expect(exitCode).toBe(0);
  expect(out).toContain("mongodb://u:***@h/app");
  expect(out).toContain("config.toml:2: sources.main.uri\n");
  expect(out).toContain("  --server.port\n");
  expect(out).toMatch(/"other": \{\s*"uri": "mongodb:\/\/h2\/x",\s*"database": "given"/);
  expect(out).not.toContain("hunter2");
});

test("a wrong configuration ends check and serve with code 2 and every mistake, without a stack", async () => {
  const file = configFile("[server]\nprot = 1\n");
  for (const command of [["config", "check"], ["serve"]]) {
    const { exitCode, err } = await runWith(...command, "--config", file, "--host", "a b");
    expect(exitCode).toBe(2);
    const [title, ...lines] = err.trimEnd().split("\n");
    expect(title).toBe("emcache: the configuration has 2 mistakes (config_invalid)");
    expect(lines).toEqual([
      expect.stringMatching(/^ {2}.*config\.toml:2: server\.prot: unknown key; did you mean server\.port\?$/),
      '  --server.host: "a b" is no address; expected for example "0.0.0.0" or "::1"',
      expect.stringMatching(/^Hint: /),
    ]);
  }
});

test("config reference prints the reference", async () => {
  expect(await runWith("config", "reference")).toMatchObject({ exitCode: 0, out: expect.stringMatching(/^# Config/) });
});

test("an error that is not in the catalogue comes with its stack, neither with a password", () => {
  expect(describeError(new Error("at mongodb://u:hunter2@h"))).toMatch(
    /^emcache: Error: at mongodb:\/\/u:\*\*\*@h\n {4}at /,
  );
  expect(describeError(new EmcacheError("source_unavailable", "no mongodb://u:hunter2@h", { hint: "wait" }))).toBe(
    "emcache: no mongodb://u:***@h (source_unavailable)\nHint: wait",
  );
});
