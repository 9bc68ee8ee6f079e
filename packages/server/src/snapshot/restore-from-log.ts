import type { CacheRow, LogPoint } from "@emcache/cache-file";
import { EmcacheError, type Entity } from "@emcache/protocol";
import { rm } from "node:fs/promises";
import type { RestoreState } from "./restore-message.ts";
import { RestoreThread } from "./restore-thread.ts";
import type { SnapshotOplog, SnapshotPage } from "./snapshot-dependencies.ts";

/** Rows of a page: some tens of milliseconds of the thread. */
const PAGE_ROWS = 5_000;

/** SQLite's files beside a database, and EMCache's. */
const SUFFIXES = ["", "-wal", "-shm", "-journal", "-sums"];

/** What to restore, and from what. */
export interface RestoreRequest {
  readonly entity: Entity;
  readonly logId: string;
  /** The snapshot to begin with; null: nothing, from the log alone. */
  readonly basePath: string | null;
  /** Where the log is read on from. Its tag is compared with the log's; null: it is taken over. */
  readonly from: { readonly position: number; readonly tag: string | null };
  /** The point to reach. */
  readonly to: LogPoint;
  /** File to make; beside it lies the file that is worked on. */
  readonly targetPath: string;
  readonly oplog: SnapshotOplog;
  readonly signal: AbortSignal;
}

/**
 * Makes the file that holds what the log says up to a position, out of a snapshot and the log after it.
 *
 * A source transaction that is not complete at that position is left out, as a cache would: then the file's position is
 * the one before its first row.
 *
 * @returns null where the entity has no complete copy there
 * @throws `history_mismatch` where the base is not of this log; errors of the log and of the file
 */
export async function restoreFromLog(request: RestoreRequest): Promise<RestoreState["built"]> {
  const { basePath, entity, logId, targetPath, from, to, oplog, signal } = request;
  const workPath = `${targetPath}.work`;
  const { thread, state } = await RestoreThread.start({ basePath, workPath, entity, logId }, signal);
  try {
    let reached = state;
    if (basePath === null) {
      const { tagAtFrom } = await readPage(request, from.position);
      reached = await thread.order({ kind: "begin", point: { position: from.position, tag: tagAtFrom ?? "" } });
    }
    const target = { ...to };
    const openStart = await applyUntil(thread, request, from, target);
    if (openStart !== null) {
      reached = await thread.order({ kind: "reopen" });
      const cut = openStart - 1;
      if (cut > reached.point.position) {
        const batch = await oplog.batchAt(cut, signal);
        await applyUntil(thread, request, reached.point, { position: cut, tag: batch?.tag ?? "" });
      }
    }
    reached = await thread.order({ kind: "reopen" });
    if (!reached.isWhole) return null;
    return (await thread.order({ kind: "finish", targetPath })).built;
  } finally {
    await thread.end();
    for (const suffix of SUFFIXES) await rm(workPath + suffix, { force: true });
  }
}

/** Applies the log up to a position. @returns where a source transaction begins that is open there; null if none is */
async function applyUntil(
  thread: RestoreThread,
  request: RestoreRequest,
  from: RestoreRequest["from"],
  to: LogPoint,
): Promise<number | null> {
  let after = from.position;
  const start = new TransactionStart();
  let isOpen = false;
  let page = after < to.position ? readPage(request, after) : null;
  for (let isFirst = true; page !== null; isFirst = false) {
    const { rows, position, tag, tagAtFrom } = await page;
    if (isFirst && from.tag !== null && tagAtFrom !== from.tag) {
      throw new EmcacheError("history_mismatch", `The snapshot's history at ${after} is not this log's`);
    }
    if (position <= after) break;
    const isLast = position >= to.position;
    // Read ahead while the thread applies.
    page = isLast ? null : readPage(request, position);
    page?.catch(() => {});
    const wanted = isLast ? rows.filter((row) => row.position <= to.position) : rows;
    const upTo = isLast ? to : { position, tag };
    start.read(wanted);
    ({ isOpen } = await thread.order({ kind: "page", rows: wanted.map(cacheRowOf), upTo }));
    after = position;
  }
  return isOpen ? start.position : null;
}

/** Follows which source transaction is open, as `CacheFile` does: rows of copies begin and end none. */
class TransactionStart {
  #name: string | null = null;
  /** Position of the open transaction's first row; null where none is open. */
  position: number | null = null;

  read(rows: readonly CacheRow[]): void {
    for (const row of rows) {
      if (row.origin !== "stream" || row.operation === "sync_start" || row.operation === "sync_end") continue;
      if (row.transaction !== null && row.transaction !== this.#name) this.position = row.position;
      this.#name = row.transactionEnd ? null : row.transaction;
      if (this.#name === null) this.position = null;
    }
  }
}

async function readPage({ oplog, entity, signal }: RestoreRequest, after: number): Promise<SnapshotPage> {
  return oplog.page({ after, limit: PAGE_ROWS, versions: [entity.id], signal });
}

/** Without what only a page's row has: it goes into another thread. */
function cacheRowOf(row: CacheRow): CacheRow {
  const { position, operation, docId, idType, origin, transaction, transactionEnd, data } = row;
  return { position, operation, docId, idType, origin, transaction, transactionEnd, data };
}
