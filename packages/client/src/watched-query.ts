import type { Row } from "./follow-report.ts";
import type { QueryParameter, RowReaders } from "./row-readers.ts";

/** What is done with a query's rows: the first ones, and then each time that they are others. */
export type RowsListener<R extends object = Row> = (rows: readonly R[]) => void;

/** A query that is evaluated again when a table that it reads changed. */
export class WatchedQuery {
  readonly #readers: RowReaders;
  readonly #sql: string;
  readonly #parameters: readonly QueryParameter[];
  readonly #listener: RowsListener;
  #entities: ReadonlySet<string>;
  #last: string | null = null;

  /** Throws SQLite's error where the query is wrong. */
  constructor(readers: RowReaders, sql: string, parameters: readonly QueryParameter[], listener: RowsListener) {
    this.#readers = readers;
    this.#sql = sql;
    this.#parameters = parameters;
    this.#listener = listener;
    this.#entities = readers.entitiesOf(sql, parameters);
  }

  reads(entities: ReadonlySet<string>): boolean {
    return [...this.#entities].some((entity) => entities.has(entity));
  }

  /** Evaluates it and tells the rows if they are others than those last told. Throws what the listener throws. */
  evaluate(): void {
    const rows = this.#readers.query(this.#sql, this.#parameters);
    // A changed shape may have changed the plan.
    this.#entities = this.#readers.entitiesOf(this.#sql, this.#parameters);
    const text = JSON.stringify(rows, (_key, value: unknown) => (typeof value === "bigint" ? `${value}n` : value));
    if (text === this.#last) return;
    this.#last = text;
    this.#listener(rows);
  }
}
