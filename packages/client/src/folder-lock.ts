import { join } from "node:path";
import { EmcacheError } from "@emcache/protocol";
import Database from "better-sqlite3";

/**
 * Makes sure that one client keeps caches in a folder. The lock is the operating system's lock on a small SQLite file:
 * it goes when its process dies, however it dies.
 */
export class FolderLock {
  readonly #database: Database.Database;

  private constructor(database: Database.Database) {
    this.#database = database;
  }

  /** Throws `directory_locked` where another client has it, in this process or in another one. */
  static acquire(folder: string): FolderLock {
    // No waiting: whoever holds the lock holds it for as long as it runs.
    const database = new Database(join(folder, "emcache-client.lock"), { timeout: 0 });
    try {
      // Nothing is ever written, so no journal file appears beside the lock.
      database.exec("BEGIN EXCLUSIVE");
    } catch (error) {
      database.close();
      if (!(error instanceof Database.SqliteError) || !error.code.startsWith("SQLITE_BUSY")) throw error;
      throw new EmcacheError("directory_locked", `another client keeps its caches in ${folder}`, { cause: error });
    }
    return new FolderLock(database);
  }

  release(): void {
    this.#database.close();
  }
}
