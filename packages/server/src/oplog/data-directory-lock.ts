import { mkdirSync } from "node:fs";
import { join } from "node:path";
import { EmcacheError } from "@emcache/protocol";
import Database from "better-sqlite3";

/**
 * Makes sure that one process uses a data directory. The lock is the operating system's lock on a small SQLite file:
 * it goes when its process dies, however it dies, and holds between containers that share the directory. A file with a
 * process id in it could do neither.
 */
export class DataDirectoryLock {
  readonly #database: Database.Database;

  private constructor(database: Database.Database) {
    this.#database = database;
  }

  /** @throws embedded_postgres_failed where another process has the lock. */
  static acquire(dataDir: string): DataDirectoryLock {
    mkdirSync(dataDir, { recursive: true });
    // No waiting: whoever holds the lock holds it for its whole life.
    const database = new Database(join(dataDir, "emcache.lock"), { timeout: 0 });
    try {
      // Nothing is ever written, so no journal file appears beside the lock.
      database.exec("BEGIN EXCLUSIVE");
    } catch (error) {
      database.close();
      if (!(error instanceof Database.SqliteError) || !error.code.startsWith("SQLITE_BUSY")) throw error;
      throw new EmcacheError("embedded_postgres_failed", `another EMCache process uses the data directory ${dataDir}`, {
        hint: "Stop the other process, give this one a `data_dir` of its own, or let both use one PostgreSQL by `database.postgres.uri`.",
        cause: error,
      });
    }
    return new DataDirectoryLock(database);
  }

  release(): void {
    this.#database.close();
  }
}
