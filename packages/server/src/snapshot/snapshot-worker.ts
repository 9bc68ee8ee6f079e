import { buildSnapshot, openReader, quoteIdentifier, readCacheState } from "@emcache/cache-file";
import { EmcacheError } from "@emcache/protocol";
import Database from "better-sqlite3";
import { createHash } from "node:crypto";
import { closeSync, constants, copyFileSync, openSync, readSync } from "node:fs";
import { parentPort, workerData } from "node:worker_threads";
import { messageOf } from "../runtime/error-message.ts";
import type { FileState, SnapshotTask, SnapshotTaskResults } from "./snapshot-task.ts";

/** 1 MiB: larger buffers read no faster (measured on the API's file route). */
const CHUNK_BYTES = 1024 * 1024;

/** Runs one task in this worker thread and posts its result, or its error as plain data. */
function main(): void {
  try {
    parentPort?.postMessage({ result: runTask(workerData as SnapshotTask) });
  } catch (error) {
    const known = error instanceof EmcacheError ? error : new EmcacheError("cache_unavailable", messageOf(error));
    const { code, message, hint, errors, details } = known;
    parentPort?.postMessage({ error: { code, message, hint, errors, details } });
  }
}

function runTask(task: SnapshotTask): SnapshotTaskResults[SnapshotTask["kind"]] {
  switch (task.kind) {
    case "build": {
      // Before a large file is copied for nothing; `buildSnapshot` checks again what it has copied.
      if (readCacheState(task.sourcePath).state.dataState !== "whole") {
        throw new EmcacheError("snapshot_not_ready", "The copy that fills this cache is still running");
      }
      const built = buildSnapshot(task.sourcePath, task.targetPath);
      return { ...built, sha256: hashFile(task.targetPath) };
    }
    case "hash":
      return hashFile(task.path);
    case "legacy":
      makeLegacyFile(task);
      return null;
    case "state":
      return task.paths.flatMap(fileState);
  }
}

function hashFile(path: string): string {
  const hash = createHash("sha256");
  const buffer = Buffer.allocUnsafe(CHUNK_BYTES);
  const file = openSync(path, "r");
  try {
    for (let length = readSync(file, buffer); length > 0; length = readSync(file, buffer)) {
      hash.update(buffer.subarray(0, length));
    }
  } finally {
    closeSync(file);
  }
  return hash.digest("hex");
}

/** No view: after that client's own renames SQLite would have rewritten it to the emptied table (measured). */
function makeLegacyFile({ sourcePath, isSnapshot, targetPath, stamp }: SnapshotTask & { kind: "legacy" }): void {
  if (isSnapshot) {
    copyFileSync(sourcePath, targetPath, constants.COPYFILE_FICLONE);
  } else {
    const source = openReader(sourcePath);
    try {
      source.prepare("VACUUM INTO ?").run(targetPath);
    } finally {
      source.close();
    }
  }
  const database = new Database(targetPath, { fileMustExist: true });
  try {
    database.pragma("journal_mode = DELETE");
    const views = database.prepare<[], { name: string }>("SELECT name FROM sqlite_schema WHERE type = 'view'").all();
    for (const { name } of views) database.exec(`DROP VIEW ${quoteIdentifier(name)}`);
    if (stamp !== null)
      database.prepare(`UPDATE "metadata" SET value = ? WHERE key = 'max_oplog_id'`).run(String(stamp));
  } finally {
    database.close();
  }
}

function fileState(path: string): FileState[] {
  try {
    const { state } = readCacheState(path);
    return [{ path, position: state.point.position, isWhole: state.dataState === "whole", bracket: state.bracket }];
  } catch {
    // Deleted meanwhile, or damaged: its owner sees to it.
    return [];
  }
}

main();
