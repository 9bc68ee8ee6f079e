import type { CacheRow } from "./cache-row.ts";

/**
 * Follows which source transaction is open, row by row.
 *
 * It ends with the row that says so, or at a stream row of another transaction or of none: the capturing process was
 * restarted and the rest came differently. Rows of a copy may lie between a transaction's rows and end nothing.
 */
export class OpenTransaction {
  #name: string | null = null;

  get isOpen(): boolean {
    return this.#name !== null;
  }

  /** Takes the next row; whether a transaction begins with it. */
  next(row: CacheRow): boolean {
    if (row.origin !== "stream" || row.operation === "sync_start" || row.operation === "sync_end") return false;
    const isBegin = row.transaction !== null && row.transaction !== this.#name;
    this.#name = row.transactionEnd ? null : row.transaction;
    return isBegin;
  }

  reset(): void {
    this.#name = null;
  }
}

/** Index of the first row of the transaction that is still open after the last one; 0 if it began earlier; -1 if none is. */
export function openTransactionStart(rows: readonly CacheRow[], open: OpenTransaction): number {
  let start = open.isOpen ? 0 : -1;
  for (const [index, row] of rows.entries()) {
    if (open.next(row)) start = index;
    if (!open.isOpen) start = -1;
  }
  return start;
}
