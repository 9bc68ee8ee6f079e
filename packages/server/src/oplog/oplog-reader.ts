import { EmcacheError, type Operation, type Origin } from "@emcache/protocol";
import type pg from "pg";
import { unsignedTime } from "./append-message.ts";
import { pageMessage } from "./page-query.ts";
import { operationOf, originOf } from "./row-codes.ts";
import { fromStoredText } from "./stored-text.ts";
import { withClient } from "./with-client.ts";

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

export interface PageRequest {
  /** Position that the reader has; the page starts above it. 0 for the beginning. */
  readonly after: number;
  /** Most rows, at least 1. */
  readonly limit: number;
  /** Only rows of these entity versions; absent: of all that were not deleted. */
  readonly versions?: readonly number[];
  /** The page ends with the row that reaches this many bytes; one that is larger alone comes alone. Default 8 MiB. */
  readonly bytesMax?: number;
  readonly signal: AbortSignal;
}

/** What is known of the batch that holds a position. */
export interface BatchFacts {
  readonly firstPosition: number;
  readonly rowCount: number;
  readonly tag: string;
  readonly source: string;
  /** Cluster time of its source there, a BSON timestamp as an unsigned 64-bit number; null if unknown. */
  readonly clusterTime: bigint | null;
  readonly createdAt: string;
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
type RawRow = [
  position: string, version: string, operation: string, docId: string, idType: string, origin: string,
  transaction: string | null, transactionEnd: string, data: string | null, tag: string | null,
  createdAt: string | null, cut: string,
];

const PAGE_BYTES_MAX = 8 * 1024 * 1024;

/** A page of few entities looks at this many positions at most: a bounded statement, whatever the others wrote. */
const FILTERED_SCAN_MAX = 100_000;

const READ_TIMEOUT_MS = 70_000;

/** Raw text: the numbers that are needed are converted here, the others not at all. */
const RAW_TYPES = { getTypeParser: () => (value: string) => value } as unknown as pg.CustomTypesConfig;

/** Reads the log, a page a statement. Holds no connection and no transaction between pages. */
export class OplogReader {
  readonly #pool: pg.Pool;

  constructor(pool: pg.Pool) {
    this.#pool = pool;
  }

  /**
   * The rows after a position. The headers that the page touches are checked to follow one another without a gap,
   * whatever the filter; without a filter the rows are too.
   *
   * @throws position_too_old (`details.floor`) where rows after `after` were dropped; oplog_hole; postgres_unavailable.
   */
  async page({ after, limit, versions, bytesMax = PAGE_BYTES_MAX, signal }: PageRequest): Promise<OplogPage> {
    requireWhole("after", after, 0);
    requireWhole("limit", limit, 1);
    requireWhole("bytesMax", bytesMax, 1);
    for (const version of versions ?? []) requireWhole("version", version, 0);
    const scanMax = versions === undefined ? limit : Math.max(limit, FILTERED_SCAN_MAX);
    const text = pageMessage({ after, limit, scanMax, bytesMax, versions: versions ?? null });
    const raw = await this.#readRaw(text, signal);
    const first = raw[0];
    if (first === undefined) throw new EmcacheError("internal", "the log has no head row");
    const head = Number(first[0]);
    const facts = JSON.parse(first[8] ?? "") as PageFacts;
    if (after + 1 < facts.floor) {
      throw new EmcacheError("position_too_old", `the log starts at ${facts.floor}; the reader is at ${after}`, {
        details: { floor: facts.floor },
      });
    }
    if (after > head) {
      const { logId, floor } = facts;
      return { logId, floor, head, rows: [], position: after, tag: "", tagAtFrom: null, full: false, batches: [] };
    }
    requireChain(after, facts);
    return assemble(after, limit, versions === undefined, head, facts, raw);
  }

  /** Where the log is now. */
  async head(signal: AbortSignal = new AbortController().signal): Promise<{ logId: string; head: number; floor: number }> {
    const rows = await this.#query<{ log_id: string; position: string; floor: string }>(
      "SELECT log_id, position, floor FROM emcache.head", [], signal,
    );
    const row = rows[0];
    if (row === undefined) throw new EmcacheError("internal", "the log has no head row");
    return { logId: row.log_id, head: Number(row.position), floor: Number(row.floor) };
  }

  /** The batch that holds a position; null where the log holds no such position. */
  async batchAt(position: number, signal: AbortSignal = new AbortController().signal): Promise<BatchFacts | null> {
    requireWhole("position", position, 0);
    const rows = await this.#query<{
      first_position: string; row_count: number; tag: string; source: string; cluster_time: string | null; created_at: Date;
    }>(
      `SELECT first_position, row_count, tag, source, cluster_time, created_at FROM emcache.batch
       WHERE first_position <= $1 ORDER BY first_position DESC LIMIT 1`,
      [position], signal,
    );
    const row = rows[0];
    if (row === undefined || Number(row.first_position) + row.row_count <= position) return null;
    return {
      firstPosition: Number(row.first_position),
      rowCount: row.row_count,
      tag: row.tag,
      source: row.source,
      clusterTime: unsignedTime(row.cluster_time),
      createdAt: row.created_at.toISOString(),
    };
  }

  /**
   * Where a cache of a version can begin from nothing: the `sync_start` of its newest copy that came to its end, or
   * where none did, of the one that runs; null where the log holds neither.
   */
  async latestSyncStart(
    version: number,
    signal: AbortSignal = new AbortController().signal,
  ): Promise<{ position: number; complete: boolean } | null> {
    const rows = await this.#query<{ position: string; complete: boolean }>(
      `SELECT c.position, c.complete FROM emcache.head h, emcache.copy_bracket b,
         LATERAL (VALUES (b.complete_start_position, true), (b.start_position, false)) AS c(position, complete)
       WHERE b.version = $1 AND c.position >= h.floor ORDER BY c.complete DESC LIMIT 1`,
      [version], signal,
    );
    const row = rows[0];
    return row === undefined ? null : { position: Number(row.position), complete: row.complete };
  }

  async #query<Row extends pg.QueryResultRow>(text: string, values: unknown[], signal: AbortSignal): Promise<Row[]> {
    const options = { signal, timeoutMs: READ_TIMEOUT_MS };
    const { rows } = await withClient(this.#pool, options, (client) => client.query<Row>(text, values));
    return rows;
  }

  async #readRaw(text: string, signal: AbortSignal): Promise<RawRow[]> {
    return withClient(this.#pool, { signal, timeoutMs: READ_TIMEOUT_MS }, async (client) => {
      // Several statements give a list of results; the client's types know one only.
      const results: unknown = await client.query<RawRow>({ text, rowMode: "array", types: RAW_TYPES });
      const list = results as pg.QueryArrayResult<RawRow>[];
      return list.find(({ rows }) => rows.length > 0)?.rows ?? [];
    });
  }
}

function requireWhole(name: string, value: number, min: number): void {
  if (Number.isSafeInteger(value) && value >= min) return;
  throw new EmcacheError("bad_request", `${name} is ${value}; a whole number from ${min} on is needed`);
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
