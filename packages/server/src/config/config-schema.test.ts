import { parse } from "smol-toml";
import { Compile } from "typebox/schema";
import { expect, test } from "vitest";
import { renderConfigExample } from "./config-reference.ts";
import { renderConfigSchema } from "./config-schema.ts";

const schema = Compile(JSON.parse(renderConfigSchema()) as object);

test("the example file, with every default written out, fits the schema for editors", () => {
  expect(schema.Errors(parse(renderConfigExample()))).toEqual([true, []]);
  const written = renderConfigExample().replaceAll(/^# ([a-z_]+ = )/gm, "$1");
  expect(schema.Errors(parse(written))).toEqual([true, []]);
  expect(Object.keys(parse(written)["server"] ?? {})).toContain("shutdown_timeout");
});

test("an unknown key, a wrong type and a number out of range do not", () => {
  expect(schema.Check({ server: { port: 8080 } })).toBe(true);
  expect(schema.Check({ server: { prot: 8080 } })).toBe(false);
  expect(schema.Check({ server: { port: "8080" } })).toBe(false);
  expect(schema.Check({ server: { port: 70_000 } })).toBe(false);
  expect(schema.Check({ sources: { main: { database: "shop" } } })).toBe(false);
});
