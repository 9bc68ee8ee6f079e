import { EmcacheError, type Operation, type Origin } from "@emcache/protocol";
import { operationOf, originOf } from "./row-codes.ts";
import { fromStoredText } from "./stored-text.ts";

/** One row of the log. */
export interface PageRow {
  readonly position: number;
  /** Id of the entity's version. */
  readonly version: number;
  readonly operation: Operation;
  readonly docId: string;
  /** BSON type byte of `_id`. */
  readonly idType: number;
  readonly origin: Origin;
  readonly transaction: string | null;
  readonly transactionEnd: boolean;
  /** JSON text of an array with one value a column; null for all but `upsert`. */
  readonly data: string | null;
  /** When its batch was committed: RFC 3339, UTC with `Z`. */
  readonly createdAt: string;
}

/** A stretch of the log, as it was in one snapshot of PostgreSQL. */
export interface OplogPage {
  readonly logId: string;
  /** The lowest position that the log holds. */
  readonly floor: number;
  /** The last position given. */
  readonly head: number;
  readonly rows: PageRow[];
  /** Scanned through, inclusive: the next page starts after it. */
  readonly position: number;
  /** Tag of the batch that holds `position`; "" at 0. */
  readonly tag: string;
  /** Tag of the batch that holds `after`; "" at 0; null where `after` is above the head. For the history check. */
  readonly tagAtFrom: string | null;
  /** Whether a limit (rows, bytes, positions to look at) ended the page; else it goes to the head. */
  readonly full: boolean;
  /** The batches of an unfiltered page, clipped to it, in order; empty for a filtered one. */
  readonly batches: readonly PageBatch[];
}

/** The part of a batch that a page holds. */
export interface PageBatch {
  /** Position of its first row in the page. */
  readonly first: number;
  /** Its rows in the page, those of deleted entities included. */
  readonly count: number;
  readonly tag: string;
}

/** What the first row of a page's statement tells. */
interface PageFacts {
  readonly logId: string;
  readonly floor: number;
  readonly floorTag: string;
  readonly through: number;
  readonly deleted: readonly number[];
  readonly firstPosition: number | null;
  /** Last position of the last header. */
  readonly endPosition: number | null;
  /** Last position of the first header. */
  readonly firstEnd: number | null;
  readonly firstTag: string | null;
  readonly lastTag: string | null;
  /** First missing position between two headers. */
  readonly hole: number | null;
}

/** A row of the statement, every field as PostgreSQL's text. The order is that of `pageMessage`. */
export type RawRow = [
  position: string,
  version: string,
  operation: string,
  docId: string,
  idType: string,
  origin: string,
  transaction: string | null,
  transactionEnd: string,
  data: string | null,
  tag: string | null,
  createdAt: string | null,
  cut: string,
];

/** What a page was asked for. */
interface AskedPage {
  readonly after: number;
  readonly limit: number;
  readonly isFiltered: boolean;
}

/**
 * Makes a page of what its statement (`pageMessage`) gave.
 *
 * @throws position_too_old (`details.floor`), oplog_hole.
 */
export function toOplogPage({ after, limit, isFiltered }: AskedPage, raw: readonly RawRow[]): OplogPage {
  const first = raw[0];
  if (first === undefined) throw new EmcacheError("internal", "the log has no head row");
  const head = Number(first[0]);
  const facts = JSON.parse(first[8] ?? "") as PageFacts;
  const { logId, floor } = facts;
  if (after + 1 < floor) {
    throw new EmcacheError("position_too_old", `the log starts at ${floor}; the reader is at ${after}`, {
      details: { floor },
    });
  }
  if (after > head) {
    return { logId, floor, head, rows: [], position: after, tag: "", tagAtFrom: null, full: false, batches: [] };
  }
  requireChain(after, facts);
  return assemble(after, limit, !isFiltered, head, facts, raw);
}

/** Whether the headers of the page follow one another from `after` to where it goes. */
function requireChain(after: number, facts: PageFacts): void {
  if (facts.hole !== null) throw hole(facts.hole);
  if (facts.through <= after) return;
  if (facts.firstPosition === null || facts.firstPosition > after + 1) throw hole(after + 1);
  if (facts.endPosition === null || facts.endPosition < facts.through) throw hole((facts.endPosition ?? after) + 1);
}

function hole(position: number): EmcacheError {
  return new EmcacheError("oplog_hole", `the log misses position ${position}`, { details: { position } });
}

function assemble(
  after: number,
  limit: number,
  unfiltered: boolean,
  head: number,
  facts: PageFacts,
  raw: readonly RawRow[],
): OplogPage {
  const deleted = new Set(facts.deleted);
  const rows: PageRow[] = [];
  const batches: { first: number; count: number; tag: string }[] = [];
  let tag = "";
  let createdAt = "";
  let last = after;
  for (let index = 1; index < raw.length; index++) {
    const fields = raw[index] as RawRow;
    const position = Number(fields[0]);
    if (unfiltered ? position !== last + 1 : position <= last) throw hole(last + 1);
    last = position;
    if (fields[9] !== null) {
      tag = fields[9];
      batches.push({ first: position, count: 0, tag });
    }
    const batch = batches.at(-1);
    if (batch !== undefined) batch.count += 1;
    if (fields[10] !== null) createdAt = fields[10];
    const version = Number(fields[1]);
    if (!deleted.has(version)) rows.push(rowOf(position, version, fields, createdAt));
  }
  const { through, logId, floor } = facts;
  const ended = raw.length - 1 >= limit || raw.at(-1)?.[11] === "t";
  if (!ended && unfiltered && last < through) throw hole(last + 1);
  const position = ended ? last : Math.max(after, through);
  const tagAtFrom = tagAt(after, facts);
  return {
    logId,
    floor,
    head,
    rows,
    position,
    tag: position === after ? tagAtFrom : ended ? tag : (facts.lastTag ?? ""),
    tagAtFrom,
    full: ended || through < head,
    batches: unfiltered ? batches : [],
  };
}

/** @throws oplog_hole where the batch that holds `after` is missing. */
function tagAt(after: number, facts: PageFacts): string {
  if (after === 0) return "";
  if (after < facts.floor) return facts.floorTag;
  const held = facts.firstPosition !== null && facts.firstPosition <= after && (facts.firstEnd ?? 0) >= after;
  if (!held) throw hole(after);
  return facts.firstTag ?? "";
}

function rowOf(position: number, version: number, fields: RawRow, createdAt: string): PageRow {
  const operation = operationOf(fields[2]);
  const origin = originOf(fields[5]);
  if (operation === null || origin === null) {
    // Nothing unknown is taken for an upsert: a newer EMCache has written here.
    throw new EmcacheError("schema_newer", `position ${position} holds an operation that this EMCache doesn't know`);
  }
  return {
    position,
    version,
    operation,
    docId: fromStoredText(fields[3]),
    idType: Number(fields[4]),
    origin,
    transaction: fields[6] === null ? null : fromStoredText(fields[6]),
    transactionEnd: fields[7] === "t",
    data: fields[8],
    createdAt,
  };
}
