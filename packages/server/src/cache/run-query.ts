import { openReader } from "@emcache/cache-file";
import { EmcacheError } from "@emcache/protocol";
import type Database from "better-sqlite3";
import type { Query } from "./query-message.ts";

/**
 * What a query may begin with. Everything else is refused before SQLite sees it: some PRAGMAs work while they are
 * compiled, and ATTACH would open another file.
 */
const BEGINNING = /^(?:select|values|with|explain)\b/i;

/** Of SQLite's JSON functions, as they are loose: what a query may be told to be its mistake. */
const QUERY_ERRORS = ["SQLITE_ERROR", "SQLITE_RANGE", "SQLITE_MISMATCH", "SQLITE_CONSTRAINT", "SQLITE_READONLY"];
const TOO_MUCH_ERRORS = ["SQLITE_NOMEM", "SQLITE_TOOBIG", "SQLITE_FULL"];

type Cell = string | bigint | number | Buffer | null;

/**
 * Runs one SELECT on a connection of its own that can only read, and returns JSON of `{columns, rows, truncated}`.
 * Integers keep all digits; a BLOB is `{"base64": "…"}`; an infinite REAL is null, because JSON has none.
 *
 * @throws EmcacheError `query_invalid`, `query_too_expensive`, `cache_unavailable`, `cache_damaged`
 */
export function runQuery({ path, sql, params, rowsMax, bytesMax }: Query): string {
  if (!BEGINNING.test(withoutComments(sql))) {
    throw new EmcacheError("query_invalid", "The query does not begin with SELECT, VALUES, WITH or EXPLAIN");
  }
  const database = openReader(path);
  try {
    database.pragma("query_only = 1");
    // Sorting and grouping that need more than the cache go to memory, never to files.
    database.pragma("temp_store = MEMORY");
    database.defaultSafeIntegers(true);
    return readRows(database, { sql, params, rowsMax, bytesMax });
  } catch (error) {
    throw queryError(error);
  } finally {
    database.close();
  }
}

function readRows(database: Database.Database, { sql, params, rowsMax, bytesMax }: Omit<Query, "path">): string {
  // One statement: better-sqlite3 refuses a text that holds more.
  const statement = database.prepare<unknown[], Cell[]>(sql);
  if (!statement.reader || !statement.readonly) {
    throw new EmcacheError("query_invalid", "The query is no SELECT: it would write, or has no rows");
  }
  const columns = statement.columns().map(({ name }) => name);
  const head = `{"columns":${JSON.stringify(columns)},"rows":[`;
  let bytes = head.length;
  const rows: string[] = [];
  let isTruncated = false;
  for (const cells of statement.raw().iterate(...bound(params))) {
    const row = rowJson(cells);
    bytes += Buffer.byteLength(row) + 1;
    isTruncated = rows.length >= rowsMax || bytes > bytesMax;
    if (isTruncated) break;
    rows.push(row);
  }
  return `${head}${rows.join(",")}],"truncated":${isTruncated}}`;
}

/** SQLite has no booleans. Whole numbers are bound as integers. */
function bound(params: Query["params"]): unknown[] {
  const toSqlite = (value: unknown): unknown => {
    if (typeof value === "boolean") return value ? 1n : 0n;
    return typeof value === "number" && Number.isSafeInteger(value) ? BigInt(value) : value;
  };
  if (Array.isArray(params)) return params.map(toSqlite);
  const named = Object.entries(params).map(([name, value]) => [name, toSqlite(value)] as const);
  return named.length === 0 ? [] : [Object.fromEntries(named)];
}

function rowJson(cells: readonly Cell[]): string {
  return `[${cells.map(cellJson).join(",")}]`;
}

function cellJson(cell: Cell): string {
  if (typeof cell === "bigint") return String(cell);
  if (Buffer.isBuffer(cell)) return JSON.stringify({ base64: cell.toString("base64") });
  return JSON.stringify(cell);
}

/** The text from its first word on. */
function withoutComments(sql: string): string {
  let rest = sql;
  for (;;) {
    const next = rest.replace(/^(?:\s+|--[^\n]*(?:\n|$)|\/\*[\s\S]*?\*\/)/, "");
    if (next === rest) return rest;
    rest = next;
  }
}

function queryError(error: unknown): unknown {
  if (error instanceof EmcacheError) return error;
  if (!(error instanceof Error)) return error;
  const code = "code" in error && typeof error.code === "string" ? error.code : "";
  const isOneOf = (codes: readonly string[]): boolean =>
    codes.some((one) => code === one || code.startsWith(`${one}_`));
  // Too many parameters, a wrong name, several statements: better-sqlite3's own words.
  if (error instanceof RangeError || error instanceof TypeError || isOneOf(QUERY_ERRORS)) {
    return new EmcacheError("query_invalid", error.message, { cause: error });
  }
  if (isOneOf(TOO_MUCH_ERRORS)) {
    return new EmcacheError("query_too_expensive", `The query needs more memory than queries may: ${error.message}`);
  }
  return new EmcacheError("cache_unavailable", error.message, { cause: error });
}
