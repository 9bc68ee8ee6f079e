import type { SnapshotManifest } from "@emcache/protocol";
import { untilAborted } from "../runtime/until-aborted.ts";
import type { SnapshotOplog } from "./snapshot-dependencies.ts";

/** A snapshot is served whether or not PostgreSQL says in this time that its history is there: its reader's tag is checked again. */
const ANSWER_WAIT_MS = 2000;

/** Snapshots that can't be gone on from in this log. */
export interface StrangeSnapshots {
  /** Of this log, but of a part of its history that is no more: it was set back to an older state. */
  readonly lost: readonly SnapshotManifest[];
  /** Of a log with another id: two configurations may have been mixed up. */
  readonly foreign: readonly SnapshotManifest[];
}

const NONE: StrangeSnapshots = { lost: [], foreign: [] };

/**
 * Finds snapshots of a history that is not the log's (invariant 11): their tag is not the log's at their position, or
 * the log does not go that far. What lies below the floor can't be compared. None while PostgreSQL is away.
 */
export async function strangeSnapshots(
  oplog: Pick<SnapshotOplog, "head" | "batchAt">,
  manifests: readonly SnapshotManifest[],
  outer: AbortSignal,
): Promise<StrangeSnapshots> {
  if (manifests.length === 0) return NONE;
  const signal = AbortSignal.any([outer, AbortSignal.timeout(ANSWER_WAIT_MS)]);
  try {
    return await untilAborted(compare(oplog, manifests, signal), signal);
  } catch {
    return NONE;
  }
}

async function compare(
  oplog: Pick<SnapshotOplog, "head" | "batchAt">,
  manifests: readonly SnapshotManifest[],
  signal: AbortSignal,
): Promise<StrangeSnapshots> {
  const { logId, floor } = await oplog.head();
  const foreign = manifests.filter((manifest) => manifest.log_id !== logId);
  const lost: SnapshotManifest[] = [];
  for (const manifest of manifests) {
    const { log_id: itsLog, position, tag } = manifest;
    if (itsLog !== logId || position < floor || position === 0) continue;
    const batch = await oplog.batchAt(position, signal);
    if (batch?.tag !== tag) lost.push(manifest);
  }
  return { lost, foreign };
}
