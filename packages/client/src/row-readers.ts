import { openReader, quoteIdentifier } from "@emcache/cache-file";
import { EmcacheError } from "@emcache/protocol";
import type Database from "better-sqlite3";
import type { CacheFolder } from "./cache-folder.ts";
import type { Row } from "./follow-report.ts";
import { showRow } from "./row-changes.ts";

/** A value that can be bound to a query. */
export type QueryParameter = string | number | bigint | Buffer | null;

/** How long a connection to a replaced file can still be used by whoever holds it. */
const OLD_KEPT_MS = 60_000;

/** SQLite's limit of files that one connection reads (SQLITE_MAX_ATTACHED). */
const ATTACHED_MAX = 10;

/** The read connections of this thread: one a file, and one over all files that a query names. */
export class RowReaders {
  readonly #folder: CacheFolder;
  readonly #entities: readonly string[];
  readonly #single = new Map<string, Database.Database>();
  readonly #old = new Map<Database.Database, NodeJS.Timeout>();
  #joined: Database.Database | null = null;
  readonly #attached = new Set<string>();

  constructor(folder: CacheFolder, entities: readonly string[]) {
    this.#folder = folder;
    this.#entities = entities;
  }

  /** The connection to an entity's file, shared by all who ask on this thread. Throws `cache_unavailable`. */
  of(entity: string): Database.Database {
    const path = this.#folder.linkPath(this.#known(entity));
    let database = this.#single.get(entity);
    if (database === undefined) {
      database = openReader(path);
      this.#single.set(entity, database);
    }
    return database;
  }

  /** Rows of a query over any of the entities, each a view of its name. */
  query(sql: string, parameters: readonly QueryParameter[]): Row[] {
    return this.#prepare(sql)
      .all(...parameters)
      .map(showRow);
  }

  get(entity: string, id: string | number | bigint): Row | null {
    const name = quoteIdentifier(this.#known(entity));
    const row = this.#prepare(`SELECT * FROM ${name}."data" WHERE "id" = ?`).get(id);
    return row === undefined ? null : showRow(row);
  }

  /** The entities whose files a query reads, as SQLite plans it. */
  entitiesOf(sql: string, parameters: readonly QueryParameter[]): Set<string> {
    const opcodes = this.#prepare(`EXPLAIN ${sql}`).all(...parameters);
    const joined = this.#join();
    const files = joined.pragma("database_list") as { seq: bigint; name: string }[];
    const names = new Map(files.map(({ seq, name }) => [Number(seq), name]));
    const read = new Set<string>();
    for (const { opcode, p1 } of opcodes) {
      // One `Transaction` for each file that the statement looks at; p1 is the file's number.
      const name = opcode === "Transaction" ? names.get(Number(p1)) : undefined;
      if (name === "main") read.add(this.#entities[0] ?? "");
      else if (name !== undefined) read.add(name);
    }
    return read;
  }

  /** Another file is served under an entity's name: connections to the former one are closed after a while. */
  replaced(entity: string): void {
    const old = this.#single.get(entity);
    this.#single.delete(entity);
    if (old !== undefined) this.#closeLater(old);
    // Made anew by the next query.
    const joined = this.#joined;
    this.#joined = null;
    this.#attached.clear();
    if (joined !== null) this.#closeLater(joined);
  }

  close(): void {
    for (const database of this.#single.values()) database.close();
    for (const [database, timer] of this.#old) {
      clearTimeout(timer);
      database.close();
    }
    this.#joined?.close();
    this.#single.clear();
    this.#old.clear();
    this.#joined = null;
    this.#attached.clear();
  }

  #closeLater(database: Database.Database): void {
    const timer = setTimeout(() => {
      this.#old.delete(database);
      try {
        database.close();
      } catch {
        // Somebody is in the middle of its rows.
        this.#closeLater(database);
      }
    }, OLD_KEPT_MS);
    timer.unref();
    this.#old.set(database, timer);
  }

  #prepare(sql: string): Database.Statement<QueryParameter[], Record<string, unknown>> {
    const joined = this.#join();
    this.#attach(
      joined,
      this.#entities.filter((entity) => isNamed(sql, entity)),
    );
    return joined.prepare(sql);
  }

  /**
   * A connection that reads several files. Its own one is the first entity's, because what a connection attaches can
   * only be read where its own file is opened so.
   */
  #join(): Database.Database {
    const [first = ""] = this.#entities;
    if (this.#joined === null) {
      this.#joined = openReader(this.#folder.linkPath(first));
      this.#joined.defaultSafeIntegers();
    }
    return this.#joined;
  }

  /** Attaches what is missing, in place of what is not needed where there are too many. */
  #attach(joined: Database.Database, wanted: readonly string[]): void {
    if (wanted.length > ATTACHED_MAX) {
      throw new EmcacheError(
        "bad_request",
        `a query reads ${ATTACHED_MAX} entities at most, this one names ${wanted.length}`,
      );
    }
    for (const entity of wanted.filter((name) => !this.#attached.has(name))) {
      for (const other of this.#attached) {
        if (this.#attached.size < ATTACHED_MAX) break;
        if (wanted.includes(other)) continue;
        joined.exec(`DETACH ${quoteIdentifier(other)}`);
        this.#attached.delete(other);
      }
      joined.prepare(`ATTACH ? AS ${quoteIdentifier(entity)}`).run(this.#folder.linkPath(entity));
      this.#attached.add(entity);
    }
  }

  #known(entity: string): string {
    if (this.#entities.includes(entity)) return entity;
    throw new EmcacheError("bad_request", `the cache was opened without the entity ${JSON.stringify(entity)}`);
  }
}

/** Whether a query's text has an entity's name as a word, in any case of letters, as SQLite compares names. */
function isNamed(sql: string, entity: string): boolean {
  return new RegExp(`(?<!\\w)${entity}(?!\\w)`, "i").test(sql);
}
