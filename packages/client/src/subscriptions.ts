import type { Row, RowChange, RowValue } from "./follow-report.ts";

/** Which rows are meant: those whose columns have these values, or those for which the function is true. */
export type Where<R extends object = Row> = Readonly<Partial<R>> | ((row: R) => boolean);

/** What a subscription does with changes; a promise is waited for before the next is told. */
export type ChangeListener<R extends object = Row> = (change: RowChange<R>) => void | Promise<void>;

/** A subscription that is in force. */
export interface Subscription {
  /** Changes after this position are told. */
  readonly position: number;
  close(): void;
}

interface Entry {
  readonly where: Where | null;
  readonly listener: ChangeListener;
}

/** The subscriptions of one entity or of several. */
export class Subscriptions {
  readonly #entries = new Map<string, Set<Entry>>();
  readonly #onError: (error: unknown) => void;

  /** @param onError told what a listener throws */
  constructor(onError: (error: unknown) => void) {
    this.#onError = onError;
  }

  /** Whether anybody is subscribed to an entity. */
  has(entity: string): boolean {
    return (this.#entries.get(entity)?.size ?? 0) > 0;
  }

  /** Returns the function that ends it. */
  add(entity: string, where: Where | null, listener: ChangeListener): () => void {
    const entries = this.#entries.get(entity) ?? new Set();
    this.#entries.set(entity, entries);
    const entry = { where, listener };
    entries.add(entry);
    return () => entries.delete(entry);
  }

  async tell(entity: string, changes: readonly RowChange[]): Promise<void> {
    for (const entry of Array.from(this.#entries.get(entity) ?? [])) {
      for (const change of changes) {
        const seen = changeWithin(change, entry.where);
        if (seen === null || this.#entries.get(entity)?.has(entry) !== true) continue;
        try {
          await entry.listener(seen);
        } catch (error) {
          this.#onError(error);
        }
      }
    }
  }
}

/** A change as the rows that are meant see it: one that leaves them is gone, one that joins them is new. */
function changeWithin(change: RowChange, where: Where | null): RowChange | null {
  if (where === null) return change;
  const before = change.before !== null && isMeant(change.before, where) ? change.before : null;
  const after = change.after !== null && isMeant(change.after, where) ? change.after : null;
  return before === null && after === null ? null : { ...change, before, after };
}

function isMeant(row: Row, where: Where): boolean {
  if (typeof where === "function") return where(row);
  return Object.entries(where).every(([column, value]) => row[column] === (value as RowValue));
}
