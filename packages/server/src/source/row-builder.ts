import type { Origin } from "@emcache/protocol";
import { documentSample } from "../entity/reject-sample.ts";
import { messageOf } from "../runtime/error-message.ts";
import type { Target } from "./entity-routing.ts";
import type { LogRow, Reject } from "./log-row.ts";

/** What a row's bytes cost beside its texts, about. */
const ROW_OVERHEAD_BYTES = 96;

/** Gathers the rows and rejects of one append unit. */
export class RowBuilder {
  readonly rows: LogRow[] = [];
  readonly rejects: Reject[] = [];
  /** Versions that their policy stops: they have no row from the reject on. */
  readonly stops = new Set<number>();
  sizeBytes = 0;
  readonly #origin: Origin;
  readonly #transaction: string | null;

  constructor(origin: Origin, transaction: string | null = null) {
    this.#origin = origin;
    this.#transaction = transaction;
  }

  /**
   * The document's state becomes a row; one whose key can't be mapped becomes a reject alone. `isNew`: the log shows no
   * such document, so one that has no place in the entity needs no delete.
   */
  upsert(target: Target, document: Buffer, { isNew }: { readonly isNew: boolean }): void {
    const { mapper, version, onReject } = target;
    if (this.stops.has(version)) return;
    const unfit = filtered(target, document);
    if (unfit === "other") return isNew ? undefined : this.delete(target, document);
    const row = unfit === null ? mapper.map(document) : { docId: null, rejects: [unfit] };
    if (row.rejects.length > 0) {
      const note = REJECT_NOTES[onReject];
      for (const reject of row.rejects) this.rejects.push(note === "" ? reject : withNote(reject, note));
      if (onReject === "stop") return this.#stop(version);
      if (onReject === "skip_document" || unfit !== null) return isNew ? undefined : this.delete(target, document);
    }
    if (row.docId !== null) this.#add(version, "upsert", row.docId, row.idType, row.data);
  }

  /** The document is gone. */
  delete({ mapper, version }: Target, documentKey: Buffer): void {
    if (this.stops.has(version)) return;
    const key = mapper.mapKey(documentKey);
    // What could not be mapped was never in the table: its reject was reported when it came.
    if (key.docId !== null) this.#add(mapper.version, "delete", key.docId, key.idType, null);
  }

  /** The last row of each entity is marked as the end of its part of the source transaction. */
  endTransaction(): void {
    const ended = new Set<number>();
    for (let index = this.rows.length - 1; index >= 0; index--) {
      const row = this.rows[index];
      if (row === undefined || ended.has(row.version)) continue;
      ended.add(row.version);
      this.rows[index] = { ...row, transactionEnd: true };
    }
  }

  /** Nobody is to see half of a source transaction: what it had of the version before the reject goes too. */
  #stop(version: number): void {
    this.stops.add(version);
    if (this.#transaction === null) return;
    const kept = this.rows.filter((row) => row.version !== version);
    this.rows.splice(0, this.rows.length, ...kept);
  }

  #add(version: number, operation: "upsert" | "delete", docId: string, idType: number, data: string | null): void {
    const transaction = this.#transaction;
    this.rows.push({
      version,
      operation,
      docId,
      idType,
      origin: this.#origin,
      transaction,
      transactionEnd: false,
      data,
    });
    this.sizeBytes += ROW_OVERHEAD_BYTES + docId.length + (data?.length ?? 0);
  }
}

/** What a policy did, for whoever reads the reject. */
const REJECT_NOTES = {
  null: "",
  skip_document: "; the document is not cached (on_reject = skip_document)",
  stop: "; the entity stopped here (on_reject = stop)",
} as const satisfies Record<Target["onReject"], string>;

function withNote(reject: Reject, note: string): Reject {
  return { ...reject, reason: reject.reason + note };
}

/** Null for a document that the filter lets through; `other` for one that it doesn't; a reject where it can't tell. */
function filtered({ filter, mapper, version }: Target, document: Buffer): "other" | Reject | null {
  if (filter === null) return null;
  try {
    return filter.matches(document) ? null : "other";
  } catch (error) {
    const key = mapper.mapKey(document);
    const reason = `the filter can't read the document: ${messageOf(error)}`;
    return { version, docId: key.docId ?? "", column: null, reason, sample: documentSample(document) };
  }
}

/** The bracket of a copy, which has no document. */
export function syncRow(version: number, operation: "sync_start" | "sync_end"): LogRow {
  return {
    version,
    operation,
    docId: "",
    idType: 0,
    origin: "copy",
    transaction: null,
    transactionEnd: false,
    data: null,
  };
}
