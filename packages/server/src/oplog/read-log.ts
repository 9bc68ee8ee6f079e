import { EmcacheError } from "@emcache/protocol";
import { untilAborted } from "../runtime/until-aborted.ts";
import type { LogRead } from "./log-read.ts";
import type { OplogPage, PageRow } from "./oplog-page.ts";
import type { PageRequest } from "./oplog-reader.ts";

/** Rows in one read of the log while rows are being skipped. */
const SKIP_PAGE_ROWS = 2000;
/** One answer ends early once it holds this much: 10,000 large documents must not fill the memory. */
export const ANSWER_BYTES_MAX = 16 * 1024 * 1024;
/** How often reading from the floor starts anew when retention moves the floor at the same moment. */
const FLOOR_ATTEMPTS_MAX = 5;
/** The log is given up after this time; no client waits longer (EMCache's Go client: 30 s). */
const READ_TIMEOUT_MS = 25_000;

/** The log as readers of some entities read it; `OplogReader` is one. */
export interface ReadableLog {
  /** @throws EmcacheError `position_too_old`, `oplog_hole`, `postgres_unavailable` */
  page(request: PageRequest): Promise<OplogPage>;
  head(): Promise<{ readonly logId: string; readonly head: number; readonly floor: number }>;
}

/** What is wanted of the log. */
export interface LogQuery {
  readonly versions: readonly number[];
  /** Rows after this position; null: from the floor. */
  readonly after: number | null;
  /** Matching rows to skip first. */
  readonly offset: number;
  readonly limit: number;
  readonly signal: AbortSignal;
}

/**
 * Reads up to `limit` matching rows. It reads on over stretches of the log that hold no matching row, so fewer rows
 * than `limit` mean that the head was reached, or that the rows were large (16 MiB end an answer).
 *
 * @throws EmcacheError `position_too_old` where `after` lies below the floor; `postgres_unavailable`
 */
export async function readLog(reader: ReadableLog, query: LogQuery): Promise<LogRead> {
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

async function readFromFloorOrAfter(reader: ReadableLog, query: LogQuery): Promise<LogRead> {
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

async function readAfter(reader: ReadableLog, query: LogQuery, after: number): Promise<LogRead> {
  const rows: PageRow[] = [];
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
