import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { expect, test } from "vitest";
import type { Config } from "./config.ts";
import { renderConfigExample, renderConfigReference } from "./config-reference.ts";
import { loadConfig } from "./load-config.ts";
import { OPTIONS, SOURCE_OPTIONS } from "./option-table.ts";

function loadToml(toml: string): Config {
  const cwd = mkdtempSync(join(tmpdir(), "emcache-config-"));
  try {
    writeFileSync(join(cwd, "config.toml"), toml);
    return loadConfig({ env: {}, flags: {}, cwd: "/somewhere", file: join(cwd, "config.toml") });
  } finally {
    rmSync(cwd, { recursive: true });
  }
}

test("the example is a valid configuration, also with every default written out, and then means the same", () => {
  const example = renderConfigExample();
  const writtenOut = example.replaceAll(/^# (\w+ = )/gm, "$1");
  expect(writtenOut.match(/^\w+ = /gm)).toHaveLength(Object.keys(OPTIONS).length + Object.keys(SOURCE_OPTIONS).length);
  expect(loadToml(writtenOut)).toEqual(loadToml(example));
  expect(loadToml(example).sources).toEqual({
    main: { uri: "mongodb://localhost:27017/myapp?replicaSet=rs0", database: "myapp", fullDocument: "lookup" },
  });
});

test("the reference names every key with its environment variable", () => {
  const reference = renderConfigReference();
  for (const key of Object.keys(OPTIONS)) expect(reference).toContain(`| \`${key}\` | \`EMCACHE_`);
  expect(reference).toContain("| `sources.NAME.uri` | `EMCACHE_SOURCES__NAME__URI` |");
});
