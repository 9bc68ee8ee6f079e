import type {
  AppendedBatch,
  CaptureBatch,
  CaptureLog,
  CaptureStart,
  CopyCheckpoint,
  StreamCheckpoint,
} from "../capture-log.ts";
import type { LogRow, Reject } from "../log-row.ts";

/** A log in memory: what the capture would have made durable, in order. */
export class MemoryCaptureLog implements CaptureLog {
  readonly sourceName = "main";
  readonly epoch = 1;
  readonly rows: LogRow[] = [];
  readonly rejects: Reject[] = [];
  checkpoint: StreamCheckpoint | null = null;
  readonly copies = new Map<number, CopyCheckpoint>();
  /** Runs before each append; throws to make it fail, waits to make it slow. */
  beforeAppend: (batch: CaptureBatch) => Promise<void> = async () => undefined;

  async load(): Promise<CaptureStart> {
    return { checkpoint: this.checkpoint, copies: [...this.copies.values()] };
  }

  async append(batch: CaptureBatch, signal: AbortSignal): Promise<AppendedBatch> {
    await this.beforeAppend(batch);
    signal.throwIfAborted();
    const firstPosition = this.rows.length + 1;
    for (const row of batch.rows) this.rows.push(row);
    for (const reject of batch.rejects) this.rejects.push(reject);
    if (batch.checkpoint !== null) this.checkpoint = batch.checkpoint;
    for (const copy of batch.copies) this.copies.set(copy.version, copy);
    return { firstPosition, rowCount: batch.rows.length };
  }

  /** The table that a cache of the version would show: the last complete copy, and what came since. */
  table(version: number): Map<string, string> {
    let live = new Map<string, string>();
    let next: Map<string, string> | null = null;
    for (const row of this.rows) {
      if (row.version !== version) continue;
      if (row.operation === "sync_start") next = new Map();
      else if (row.operation === "sync_end") [live, next] = [next ?? live, null];
      else {
        for (const table of row.origin === "copy" ? [next] : [live, next]) {
          if (row.operation === "delete") table?.delete(row.docId);
          else table?.set(row.docId, row.data ?? "");
        }
      }
    }
    return live;
  }
}
