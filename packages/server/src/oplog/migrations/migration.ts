/** One forward-only step of the schema. A step that was released is never edited: a change is a further step. */
export interface Migration {
  /** 1 for the first step, then without gaps. */
  readonly version: number;
  /** What it does, in a few words; stored for the operator. */
  readonly name: string;
  /** Statements that may run inside one transaction, for PostgreSQL 13 and newer. */
  readonly sql: string;
}
