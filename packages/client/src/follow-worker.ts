import { EmcacheError } from "@emcache/protocol";
import { parentPort, workerData } from "node:worker_threads";
import type { FollowMessage, FollowOrder, FollowWorkerData } from "./follow-message.ts";
import { Follower } from "./follower.ts";

/*
 * The thread that keeps the files. It is a thread because its work blocks: a page of 2,000 rows takes some 10 ms, a new
 * file of a million rows a second, a full disk's time-outs longer.
 */
const port = parentPort;
if (port === null) throw new Error("this file is the entry of a worker thread");
const tell = (message: FollowMessage): void => port.postMessage(message);

const end = new AbortController();
let taken: (() => void) | null = null;

try {
  const follower = new Follower(workerData as FollowWorkerData, {
    status: (status) => tell({ kind: "status", status }),
    rowsChanged: (entity) => tell({ kind: "rows-changed", entity }),
    changes: (entity, changes) => {
      if (end.signal.aborted) return Promise.resolve();
      const { promise, resolve } = Promise.withResolvers<void>();
      taken = resolve;
      tell({ kind: "changes", entity, changes });
      return promise;
    },
  });
  port.on("message", (order: FollowOrder) => {
    if (order.kind === "watch") {
      const position = follower.watchRows(order.entity, order.isWatched);
      tell({ kind: "watching", request: order.request, position });
      return;
    }
    if (order.kind === "close") end.abort();
    taken?.();
  });
  const running = follower.run(end.signal);
  tell({ kind: "opened", statuses: follower.status() });
  await running;
  tell({ kind: "closed" });
} catch (error) {
  const code = error instanceof EmcacheError ? error.code : "internal";
  tell({ kind: "failed", code, message: error instanceof Error ? error.message : String(error) });
} finally {
  port.removeAllListeners("message");
  port.unref();
}
