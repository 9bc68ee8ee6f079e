import { afterAll, beforeAll, expect, test } from "vitest";
import { useTestFolder } from "../support/use-test-folder.ts";
import { type HostileApi, startHostileApi } from "./hostile-api.ts";
import { runSchemathesis } from "./schemathesis.ts";

const folder = useTestFolder("openapi");
let api: HostileApi;
beforeAll(async () => {
  api = await startHostileApi();
});
afterAll(() => api.close());

test("a fuzzing client that knows the description finds no server error and no answer that it doesn't describe", async () => {
  const { exitCode, caseCount, output } = await runSchemathesis(api.url, folder, { examplesMax: 20, seed: 1 });
  console.log(output.slice(output.lastIndexOf("= SUMMARY")));
  expect(exitCode, output).toBe(0);
  expect(caseCount).toBeGreaterThan(300);
  expect(api.errors()).toEqual([]);
}, 300_000);
