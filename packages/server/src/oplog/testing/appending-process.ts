/**
 * A process of its own for the tests of the lease: takes the source `main` and appends batches without a pause, until
 * an append is refused. Arguments: the database's URI, the epoch's takeover time in ms. Writes one line an event.
 */
import { EmcacheError } from "@emcache/protocol";
import { ComponentHealth } from "../../runtime/component-health.ts";
import { Postgres } from "../postgres.ts";
import { SourceLease } from "../source-lease.ts";
import { batchOf, testLogger, upsert } from "./log-fixture.ts";

const [uri = "", takeoverMs = ""] = process.argv.slice(2);
const signal = new AbortController().signal;
const postgres = new Postgres({
  uri,
  dataDir: "/nonexistent",
  minConnections: 1,
  maxConnections: 4,
  connectionTimeoutS: 10,
  logger: testLogger,
  health: new ComponentHealth("postgres"),
});
await postgres.start();
const nothing = (): void => undefined;
const lease = await SourceLease.acquire(
  {
    postgres,
    sourceName: "main",
    logger: testLogger,
    takeoverMs: Number(takeoverMs),
    onCommit: nothing,
    onRegistryChange: nothing,
  },
  signal,
);
const log = lease.log();
await log.load(signal);
process.stdout.write("appending\n");
const padding = "x".repeat(300);
try {
  for (let batch = 0; ; batch++) {
    const rows = Array.from({ length: batch % 2 === 0 ? 20_000 : 20 }, (_, index) =>
      upsert(`old ${batch} ${index} ${padding}`),
    );
    await log.append(batchOf(rows), signal);
  }
} catch (error) {
  process.stdout.write(`ended ${error instanceof EmcacheError ? error.code : String(error)}\n`);
}
await lease.release();
await postgres.stop(AbortSignal.timeout(2_000));
