import { EmcacheError } from "@emcache/protocol";
import { untilAborted } from "../runtime/until-aborted.ts";
import type { OplogPage, OplogReaderPort, OplogRow } from "./api-dependencies.ts";

/** Rows in one read of the log while rows are being skipped. */
const SKIP_PAGE_ROWS = 2000;
/** One answer ends early once it holds this much: 10,000 large documents must not fill the memory. */
const ANSWER_BYTES_MAX = 16 * 1024 * 1024;
/** How often reading from the floor starts anew when retention moves the floor at the same moment. */
const FLOOR_ATTEMPTS_MAX = 5;
/** The log is given up after this time; no client waits longer (EMCache's Go client: 30 s). */
const READ_TIMEOUT_MS = 25_000;

/** What a route wants of the log. */
export interface OplogQuery {
  readonly versions: readonly number[];
  /** Rows after this position; null: from the floor. */
  readonly after: number | null;
  /** Matching rows to skip first. */
  readonly offset: number;
  readonly limit: number;
  /** Aborts when the client is gone. */
  readonly signal: AbortSignal;
}

/** What was found; `position` is what to ask for next as `after`. */
export interface OplogRead {
  readonly logId: string;
  readonly floor: number;
  readonly head: number;
  readonly rows: readonly OplogRow[];
  /** Everything up to here, inclusive, was looked at. */
  readonly position: number;
  readonly tag: string;
  /** Tag of the batch that holds `after`. */
  readonly tagAtFrom: string | null;
}

/**
 * Reads up to `limit` matching rows. It reads on over stretches of the log that hold no matching row, so fewer rows
 * than `limit` mean that the head was reached, or that the rows were large (16 MiB end an answer).
 *
 * @throws EmcacheError `position_too_old` where `after` lies below the floor; `postgres_unavailable`
 */
export async function readOplog(reader: OplogReaderPort, query: OplogQuery): Promise<OplogRead> {
  const timeout = AbortSignal.timeout(READ_TIMEOUT_MS);
  const signal = AbortSignal.any([query.signal, timeout]);
  try {
    return await untilAborted(readFromFloorOrAfter(reader, { ...query, signal }), signal);
  } catch (error) {
    if (timeout.aborted && !query.signal.aborted && !(error instanceof EmcacheError)) {
      throw new EmcacheError("postgres_unavailable", `The oplog did not answer within ${READ_TIMEOUT_MS / 1000} s`, {
        cause: error,
      });
    }
    throw error;
  }
}

async function readFromFloorOrAfter(reader: OplogReaderPort, query: OplogQuery): Promise<OplogRead> {
  if (query.after !== null) return readAfter(reader, query, query.after);
  for (let attempt = 1; ; attempt++) {
    const { floor } = await reader.head();
    try {
      return await readAfter(reader, query, Math.max(floor - 1, 0));
    } catch (error) {
      const floorMoved = error instanceof EmcacheError && error.code === "position_too_old";
      if (!floorMoved || attempt === FLOOR_ATTEMPTS_MAX) throw error;
    }
  }
}

async function readAfter(reader: OplogReaderPort, query: OplogQuery, after: number): Promise<OplogRead> {
  const rows: OplogRow[] = [];
  let toSkip = query.offset;
  let position = after;
  let bytes = 0;
  let first: OplogPage | null = null;
  for (;;) {
    query.signal.throwIfAborted();
    const limit = toSkip > 0 ? Math.min(toSkip, SKIP_PAGE_ROWS) : query.limit - rows.length;
    const page = await reader.page({ after: position, limit, versions: [...query.versions], signal: query.signal });
    first ??= page;
    const advanced = page.position > position;
    position = Math.max(position, page.position);
    if (toSkip > 0) {
      toSkip -= page.rows.length;
    } else {
      for (const row of page.rows) {
        rows.push(row);
        bytes += row.data?.length ?? 0;
      }
    }
    const isComplete = rows.length >= query.limit || bytes >= ANSWER_BYTES_MAX;
    if (isComplete || !advanced || page.position >= page.head) {
      return {
        logId: page.logId,
        floor: page.floor,
        head: page.head,
        rows,
        position,
        tag: page.tag,
        tagAtFrom: first.tagAtFrom,
      };
    }
  }
}
