import { readFile, writeFile } from "node:fs/promises";
import { resolve } from "node:path";
import { renderConfigExample, renderConfigReference } from "../packages/server/src/config/config-reference.ts";
import { renderConfigSchema } from "../packages/server/src/config/config-schema.ts";
import { renderCommandLineReference } from "./command-line-reference.ts";
import { renderErrorReference } from "./error-reference.ts";
import { logEventMistakes, renderLogEventReference } from "./log-event-reference.ts";
import { renderMetricReference } from "./metric-reference.ts";
import { renderOpenApi } from "./openapi-document.ts";

/**
 * Writes the files that are generated from tables in the code. With `--check`, writes nothing and fails if one is not
 * as it would be written.
 */
const FILES: Readonly<Record<string, () => string | Promise<string>>> = {
  "docs/08-command-line.md": renderCommandLineReference,
  "config.toml.example": renderConfigExample,
  "docs/configuration.md": renderConfigReference,
  "docs/config.schema.json": renderConfigSchema,
  "docs/errors.md": renderErrorReference,
  "docs/events.md": renderLogEventReference,
  "docs/metrics.md": renderMetricReference,
  "docs/openapi.json": renderOpenApi,
};

const root = resolve(import.meta.dirname, "..");
const isCheck = process.argv.includes("--check");
const stale: string[] = [];
for (const [name, render] of Object.entries(FILES)) {
  const path = resolve(root, name);
  const current = await readFile(path, "utf8").catch(() => null);
  const rendered = await render();
  if (current === rendered) continue;
  stale.push(name);
  if (!isCheck) await writeFile(path, rendered);
}
const undescribed = logEventMistakes(root);
if (undescribed.length > 0) {
  console.error(undescribed.join("\n"));
  process.exitCode = 1;
}
if (isCheck && stale.length > 0) {
  console.error(`${stale.join(", ")}: not as generated; run: npm run generate`);
  process.exitCode = 1;
} else {
  console.log(stale.length === 0 ? "generated files are up to date" : `written: ${stale.join(", ")}`);
}
