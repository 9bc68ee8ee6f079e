import type { ServerName } from "./servers.ts";

/** A behaviour that a server does not show. */
export interface Difference {
  /** The test's name. */
  readonly behaviour: string;
  readonly server: ServerName;
  /** What it does instead. */
  readonly instead: string;
}

/**
 * Where the servers differ. The tests say what MongoDB's manual says (each names its section), so a server listed here
 * is the one that does not follow it. A listed behaviour must fail: when it passes, the line has to go.
 */
export const DIFFERENCES: readonly Difference[] = [
  {
    behaviour: "documents come back byte for byte",
    server: "SecantusDB",
    instead: "refuses documents with dates after the year 9999",
  },
  {
    behaviour: "values of deprecated types come back as they were",
    server: "SecantusDB",
    instead: "stores undefined as null, a DBPointer as a document and a symbol as a string",
  },
  {
    behaviour: "a double's tenth is not a decimal's",
    server: "SecantusDB",
    instead: "holds the double 0.1 and the decimal 0.1 equal, so that one of two such ids is refused",
  },
  {
    behaviour: "min() on _id goes on over all types",
    server: "SecantusDB",
    instead: "goes through ids that are documents in an order of its own, fewer fields first",
  },
  {
    behaviour: "tokens sort as strings",
    server: "SecantusDB",
    instead: "has tokens of another form than MongoDB's, without a readable time",
  },
  {
    behaviour: "images are the document right before and right after",
    server: "SecantusDB",
    instead: "keeps no post-images",
  },
  {
    behaviour: "the database's stream goes on after a drop and a rename, and tells the new name",
    server: "SecantusDB",
    instead: "sends a drop of the target before a rename onto it",
  },
  {
    behaviour: "a large event comes in fragments where that is asked for, else fails",
    server: "SecantusDB",
    instead: "does not go on with the next fragment when it is resumed inside a large event",
  },
  {
    behaviour: "a change stream can't be read in another session than its own",
    server: "SecantusDB",
    instead: "lets any session read a cursor",
  },
  {
    behaviour: "an older number of a session is refused",
    server: "SecantusDB",
    instead: "carries out a write with an older number",
  },
  {
    behaviour: "a tailable cursor waits at the end of a capped collection, whose oldest documents give way",
    server: "SecantusDB",
    instead: "keeps more documents in a capped collection than its `max`",
  },
];
