import { execFile } from "node:child_process";
import { join } from "node:path";
import { pythonEnvironment } from "../support/python-environment.ts";

/** The fuzzing client, by the description of the API; https://schemathesis.readthedocs.io. */
const SCHEMATHESIS = "schemathesis==4.32.5";

/** What is wrong with an answer: a server error, a body or a media type that the description doesn't have. */
const CHECKS = "not_a_server_error,response_schema_conformance,content_type_conformance";

/** Its phase `coverage` ends in an error of Python 3.11's own at some schemas ("AST constructor recursion depth"). */
const PHASES = "examples,fuzzing";

/** What it says of a run. */
export interface SchemathesisReport {
  readonly exitCode: number;
  readonly caseCount: number;
  readonly output: string;
}

/** Lets it send requests to the API at `url`: `examplesMax` for each operation, the same ones for the same seed. */
export async function runSchemathesis(
  url: string,
  folder: string,
  { examplesMax, seed }: { readonly examplesMax: number; readonly seed: number },
): Promise<SchemathesisReport> {
  const program = join(await pythonEnvironment(SCHEMATHESIS), "bin", "schemathesis");
  const settings = {
    checks: CHECKS,
    phases: PHASES,
    "max-examples": String(examplesMax),
    seed: String(seed),
    workers: "2",
    "request-timeout": "70",
    "generation-database": "none",
    "suppress-health-check": "all",
    // It waits for the end of an answer, and a stream has none.
    "exclude-path": "/api/oplogs/stream",
  };
  const flags = Object.entries(settings).flatMap(([name, value]) => [`--${name}`, value]);
  return new Promise((resolve, reject) => {
    execFile(
      program,
      ["run", `${url}/openapi.json`, ...flags, "--continue-on-failure", "--no-shrink", "--no-color"],
      { cwd: folder, maxBuffer: 64 * 1024 * 1024 },
      (error, stdout, stderr) => {
        const caseCount = Number(/(\d[\d,]*) generated/.exec(stdout)?.[1]?.replaceAll(",", "") ?? "0");
        if (error !== null && typeof error.code !== "number") reject(error);
        else resolve({ exitCode: Number(error?.code ?? 0), caseCount, output: stdout + stderr });
      },
    );
  });
}
