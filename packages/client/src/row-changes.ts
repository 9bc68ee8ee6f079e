import { openReader, type CacheFile, type CacheRow } from "@emcache/cache-file";
import type { Database, Statement } from "better-sqlite3";
import type { Row, RowChange, RowValue } from "./follow-report.ts";

/** Changes told at once. */
const CHANGES_AT_ONCE = 500;

/** As SQLite returns it with safe integers: every INTEGER is a bigint. */
type StoredRow = Readonly<Record<string, string | number | bigint | null>>;

/**
 * Finds what became of each row while pages are applied to a file, by reading the rows before and after. Only the rows
 * that a page names are read; where a copy replaced the table (or a new file the old one), both tables are walked.
 */
export class RowChanges {
  readonly #database: Database;
  readonly #byId: Statement<[string | bigint], StoredRow>;
  readonly #toId: (docId: string) => string | bigint;
  /** As committed when it was read: null where there was no such row. */
  readonly #before = new Map<string, StoredRow | null>();
  #isPinned = false;

  constructor(path: string, idType: "string" | "number") {
    this.#database = openReader(path);
    this.#database.defaultSafeIntegers();
    this.#byId = this.#database.prepare('SELECT * FROM "data" WHERE "id" = ?');
    this.#toId = idType === "number" ? BigInt : String;
  }

  /** To be called before a page is applied. */
  beforePage(rows: readonly CacheRow[]): void {
    if (this.#isPinned) return;
    if (rows.some(({ operation }) => operation === "sync_end")) {
      this.#pin();
      return;
    }
    for (const { docId, operation } of rows) {
      if (operation !== "upsert" && operation !== "delete") continue;
      if (!this.#before.has(docId)) this.#before.set(docId, this.#read(docId));
    }
  }

  /** What changed by what the file has committed since; nothing while a source transaction keeps it open. */
  *afterPage(file: CacheFile, result: { readonly isOpen: boolean }): Generator<RowChange[]> {
    if (this.#isPinned) {
      yield* this.#afterSwitch(file, result.isOpen);
      return;
    }
    const changes: RowChange[] = [];
    for (const [docId, before] of this.#before) {
      const after = this.#read(docId);
      if (!isSame(before, after)) changes.push(changeOf(before, after, file.position));
      if (result.isOpen) this.#before.set(docId, after);
    }
    if (!result.isOpen) this.#before.clear();
    if (changes.length > 0) yield changes;
  }

  /** What differs between the file that was served and the one that takes its place. */
  *againstNewFile(path: string, position: number): Generator<RowChange[]> {
    const next = openReader(path);
    try {
      next.defaultSafeIntegers();
      yield* tableChanges(this.#database, next, position);
    } finally {
      next.close();
    }
  }

  close(): void {
    this.#database.close();
  }

  /** Keeps the reader at the state before the page, whatever is committed. */
  #pin(): void {
    if (this.#isPinned) return;
    this.#database.exec("BEGIN");
    this.#database.prepare('SELECT 1 FROM "data" LIMIT 1').get();
    this.#isPinned = true;
  }

  *#afterSwitch(file: CacheFile, isOpen: boolean): Generator<RowChange[]> {
    // While a source transaction that began before the switch is open, it is not visible yet.
    if (isOpen) return;
    try {
      yield* this.againstNewFile(file.path, file.position);
    } finally {
      this.#database.exec("COMMIT");
      this.#isPinned = false;
      this.#before.clear();
    }
  }

  #read(docId: string): StoredRow | null {
    let id: string | bigint;
    try {
      id = this.#toId(docId);
    } catch {
      // Not a number: such a row is rejected, and there is none of that id.
      return null;
    }
    return this.#byId.get(id) ?? null;
  }
}

/** Walks two tables in the order of their ids. */
function* tableChanges(old: Database, next: Database, position: number): Generator<RowChange[]> {
  const sql = 'SELECT * FROM "data" ORDER BY "id"';
  const before = old.prepare<[], StoredRow>(sql).iterate();
  const after = next.prepare<[], StoredRow>(sql).iterate();
  try {
    let left = take(before);
    let right = take(after);
    let changes: RowChange[] = [];
    while (left !== null || right !== null) {
      const order = compareIds(left, right);
      const [was, is] = [order <= 0 ? left : null, order >= 0 ? right : null];
      if (!isSame(was, is)) changes.push(changeOf(was, is, position));
      if (order <= 0) left = take(before);
      if (order >= 0) right = take(after);
      if (changes.length < CHANGES_AT_ONCE) continue;
      yield changes;
      changes = [];
    }
    if (changes.length > 0) yield changes;
  } finally {
    before.return?.();
    after.return?.();
  }
}

function take(rows: Iterator<StoredRow>): StoredRow | null {
  const next = rows.next();
  return next.done === true ? null : next.value;
}

/** As SQLite sorts: whole numbers by value and before text, text by its bytes in UTF-8. */
function compareIds(left: StoredRow | null, right: StoredRow | null): number {
  if (left === null || right === null) return left === null ? 1 : -1;
  const [a, b] = [left["id"], right["id"]];
  if (typeof a === "bigint" && typeof b === "bigint") return a < b ? -1 : a > b ? 1 : 0;
  if (typeof a !== typeof b) return typeof a === "bigint" ? -1 : 1;
  return a === b ? 0 : Buffer.compare(Buffer.from(String(a)), Buffer.from(String(b)));
}

function isSame(left: StoredRow | null, right: StoredRow | null): boolean {
  if (left === null || right === null) return left === right;
  const names = Object.keys(left);
  return names.length === Object.keys(right).length && names.every((name) => Object.is(left[name], right[name]));
}

function changeOf(before: StoredRow | null, after: StoredRow | null, position: number): RowChange {
  const shownBefore = before === null ? null : showRow(before);
  const shownAfter = after === null ? null : showRow(after);
  const id = (shownAfter ?? shownBefore)?.["id"] ?? "";
  return { id, before: shownBefore, after: shownAfter, position };
}

/** A row as it is shown: a number wherever that is exact. */
export function showRow(row: Readonly<Record<string, unknown>>): Row {
  const shown: Record<string, RowValue> = {};
  for (const [name, value] of Object.entries(row)) shown[name] = showValue(value as RowValue);
  return shown;
}

function showValue(value: RowValue): RowValue {
  if (typeof value !== "bigint") return value;
  const number = Number(value);
  return Number.isSafeInteger(number) ? number : value;
}
