import { buildSnapshot, CacheFile } from "@emcache/cache-file";
import { EmcacheError } from "@emcache/protocol";
import { constants, copyFileSync } from "node:fs";
import { parentPort, workerData, type MessagePort } from "node:worker_threads";
import { messageOf } from "../runtime/error-message.ts";
import type { RestoreAnswer, RestoreOrder, RestoreStart, RestoreState } from "./restore-message.ts";
import { sumFile } from "./sum-file.ts";

/** Applies pages of the log to a copy of a snapshot, in this worker thread; ends with its port. */
function main(port: MessagePort, { basePath, workPath, entity, logId }: RestoreStart): void {
  let file: CacheFile | null = null;
  const open = (): CacheFile => CacheFile.open(workPath, { entity, logId });
  const answer = (work: () => Pick<RestoreState, "isOpen" | "built">): void => {
    try {
      const { isOpen, built } = work();
      const point = { position: file?.position ?? 0, tag: file?.tag ?? "" };
      const state = { point, isOpen, built, isWhole: file?.dataState === "whole" };
      port.postMessage({ state } satisfies RestoreAnswer);
    } catch (error) {
      const known = error instanceof EmcacheError ? error : new EmcacheError("cache_unavailable", messageOf(error));
      const { code, message, hint, errors, details } = known;
      port.postMessage({ error: { code, message, hint, errors, details } } satisfies RestoreAnswer);
    }
  };
  const obey = (order: RestoreOrder): Pick<RestoreState, "isOpen" | "built"> => {
    file ??= open();
    switch (order.kind) {
      case "begin":
        file.rebase(order.point);
        return { isOpen: false, built: null };
      case "page":
        return { isOpen: file.apply(order.rows, order.upTo).isOpen, built: null };
      case "reopen":
        file.close();
        file = open();
        return { isOpen: false, built: null };
      case "finish": {
        file.close();
        const built = buildSnapshot(workPath, order.targetPath);
        return { isOpen: false, built: { ...built, sums: sumFile(order.targetPath) } };
      }
    }
  };
  port.on("message", (order: RestoreOrder) => answer(() => obey(order)));
  answer(() => {
    if (basePath !== null) copyFileSync(basePath, workPath, constants.COPYFILE_FICLONE | constants.COPYFILE_EXCL);
    file = open();
    return { isOpen: false, built: null };
  });
}

if (parentPort === null) throw new TypeError("restore-worker.ts runs in a worker thread only");
main(parentPort, workerData as RestoreStart);
