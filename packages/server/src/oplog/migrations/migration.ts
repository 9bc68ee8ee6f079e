/** One forward-only step of the schema. A step that was released is never edited: a change is a further step. */
export interface Migration {
  /** 1 for the first step, then without gaps. */
  readonly version: number;
  /** What it does, in a few words; stored for the operator. */
  readonly name: string;
  /**
   * Whether programs that don't know the step can go on beside it: it adds, and takes nothing away or changes what they
   * use. Steps that aren't wait until no process of an older version runs.
   */
  readonly isAdditive: boolean;
  /** Statements that may run inside one transaction, for PostgreSQL 13 and newer. */
  readonly sql: string;
}
