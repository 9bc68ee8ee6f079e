import { mkdirSync } from "node:fs";
import { join } from "node:path";
import type { FaultLine } from "./fault-report.ts";
import { startDevMongo, startTestMongo, type TestMongo } from "./test-mongo.ts";
import { TestSystem } from "./test-system.ts";

export type FaultSource = FaultLine["source"];

/** The two servers that faults of no server's own are tried against. */
export const FAULT_SOURCES: readonly FaultSource[] = ["SecantusDB", "dev-mongo"];

export interface FaultSystemOptions {
  /** A folder of the test file's own; the system gets one inside it. */
  readonly folder: string;
  readonly settings?: Readonly<Record<string, string | number>>;
  /** Entries of the source's oplog at most. */
  readonly oplogEntriesMax?: number;
}

/** The whole history is checked, so nothing may move the log's floor. */
const SETTINGS = { "snapshot.min_lag": 1_000_000_000 };

/** An EMCache on a source of this kind, with its log kept whole. */
export async function startFaultSystem(source: FaultSource, options: FaultSystemOptions): Promise<TestSystem> {
  const folder = join(options.folder, source);
  mkdirSync(folder, { recursive: true, mode: 0o755 });
  const mongo = await startFaultSource(source, { ...options, folder });
  return TestSystem.startOn({ folder, settings: { ...SETTINGS, ...options.settings } }, mongo);
}

async function startFaultSource(
  source: FaultSource,
  { folder, oplogEntriesMax }: FaultSystemOptions,
): Promise<TestMongo> {
  if (source === "SecantusDB") {
    return startTestMongo({
      folder,
      syncOnCommit: false,
      ...(oplogEntriesMax === undefined ? {} : { oplogEntriesMax }),
    });
  }
  const flags = oplogEntriesMax === undefined ? [] : ["--oplog-entries-max", String(oplogEntriesMax)];
  return startDevMongo({ folder, flags });
}

/** The same on dev-mongo, with the means to make it go wrong. */
export async function startDevMongoSystem(
  options: FaultSystemOptions & { readonly flags?: readonly string[] },
): Promise<TestSystem<Awaited<ReturnType<typeof startDevMongo>>>> {
  const folder = join(options.folder, "dev-mongo");
  mkdirSync(folder, { recursive: true, mode: 0o755 });
  const mongo = await startDevMongo({ folder, ...(options.flags === undefined ? {} : { flags: options.flags }) });
  return TestSystem.startOn({ folder, settings: { ...SETTINGS, ...options.settings } }, mongo);
}
