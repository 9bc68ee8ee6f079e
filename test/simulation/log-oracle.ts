import { BSON } from "mongodb";
import type { StreamCheckpoint } from "../../packages/server/src/source/capture-log.ts";
import type { LogRow } from "../../packages/server/src/source/log-row.ts";
import type { MemoryOplog, StoredBatch } from "../../packages/server/src/oplog/testing/memory-oplog.ts";
import { isWithinTransaction, placeOf } from "./model-server.ts";
import { type DocumentState, type ModelDocument, nameOf, type SourceModel } from "./source-model.ts";

/** A table as the log says it is: JSON text of each row's cells. */
export type LogTable = ReadonlyMap<string, string>;

interface VersionView {
  readonly collection: string;
  live: Map<string, string> | null;
  next: Map<string, string> | null;
  /** The earliest state of each document that the log may show next, as an index of its states. */
  readonly shown: Map<string, number>;
  readonly transactions: Set<string>;
}

/** What no run may show. */
export class SimulationViolation extends Error {}

/**
 * Watches every append: positions without holes, no append twice or without the lease, for each document a sequence
 * of states that its history has in this order (invariant 4), and a checkpoint that is not ahead of the rows
 * (invariant 1). It knows the model's history and the rows of the log, and no code of the pipeline.
 */
export class LogOracle {
  readonly #model: SourceModel;
  readonly #oplog: MemoryOplog;
  readonly #views = new Map<number, VersionView>();
  readonly #seenRows = new Set<readonly LogRow[]>();
  /** Rows of all batches ever, also of those that retention dropped. */
  readonly #rows: LogRow[] = [];
  /** The first thing that no run may show. */
  violation: Error | null = null;

  constructor(model: SourceModel, oplog: MemoryOplog) {
    this.#model = model;
    this.#oplog = oplog;
    oplog.onSealed = (batch, checkpoint) => {
      try {
        this.#sealed(batch, checkpoint);
      } catch (error) {
        // Not to be thrown into the pipeline, which would take it for a failure of the log.
        this.violation ??= error instanceof Error ? error : new Error(String(error));
      }
    };
  }

  addVersion(version: number, collection: string): void {
    this.#views.set(version, { collection, live: null, next: null, shown: new Map(), transactions: new Set() });
  }

  get rowCount(): number {
    return this.#rows.length;
  }

  /** What the log says that the version's table holds now; null before its first copy was complete. */
  table(version: number): LogTable | null {
    return this.#views.get(version)?.live ?? null;
  }

  /** The same at an earlier position. */
  tableAt(version: number, position: number): LogTable | null {
    const view = { live: null, next: null } as { live: Map<string, string> | null; next: Map<string, string> | null };
    for (const row of this.#rows.slice(0, position)) if (row.version === version) applyRow(view, row);
    return view.live;
  }

  #sealed(batch: StoredBatch, checkpoint: StreamCheckpoint | null): void {
    const { firstPosition, rows, epoch, source } = batch;
    const holding = this.#oplog.epochOf(source);
    if (epoch !== holding) violate(`epoch ${epoch} appends while epoch ${holding} has the lease`);
    if (rows.length > 0) {
      if (firstPosition !== this.#rows.length + 1) violate(`position ${firstPosition} follows ${this.#rows.length}`);
      if (this.#seenRows.has(rows)) violate(`the rows at ${firstPosition} are in the log for the second time`);
      this.#seenRows.add(rows);
      this.#requireWholeTransactions(rows, firstPosition);
      for (const row of rows) {
        this.#rows.push(row);
        this.#requireForward(row);
        const view = this.#views.get(row.version);
        if (view !== undefined) applyRow(view, row);
      }
    }
    const token = checkpoint?.resumeToken ?? null;
    if (token !== null) this.#requireReached(token);
  }

  #requireForward(row: LogRow): void {
    if (row.operation === "sync_start" || row.operation === "sync_end") return;
    const view = this.#views.get(row.version);
    if (view === undefined) violate(`row ${this.#rows.length} is of an unknown version ${row.version}`);
    const document = this.#documentOf(view.collection, row.docId);
    const from = view.shown.get(row.docId) ?? 0;
    const states = document?.states ?? [];
    const index = states.findIndex((state, at) => at >= from && isState(state, row));
    const what = `row ${this.#rows.length} (${row.origin} ${row.operation} of ${view.collection}/${row.docId}, version ${row.version}, ${row.data})`;
    if (index < 0) {
      const history = states.map(
        ({ time, bytes }, at) => `${at === from ? ">" : ""}${time % 100_000n}:${revisionOf(bytes)}`,
      );
      violate(`${what} shows no state at or after the one shown before: ${history.join(" ")}`);
    }
    view.shown.set(row.docId, index);
  }

  /** Rows of one source transaction are in one batch, once, and the last of each version says that it is. */
  #requireWholeTransactions(rows: readonly LogRow[], firstPosition: number): void {
    const last = new Map<string, LogRow>();
    for (const row of rows) {
      if (row.transaction === null) continue;
      const key = `${row.version} ${row.transaction}`;
      if (last.get(key)?.transactionEnd === true)
        violate(`a transaction goes on after its end (batch at ${firstPosition})`);
      last.set(key, row);
    }
    for (const [key, row] of last) {
      if (!row.transactionEnd) violate(`a transaction does not end in its batch (at ${firstPosition})`);
      const { transactions } = this.#viewOf(row.version);
      if (transactions.has(key)) violate(`a transaction is in the log for the second time (at ${firstPosition})`);
      transactions.add(key);
    }
  }

  /** Everything before the checkpoint is in the tables that are whole and not being copied. */
  #requireReached(token: Uint8Array): void {
    const { entries } = this.#model;
    const place = placeOf(String(BSON.deserialize(token)["_data"]));
    if (isWithinTransaction(entries, place)) violate(`the checkpoint ${place} lies inside a source transaction`);
    const time = entries[place - 1]?.time ?? 0n;
    for (const [version, view] of this.#views) {
      if (view.live === null || view.next !== null || this.#oplog.versions.get(version)?.state === "retired") continue;
      for (const document of this.#model.collections.get(view.collection)?.values() ?? []) {
        const data = view.live.get(String(document.id)) ?? null;
        const from = document.states.findLastIndex((state) => state.time <= time);
        if (document.states.some((state, at) => at >= from && hasData(state, data))) continue;
        violate(
          `the checkpoint ${place} is ahead of the log: version ${version} shows ${view.collection}/${String(document.id)} as ${data}, ` +
            `the source had ${revisionOf(document.states[from]?.bytes ?? null)} there (after row ${this.#rows.length})`,
        );
      }
    }
  }

  #viewOf(version: number): VersionView {
    const view = this.#views.get(version);
    return view ?? violate(`there is no version ${version}`);
  }

  #documentOf(collection: string, docId: string): ModelDocument | undefined {
    const documents = this.#model.collections.get(collection);
    return documents?.get(nameOf(docId)) ?? documents?.get(nameOf(Number(docId)));
  }
}

function applyRow(view: { live: Map<string, string> | null; next: Map<string, string> | null }, row: LogRow): void {
  switch (row.operation) {
    case "sync_start":
      view.next = new Map();
      return;
    case "sync_end":
      if (view.next !== null) view.live = view.next;
      view.next = null;
      return;
    case "upsert":
    case "delete":
      for (const table of row.origin === "copy" ? [view.next] : [view.live, view.next]) {
        if (row.data === null) table?.delete(row.docId);
        else table?.set(row.docId, row.data);
      }
  }
}

function isState(state: DocumentState, row: LogRow): boolean {
  return hasData(state, row.operation === "delete" ? null : row.data);
}

function hasData({ bytes }: DocumentState, data: string | null): boolean {
  return data === null ? bytes === null : revisionOf(bytes) === (JSON.parse(data) as number[])[0];
}

/** The write that made a state; null for absence. */
export function revisionOf(bytes: Buffer | null): number | null {
  return bytes === null ? null : Number(BSON.deserialize(bytes)["rev"]);
}

export function violate(what: string): never {
  throw new SimulationViolation(what);
}
