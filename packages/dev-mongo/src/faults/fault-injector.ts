import { CommandError } from "../command-error.ts";

/** Commands that are to go wrong. */
export interface CommandFault {
  /** Names of commands (`find`, `getMore`, …); all where it is left out. */
  readonly commands?: readonly string[];
  /** How many of them; `Infinity` for all from now on. Default 1. */
  readonly times?: number;
  /** Only commands on this collection (`ns.coll`). */
  readonly collection?: string;
  /** The error that they answer with. */
  readonly code?: number;
  readonly message?: string;
  readonly labels?: readonly string[];
  /** Whether the command is carried out before it fails or its connection closes. Default false. */
  readonly isExecuted?: boolean;
  /** Close the connection instead of answering. */
  readonly closesConnection?: boolean;
  /** Answer, but only after this time. */
  readonly delayMs?: number;
  /** Answer with this write concern error beside the result. */
  readonly writeConcernError?: { readonly code: number; readonly message: string };
}

/** From which state of the collection a scan is served. */
export type ScanMode =
  /** Each reply from the collection as it is then, which MongoDB's own storage does between yields. */
  | { readonly kind: "live" }
  /** All replies from the collection as it was when the cursor was opened. */
  | { readonly kind: "snapshot" }
  /** Documents are read this many ahead of what a reply holds: old states with a new `operationTime`. */
  | { readonly kind: "readAhead"; readonly documents: number };

/** What a stream's resuming between fragments of a large event goes wrong by. */
export type FragmentFault =
  /** The fragments before the token come again. */
  | { readonly kind: "repeat" }
  /** So many fragments after the token don't come. */
  | { readonly kind: "drop"; readonly count: number };

/** What the injector does to the server. */
export interface FaultTarget {
  closeConnections(): void;
  stepDown(durationMs: number): void;
  loseHistory(): void;
  rollBack(writes: number): number;
  /** Streams see nothing after this moment until it is undone. */
  holdStreams(isHeld: boolean): void;
}

/** A command as faults see it. */
export interface FaultCommand {
  readonly name: string;
  readonly collection: string | null;
}

interface ActiveFault extends CommandFault {
  remaining: number;
}

/** Commands that faults without names spare, so that a server under test can still be greeted and controlled. */
const SPARED: ReadonlySet<string> = new Set(["hello", "ismaster", "isMaster", "emcacheFault", "configureFailPoint"]);

/**
 * Makes the server go wrong in the ways of real ones, for tests. Each is off until it is asked for; `reset` undoes all
 * that is not an event of the past.
 */
export class FaultInjector {
  readonly #target: FaultTarget;
  #faults: ActiveFault[] = [];
  #frozen: PromiseWithResolvers<void> | null = null;
  /** How scans that are opened from now on are served. */
  scanMode: ScanMode = { kind: "live" };
  /** What resuming between fragments goes wrong by; null for nothing. */
  fragments: FragmentFault | null = null;

  constructor(target: FaultTarget) {
    this.#target = target;
  }

  /** Fails, delays or cuts off the next commands that fit. Returns what undoes it. */
  failCommands(fault: CommandFault): () => void {
    const active: ActiveFault = { ...fault, remaining: fault.times ?? 1 };
    this.#faults.push(active);
    return () => {
      this.#faults = this.#faults.filter((other) => other !== active);
    };
  }

  /** Closes every connection now, answered or not. */
  closeConnections(): void {
    this.#target.closeConnections();
  }

  /** Connections stay open, but nothing is answered until `thaw`. */
  freeze(): void {
    this.#frozen ??= Promise.withResolvers<void>();
  }

  thaw(): void {
    this.#frozen?.resolve();
    this.#frozen = null;
  }

  /**
   * No primary for this time, then a primary again: writes and open cursors fail as MongoDB's do (manual, "Replica Set
   * Elections"; 10107, 11602), connections stay open.
   */
  stepDown(durationMs = 1_000): void {
    this.#target.stepDown(durationMs);
  }

  /** The oplog forgets everything up to now: resuming answers 286 (ChangeStreamHistoryLost). */
  loseHistory(): void {
    this.#target.loseHistory();
  }

  /**
   * Takes the last writes back, as a failed-over primary does with those that no majority had, and closes all
   * connections. Use `holdStreams` before those writes: no stream shows what a majority does not have.
   *
   * @returns how many changes of documents were undone
   */
  rollBack(writes: number): number {
    return this.#target.rollBack(writes);
  }

  /**
   * The majority commit point stands still: streams show nothing newer, while reads and look-ups see the present, so
   * what a look-up returns is from the stream's future.
   */
  holdStreams(): void {
    this.#target.holdStreams(true);
  }

  releaseStreams(): void {
    this.#target.holdStreams(false);
  }

  /** Ends everything that goes on. */
  reset(): void {
    this.#faults = [];
    this.thaw();
    this.releaseStreams();
    this.scanMode = { kind: "live" };
    this.fragments = null;
  }

  /** Resolves when nothing is frozen. */
  async untilThawed(): Promise<void> {
    while (this.#frozen !== null) await this.#frozen.promise;
  }

  /** The fault for this command, which counts as having happened; null for none. */
  take(command: FaultCommand): CommandFault | null {
    const fault = this.#faults.find((candidate) => fits(candidate, command));
    if (fault === undefined) return null;
    fault.remaining--;
    if (fault.remaining <= 0) this.#faults = this.#faults.filter((other) => other !== fault);
    return fault;
  }
}

function fits(fault: CommandFault, { name, collection }: FaultCommand): boolean {
  if (fault.collection !== undefined && fault.collection !== collection) return false;
  return fault.commands === undefined ? !SPARED.has(name) : fault.commands.includes(name);
}

/** The error that a fault answers with; null where it has none. */
export function errorOf(fault: CommandFault): CommandError | null {
  if (fault.code === undefined) return null;
  return new CommandError(fault.code, fault.message ?? `a fault was injected (${fault.code})`, {
    labels: fault.labels ?? [],
  });
}
