import { expect, test } from "vitest";
import { parseLevelSpec } from "./level-spec.ts";

test.each([
  ["info", "info", {}],
  ["DEBUG", "debug", {}],
  ["warning", "warn", {}],
  ["off", "silent", {}],
  ["info,source=debug, oplog=trace", "info", { source: "debug", oplog: "trace" }],
  ["source=debug", "info", { source: "debug" }],
  ["emcache=debug", "debug", {}],
  ["warn,emcache::source=debug", "warn", { source: "debug" }],
])("reads %s", (spec, level, modules) => {
  const parsed = parseLevelSpec(spec);
  expect(parsed.level).toBe(level);
  expect(Object.fromEntries(parsed.modules)).toEqual(modules);
});

test.each(["", "verbose", "info,source=loud", "=debug"])("refuses %j and says what would be right", (spec) => {
  expect(() => parseLevelSpec(spec)).toThrow(/expected one of trace, debug|"info,source=debug"/);
});
