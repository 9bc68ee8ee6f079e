import type { LogRow } from "../source/log-row.ts";
import type { OplogPage } from "./oplog-reader.ts";

/** A batch that this process has committed, with its place in the log. */
export interface CommittedBatch {
  readonly logId: string;
  readonly firstPosition: number;
  readonly tag: string;
  /** Tag of the batch before it; "" for the first. */
  readonly previousTag: string;
  /** When it was committed: RFC 3339, UTC with `Z`; null where the log didn't tell. */
  readonly createdAt: string | null;
  readonly rows: readonly LogRow[];
}

/**
 * The batch as the page that a reader who is just before it would read. Its floor is not known.
 */
export function pageOfBatch({ logId, firstPosition, tag, previousTag, createdAt, rows }: CommittedBatch): OplogPage {
  const position = firstPosition + rows.length - 1;
  return {
    logId,
    floor: 0,
    head: position,
    rows: rows.map((row, number) => ({ ...row, position: firstPosition + number, createdAt: createdAt ?? "" })),
    position,
    tag,
    tagAtFrom: previousTag,
    full: false,
    batches: [{ first: firstPosition, count: rows.length, tag }],
  };
}
