import { EmcacheError } from "@emcache/protocol";
import type { PageRow } from "./oplog-page.ts";

/** What a reader of the log was answered; `position` and `tag` are what it asks with next. */
export interface LogRead {
  readonly logId: string;
  readonly floor: number;
  readonly head: number;
  readonly rows: readonly PageRow[];
  /** Everything up to here, inclusive, was looked at. */
  readonly position: number;
  /** Tag of the batch that holds `position`; "" at 0. */
  readonly tag: string;
  /** Tag of the batch that holds the position that was asked for; "" at 0; null where the log doesn't know it. */
  readonly tagAtFrom: string | null;
}

/** The history that a reader says it has read so far; null: it doesn't say. */
export interface ReaderHistory {
  readonly logId: string | null;
  /** Tag of the batch that holds the position that it asks from. */
  readonly tag: string | null;
}

/**
 * Refuses a reader whose history is not the log's (invariant 11).
 *
 * @throws EmcacheError `history_mismatch`, with `log_id`, `floor` and `head` as details
 */
export function requireHistory(
  reader: ReaderHistory,
  log: Pick<LogRead, "logId" | "floor" | "head" | "tagAtFrom">,
): void {
  const isOtherLog = reader.logId !== null && reader.logId !== log.logId;
  const isOtherHistory = reader.tag !== null && reader.tag !== log.tagAtFrom;
  if (isOtherLog || isOtherHistory) throw historyMismatch(log);
}

/** The error of a reader that holds a position which this log never gave, or gave to something else. */
export function historyMismatch({ logId, floor, head }: Pick<LogRead, "logId" | "floor" | "head">): EmcacheError {
  return new EmcacheError("history_mismatch", "The log's history is not the one that the request names", {
    details: { log_id: logId, floor, head },
  });
}
