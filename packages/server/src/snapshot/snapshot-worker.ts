import { buildSnapshot, openReader, quoteIdentifier, readCacheState } from "@emcache/cache-file";
import { EmcacheError } from "@emcache/protocol";
import Database from "better-sqlite3";
import { closeSync, constants, copyFileSync, fsyncSync, openSync } from "node:fs";
import { parentPort, workerData } from "node:worker_threads";
import { messageOf } from "../runtime/error-message.ts";
import { compressFile } from "./compress-file.ts";
import type { FileState, MadeSums, SnapshotTask, SnapshotTaskResults } from "./snapshot-task.ts";
import { sumFile } from "./sum-file.ts";

/** Runs one task in this worker thread and posts its result, or its error as plain data. */
async function main(): Promise<void> {
  try {
    parentPort?.postMessage({ result: await runTask(workerData as SnapshotTask) });
  } catch (error) {
    const known = error instanceof EmcacheError ? error : new EmcacheError("cache_unavailable", messageOf(error));
    const { code, message, hint, errors, details } = known;
    parentPort?.postMessage({ error: { code, message, hint, errors, details } });
  }
}

async function runTask(task: SnapshotTask): Promise<SnapshotTaskResults[SnapshotTask["kind"]]> {
  switch (task.kind) {
    case "build": {
      // Before a large file is copied for nothing; `buildSnapshot` checks again what it has copied.
      if (readCacheState(task.sourcePath).state.dataState !== "whole") {
        throw new EmcacheError("snapshot_not_ready", "The copy that fills this cache is still running");
      }
      const built = buildSnapshot(task.sourcePath, task.targetPath);
      return { ...built, ...(await makeForms(task)) };
    }
    case "sum":
      return task.paths.map(sumFile);
    case "stamp":
      stampFile(task);
      return makeForms(task);
    case "legacy":
      makeLegacyFile(task);
      return null;
    case "state":
      return task.paths.flatMap(fileState);
  }
}

/** The thread is ended when the task is given up, so nothing needs a signal. */
async function makeForms({
  targetPath,
  compressed,
}: Pick<SnapshotTask & { kind: "build" }, "targetPath" | "compressed">): Promise<MadeSums> {
  const sums = sumFile(targetPath);
  const never = new AbortController().signal;
  const made = compressed.map(({ path, coding }) => compressFile(targetPath, path, coding, never));
  return { sums, compressed: await Promise.all(made) };
}

function stampFile({ sourcePath, targetPath, position, tag }: SnapshotTask & { kind: "stamp" }): void {
  copyFileSync(sourcePath, targetPath, constants.COPYFILE_FICLONE);
  const database = new Database(targetPath, { fileMustExist: true });
  try {
    database.pragma("journal_mode = DELETE");
    const update = database.prepare(`UPDATE "metadata" SET value = ? WHERE key = ?`);
    database.transaction(() => {
      update.run(String(position), "max_oplog_id");
      update.run(tag, "tag");
    })();
  } finally {
    database.close();
  }
  const file = openSync(targetPath, "r+");
  try {
    fsyncSync(file);
  } finally {
    closeSync(file);
  }
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

await main();
