import pg from "pg";
import { parentPort, workerData, type MessagePort } from "node:worker_threads";
import { OplogReader } from "../oplog/oplog-reader.ts";
import { HandedPages } from "./handed-pages.ts";
import { toProblemLike, type ProblemLike } from "./cache-status.ts";
import { ReplicateLoop } from "./replicate-loop.ts";
import type { ReplicateNews, ReplicateOrder, ReplicateWorkerData } from "./replicate-message.ts";
import type { DealtPage, ReplicateReport } from "./replicate-port.ts";
import { WakeWord } from "./wake-word.ts";

/** One for the page that is wanted, one for the page read ahead, one for looking up where copies begin. */
const CONNECTIONS_MAX = 3;

/** Runs the loop in this worker thread until it is told to stop. */
async function main(port: MessagePort, data: ReplicateWorkerData): Promise<void> {
  const end = new AbortController();
  const pool = new pg.Pool({ ...data.connection, min: 0, max: CONNECTIONS_MAX });
  // A connection that breaks while nobody uses it: the next page opens another.
  pool.on("error", () => undefined);
  const wakeWord = new WakeWord(data.wakeWord);
  const handedPages = new HandedPages(wakeWord);
  const loop = new ReplicateLoop({
    log: new OplogReader(pool),
    report: reportTo(port, data.tellsPages),
    baseDir: data.baseDir,
    intervalMs: data.intervalMs,
    ...(data.walBytesMax === null ? {} : { walBytesMax: data.walBytesMax }),
    handedPages,
  });
  port.on("message", (order: ReplicateOrder) => {
    switch (order.kind) {
      case "records":
        loop.setRecords(order.records);
        break;
      case "wake":
        wakeWord.woken();
        loop.wake();
        break;
      case "batch":
        handedPages.add(order.page);
        break;
      case "restored":
        loop.adopt(order.version);
        break;
      case "stop":
        end.abort();
        break;
    }
  });
  if (data.records !== null) loop.setRecords(data.records);
  try {
    await loop.run(end.signal);
  } finally {
    await pool.end().catch(() => undefined);
    port.close();
  }
}

function reportTo(port: MessagePort, tellsPages: boolean): ReplicateReport {
  const post = (news: ReplicateNews): void => port.postMessage(news);
  let problem: ProblemLike | null | undefined;
  return {
    statuses: (statuses) => post({ kind: "statuses", statuses }),
    needsCopy: (version, reason) => post({ kind: "needs_copy", version, reason }),
    rejects: (rejects) => post({ kind: "rejects", rejects }),
    ...(tellsPages ? { dealt: (page: DealtPage) => post({ kind: "dealt", page }) } : {}),
    line: (level, event, fields, message) => post({ kind: "line", level, event, fields, message }),
    log: (error) => {
      const next = error === null ? null : toProblemLike(error);
      if (next?.detail === problem?.detail && problem !== undefined) return;
      problem = next;
      post({ kind: "log", problem: next });
    },
  };
}

if (parentPort === null) throw new TypeError("replicate-worker.ts runs in a worker thread only");
await main(parentPort, workerData as ReplicateWorkerData);
