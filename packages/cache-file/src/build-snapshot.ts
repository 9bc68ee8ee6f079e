import { closeSync, fsyncSync, openSync, rmSync, statSync } from "node:fs";
import { EmcacheError } from "@emcache/protocol";
import Database from "better-sqlite3";
import { modeOf, readMetadata, type CopyBracket } from "./cache-metadata.ts";
import type { CacheMode } from "./cache-row.ts";
import { checkPages } from "./open-cache-database.ts";
import { openReader } from "./open-reader.ts";
import { toCacheError } from "./sqlite-error.ts";

/** A snapshot's content. */
export interface BuiltSnapshot {
  readonly logId: string;
  /** Id of the entity's version. */
  readonly version: number;
  /** The file holds exactly what the log says up to and including this position. */
  readonly position: number;
  readonly tag: string;
  readonly mode: CacheMode;
  /** Rows of `data`. */
  readonly rows: number;
  readonly sizeBytes: number;
  readonly bracket: CopyBracket;
}

/**
 * Writes what a cache file holds at one position into a new single file (no WAL), checked by `integrity_check` and on
 * disk when this returns. The cache's writer goes on meanwhile. Blocks its thread: about 1 s per 150 MB.
 *
 * By `VACUUM INTO`: of the ways that `bench/snapshot.ts` compares it takes longest (3.2 s for 264 MiB beside a writer;
 * 0.9 s for the backup API stepped on the writer's connection, 1.1 s for a copy of the file with checkpoints held off),
 * but it alone doesn't hold up the writer (42 ms at most against 176 and 225), and leaves out the pages that are free
 * after a re-copy: a quarter less for everyone who downloads it. The integrity check costs more than any of them.
 *
 * @param targetPath Must not exist; removed again where this throws. Give it its listed name afterwards, by a rename.
 * @throws `snapshot_not_ready` where `data` is not whole, `snapshot_damaged` where the check fails, `cache_damaged` or
 * `cache_unavailable` of the source.
 */
export function buildSnapshot(sourcePath: string, targetPath: string): BuiltSnapshot {
  if (statSync(targetPath, { throwIfNoEntry: false }) !== undefined) {
    throw new EmcacheError("cache_unavailable", `${targetPath}: it exists already`);
  }
  try {
    const source = openReader(sourcePath);
    try {
      // One statement is one read transaction: consistent at one position, whatever is committed meanwhile.
      source.prepare("VACUUM INTO ?").run(targetPath);
    } finally {
      source.close();
    }
    const built = finish(targetPath);
    flush(targetPath);
    return { ...built, sizeBytes: statSync(targetPath).size };
  } catch (error) {
    rmSync(targetPath, { force: true });
    rmSync(`${targetPath}-journal`, { force: true });
    throw toCacheError(error, sourcePath);
  }
}

function finish(path: string): Omit<BuiltSnapshot, "sizeBytes"> {
  const database = new Database(path, { fileMustExist: true });
  try {
    database.pragma("journal_mode = DELETE");
    const { logId, entity, state } = readMetadata(database);
    if (state.dataState !== "whole") {
      throw new EmcacheError("snapshot_not_ready", `entity ${entity.name} has no complete copy yet`);
    }
    verify(database);
    const count = database.prepare<[], { n: number }>('SELECT count(*) AS n FROM "data"').get();
    const { position, tag } = state.point;
    return {
      logId,
      version: entity.id,
      position,
      tag,
      mode: modeOf(state),
      rows: count?.n ?? 0,
      bracket: state.bracket,
    };
  } finally {
    database.close();
  }
}

function verify(database: Database.Database): void {
  try {
    checkPages(database);
  } catch (error) {
    throw new EmcacheError("snapshot_damaged", `${database.name}: the new snapshot failed its integrity check`, {
      cause: error,
    });
  }
}

function flush(path: string): void {
  const file = openSync(path, "r+");
  try {
    fsyncSync(file);
  } finally {
    closeSync(file);
  }
}
