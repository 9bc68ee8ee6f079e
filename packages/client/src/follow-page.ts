import { jsonArraySlices, jsonObjectSlices, type CacheRow, type LogPoint } from "@emcache/cache-file";
import { EmcacheError, type Operation } from "@emcache/protocol";

/** What was asked for, to hold the answer against. */
export interface FollowQuery {
  readonly logId: string;
  /** Where the caches are: only what comes after it is asked for. */
  readonly after: LogPoint;
  /** Ids of entity versions. */
  readonly versions: readonly number[];
}

/** An answer of `GET /api/follow`. */
export interface FollowPage {
  /** Everything up to here was looked at. */
  readonly point: LogPoint;
  /** Last position of the log. */
  readonly head: number;
  readonly hasMore: boolean;
  /** `live`, `pending` or `retired`, by version. */
  readonly versions: ReadonlyMap<number, string>;
  /** Ascending, by version. */
  readonly rows: ReadonlyMap<number, readonly CacheRow[]>;
}

const OPERATIONS: ReadonlySet<string> = new Set<Operation>(["upsert", "delete", "sync_start", "sync_end"]);

/**
 * Reads an answer's text, keeping each row's values as the text that they are (integers of more than 53 bits).
 *
 * Throws `answer_invalid` unless it is an answer to this query: a row that is out of order, before what was asked for,
 * beyond what was looked at or of another version would be of another request, or of none.
 */
export function parseFollowPage(text: string, query: FollowQuery): FollowPage {
  try {
    return readPage(text, query);
  } catch (error) {
    if (error instanceof EmcacheError) throw error;
    throw invalid(error instanceof Error ? error.message : String(error), error);
  }
}

function readPage(text: string, { logId, after, versions }: FollowQuery): FollowPage {
  const members = jsonObjectSlices(text);
  if (stringOf(members, "log_id") !== logId) throw invalid("it is of another log");
  const point = { position: integerOf(members, "position"), tag: stringOf(members, "tag") };
  const head = integerOf(members, "head");
  if (point.position < after.position) throw invalid(`it ends at ${point.position}, before ${after.position}`);
  if (point.position === after.position && point.tag !== after.tag) throw invalid("its tag is another one");
  const rows = new Map<number, CacheRow[]>(versions.map((version) => [version, []]));
  let last = after.position;
  for (const slice of jsonArraySlices(required(members, "entries"))) {
    const entry = jsonObjectSlices(slice);
    const row = rowOf(entry);
    const version = integerOf(entry, "version");
    if (row.position <= last) throw invalid(`row ${row.position} comes after ${last}`);
    if (row.position > point.position) throw invalid(`row ${row.position} lies beyond its end, ${point.position}`);
    const target = rows.get(version);
    if (target === undefined) throw invalid(`row ${row.position} is of version ${version}, which was not asked for`);
    target.push(row);
    last = row.position;
  }
  const states = Object.entries(JSON.parse(required(members, "versions")) as Record<string, string>);
  return {
    point,
    head,
    hasMore: required(members, "has_more") === "true",
    versions: new Map(states.map(([version, state]) => [Number(version), state])),
    rows,
  };
}

function rowOf(entry: ReadonlyMap<string, string>): CacheRow {
  const operation = stringOf(entry, "operation");
  if (!OPERATIONS.has(operation)) throw invalid(`there is no operation ${operation}`);
  const origin = stringOf(entry, "origin");
  if (origin !== "copy" && origin !== "stream") throw invalid(`there is no origin ${origin}`);
  const data = required(entry, "data");
  const transaction = required(entry, "transaction");
  if ((operation === "upsert") !== data.startsWith("[")) throw invalid(`${operation} with data ${data.slice(0, 20)}`);
  return {
    position: integerOf(entry, "id"),
    operation: operation as Operation,
    docId: stringOf(entry, "doc_id"),
    idType: integerOf(entry, "id_type"),
    origin,
    transaction: transaction === "null" ? null : (JSON.parse(transaction) as string),
    transactionEnd: required(entry, "transaction_end") === "true",
    data: data === "null" ? null : data,
  };
}

function required(members: ReadonlyMap<string, string>, key: string): string {
  const value = members.get(key);
  if (value === undefined) throw invalid(`it has no ${key}`);
  return value;
}

function stringOf(members: ReadonlyMap<string, string>, key: string): string {
  const value = required(members, key);
  if (!value.startsWith('"')) throw invalid(`${key} is not a string`);
  return value.includes("\\") ? (JSON.parse(value) as string) : value.slice(1, -1);
}

function integerOf(members: ReadonlyMap<string, string>, key: string): number {
  const value = Number(required(members, key));
  if (!Number.isSafeInteger(value) || value < 0) throw invalid(`${key} is not a position or a number`);
  return value;
}

function invalid(what: string, cause?: unknown): EmcacheError {
  return new EmcacheError("answer_invalid", `the server's answer can't be used: ${what}`, { cause });
}
