import type { Origin } from "@emcache/protocol";
import type { RowMapper } from "../entity/row-mapper.ts";
import type { LogRow, Reject } from "./log-row.ts";

/** What a row's bytes cost beside its texts, about. */
const ROW_OVERHEAD_BYTES = 96;

/** Gathers the rows and rejects of one append unit. */
export class RowBuilder {
  readonly rows: LogRow[] = [];
  readonly rejects: Reject[] = [];
  sizeBytes = 0;
  readonly #origin: Origin;
  readonly #transaction: string | null;

  constructor(origin: Origin, transaction: string | null = null) {
    this.#origin = origin;
    this.#transaction = transaction;
  }

  /** The document's state becomes a row; one whose key can't be mapped becomes a reject alone. */
  upsert(mapper: RowMapper, document: Buffer): void {
    const row = mapper.map(document);
    if (row.rejects.length > 0) this.rejects.push(...row.rejects);
    if (row.docId !== null) this.#add(mapper.version, "upsert", row.docId, row.idType, row.data);
  }

  /** The document is gone. */
  delete(mapper: RowMapper, documentKey: Buffer): void {
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
