import type { SnapshotManifest } from "@emcache/protocol";
import { expect, it } from "vitest";
import { strangeSnapshots } from "./snapshot-history.ts";

/** The log: positions 10 to 20, of tags `t10` to `t20`. */
const oplog = {
  head: async () => ({ logId: "this", floor: 10, head: 20 }),
  batchAt: async (position: number) => (position > 20 ? null : { tag: `t${position}` }),
};

function manifest(id: string, position: number, tag: string, logId = "this"): SnapshotManifest {
  return {
    id,
    entity: "users",
    version: 1,
    log_id: logId,
    position,
    tag,
    cluster_time_s: null,
    rows: 0,
    size_bytes: 0,
    sha256: "",
    compressions: [],
    created_at: "2026-01-01T00:00:00Z",
  };
}

const forever = new AbortController().signal;
const idsOf = (manifests: readonly SnapshotManifest[]) => manifests.map(({ id }) => id);

it("finds those whose tag is not the log's, those beyond its head and those of another log", async () => {
  const { lost, foreign } = await strangeSnapshots(
    oplog,
    [
      manifest("right", 15, "t15"),
      manifest("rewritten", 16, "of another history"),
      manifest("beyond", 21, "t21"),
      manifest("below the floor", 5, "unknown"),
      manifest("other log", 15, "t15", "other"),
      manifest("of nothing", 0, ""),
    ],
    forever,
  );
  expect(idsOf(lost)).toEqual(["rewritten", "beyond"]);
  expect(idsOf(foreign)).toEqual(["other log"]);
});

it("finds none while the log can't be read", async () => {
  const away = { head: async () => Promise.reject(new Error("away")), batchAt: oplog.batchAt };
  expect(await strangeSnapshots(away, [manifest("beyond", 21, "t21")], forever)).toEqual({ lost: [], foreign: [] });
});
