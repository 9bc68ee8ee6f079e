import { join } from "node:path";
import { CacheFile } from "@emcache/cache-file";
import { TestApi, USERS } from "../../packages/server/src/api/testing/test-api.ts";
import { QueryRunner } from "../../packages/server/src/cache/query-runner.ts";
import { DashboardFiles } from "../../packages/server/src/dashboard/dashboard-files.ts";
import { createLogger } from "../../packages/server/src/runtime/logger.ts";

/** How often an entity that a request has deleted is made anew, so that the next requests reach further. */
const RESTORE_INTERVAL_MS = 20;

/** An API with all its routes over parts in memory, in which every documented operation can succeed. */
export interface HostileApi {
  readonly url: string;
  /** Lines of the log that tell of an error inside. */
  errors(): string[];
  close(): Promise<void>;
}

export async function startHostileApi(): Promise<HostileApi> {
  const queries = new QueryRunner({ timeoutMs: 5_000, logger: createLogger({ level: "fatal" }) });
  const result = {
    entity: "users",
    version: 1,
    documents: 1,
    compared: 1,
    rejected: 0,
    skipped: 0,
    rows: 1,
    differences: 0,
    reasons: { missing: 0, extra: 0, older: 0, differs: 0 },
    repaired: 0,
    copyRequested: false,
    position: 1,
    durationMs: 1,
  };
  const api = await new TestApi({
    queries,
    site: new DashboardFiles(),
    verifier: { begin: async () => ({ run: async () => result }), end: () => undefined },
  }).start();
  const path = join(api.folder, "users.db");
  CacheFile.open(path, { entity: { ...USERS, id: 1, created_at: "" }, logId: "log" }).close();
  const restore = async (): Promise<void> => {
    if (api.registry.get(USERS.name) === null) api.cachePaths.set(await api.add(USERS, "live"), path);
  };
  await restore();
  api.oplog.append(1, "upsert", "a", '["ann@example.com","Ann",41]');
  api.makeSnapshot(Buffer.from("SQLite format 3"));
  const timer = setInterval(() => void restore().catch(() => "somebody else made it"), RESTORE_INTERVAL_MS);
  return {
    url: api.url,
    errors: () => api.logLines.filter((line) => line.includes('"request_failed"')),
    async close() {
      clearInterval(timer);
      await api.close();
      await queries.stop();
    },
  };
}
