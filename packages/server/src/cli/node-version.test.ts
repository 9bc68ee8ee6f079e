import { readFileSync } from "node:fs";
import { expect, test } from "vitest";
import { checkNodeVersion } from "./node-version.ts";

test.each(["22.15.0", "22.20.1", "23.0.0", "24.9.0", "26.1.0"])("takes Node %s", (version) => {
  expect(checkNodeVersion(version, "/usr/bin/node")).toBeNull();
});

test.each(["18.20.0", "20.19.2", "22.14.9"])("refuses Node %s and says what to do", (version) => {
  expect(checkNodeVersion(version, "/usr/bin/node")).toMatch(/needs Node\.js 22\.15 or newer, but \/usr\/bin\/node is/);
});

test("agrees with package.json", () => {
  const text = readFileSync(new URL("../../package.json", import.meta.url), "utf8");
  const { engines } = JSON.parse(text) as { engines: { node: string } };
  const minimum = engines.node.replace(">=", "");
  expect(checkNodeVersion(`${minimum}.0`, "node")).toBeNull();
  const [major, minor] = minimum.split(".").map(Number);
  expect(checkNodeVersion(`${major}.${(minor ?? 0) - 1}.0`, "node")).not.toBeNull();
});
