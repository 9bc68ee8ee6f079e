/** One row of the table of faults as it is meant to be. */
export interface Fault {
  readonly number: number;
  readonly title: string;
  /** How often it is injected in the full run, in all of its sources together. */
  readonly fullCount: number;
  /** What is counted. */
  readonly unit: string;
}

function fault(number: number, title: string, fullCount: number, unit: string): Fault {
  return { number, title, fullCount, unit };
}

/** Every fault that EMCache is shown to survive. Its test is in test/faults, and its name begins with `fault N: `. */
export const FAULTS: readonly Fault[] = [
  fault(1, "SIGKILL of the capture (and of PostgreSQL, of the source, of all at once) under load", 50, "kills"),
  fault(2, "SIGKILL in mid-apply of a cache", 50, "kills"),
  fault(3, "SIGKILL during a copy at 10, 50 and 90 %", 3, "kills"),
  fault(4, "a document deleted between being read by a copy and being written", 2_000, "deletes"),
  fault(5, "1,000 updates of one document during its copy", 2_000, "updates"),
  fault(6, "step-down of the primary under load", 20, "step-downs"),
  fault(7, "rollback of writes that no majority had", 20, "rollbacks"),
  fault(8, "a small oplog outrun while EMCache was stopped", 2, "times"),
  fault(9, "a corrupt, cut or foreign resume token", 8, "tokens"),
  fault(10, "an idle entity beside 1 million writes elsewhere", 1_000_000, "writes"),
  fault(
    11,
    "a 16 MB update with images, SIGKILL between its fragments; servers that split no events",
    20,
    "large updates",
  ),
  fault(12, "every BSON type as `_id`", 8, "passes over all types"),
  fault(13, "every BSON value, in every column type", 4, "passes over all values"),
  fault(14, "drop, dropDatabase, rename, rename with dropTarget, re-create", 14, "changes"),
  fault(15, "10,000 operations in one transaction over 3 entities, its readers polling", 7, "transactions"),
  fault(16, "SIGKILL of PostgreSQL in mid-commit", 20, "kills"),
  fault(17, "PostgreSQL out of disk", 1, "times"),
  fault(18, "the cache's disk full, and read-only", 2, "times"),
  fault(19, "damaged cache files", 5, "damages"),
  fault(20, "retention races a slow reader", 1, "races"),
  fault(21, "a consumer stopped with a backlog of 1 million", 1_000_000, "entries"),
  fault(22, "a process's clock and PostgreSQL's set by 1 h, forward and back", 4, "clocks"),
  fault(23, "the writer frozen past its lease, another promoted, then thawed", 4, "freezes"),
  fault(24, "a mapping changed under load", 10, "changes"),
  fault(25, "PostgreSQL set back to an older state", 1, "times"),
  fault(26, "a document updated, replaced and updated in one burst, looked up", 2_000, "bursts"),
  fault(27, "an id of two BSON types (1 and `1` as text) in one collection", 4, "pairs"),
];
