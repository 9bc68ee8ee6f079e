import { ObjectId } from "bson";
import { CommandError } from "./command-error.ts";
import { CursorRegistry } from "./cursors/cursor-registry.ts";
import { FaultInjector, type FaultTarget } from "./faults/fault-injector.ts";
import type { DevMongoLogger } from "./logger.ts";
import type { ClusterTime } from "./oplog/cluster-clock.ts";
import type { OplogLimits } from "./oplog/oplog.ts";
import type { Reply } from "./commands/command.ts";
import { Session } from "./sessions/session.ts";
import { Store } from "./store/store.ts";

/** What the server poses as. */
export type Topology = "replicaSet" | "sharded" | "standalone";

/** Sessions that are remembered; the longest unused ones go first. Drivers make one for each concurrent operation. */
const SESSIONS_MAX = 10_000;

/** MongoDB's `cursorTimeoutMillis`. */
const CURSOR_IDLE_MS = 600_000;

/** MongoDB's `transactionLifetimeLimitSeconds`. */
const TRANSACTION_MS_MAX = 60_000;

/** What all connections share. */
export class ServerState implements FaultTarget {
  readonly store: Store;
  readonly cursors = new CursorRegistry();
  readonly faults: FaultInjector;
  readonly topology: Topology;
  readonly logger: DevMongoLogger;
  readonly processId = new ObjectId();
  /** An event larger than this is split, or an error. */
  readonly eventBytesMax: number;
  /** The newest wire version that it says it speaks, and whose features it has. */
  readonly wireVersion: number;
  /** `host:port` of each listener. */
  hosts: readonly string[] = [];
  /** Changes with each change of the topology, so that waiting `hello`s are answered. */
  topologyCounter = 0n;
  electionTerm = 1;
  /** Documents that cursors returned, and events that change streams and tailable cursors did, since the start. */
  readonly returned = { documents: 0, events: 0 };
  isPrimary = true;
  readonly #sessions = new Map<string, Session<Reply>>();
  readonly #topologyWaiters = new Set<() => void>();
  readonly #closers = new Set<() => void>();
  #held: { readonly sequence: number; readonly time: ClusterTime } | null = null;
  #stepUpTimer: NodeJS.Timeout | null = null;

  constructor(options: {
    readonly limits: OplogLimits;
    readonly topology: Topology;
    readonly eventBytesMax: number;
    readonly wireVersion: number;
    readonly logger: DevMongoLogger;
  }) {
    this.store = new Store(options.limits);
    this.topology = options.topology;
    this.eventBytesMax = options.eventBytesMax;
    this.wireVersion = options.wireVersion;
    this.logger = options.logger;
    this.faults = new FaultInjector(this);
  }

  /** Sequence number up to which streams may see. */
  visibleEnd(): number {
    return Math.min(this.#held?.sequence ?? Infinity, this.store.oplog.end);
  }

  visibleTime(): ClusterTime {
    return this.#held?.time ?? this.store.clock.last;
  }

  /** Time of the majority's snapshot while it is held; null while everything is majority-committed. */
  get heldTime(): ClusterTime | null {
    return this.#held?.time ?? null;
  }

  /** The session of this key, made at its first use. */
  session(key: string, lsid: Buffer): Session<Reply> {
    const present = this.#sessions.get(key);
    if (present !== undefined) {
      // The last used is the last in the map.
      this.#sessions.delete(key);
      this.#sessions.set(key, present);
      return present;
    }
    const session = new Session<Reply>(this.store, lsid);
    this.#sessions.set(key, session);
    const [oldest] = this.#sessions.keys();
    if (this.#sessions.size > SESSIONS_MAX && oldest !== undefined) this.endSession(oldest);
    return session;
  }

  /** Ends what clients have left behind. */
  sweep(): void {
    this.cursors.removeIdle(CURSOR_IDLE_MS);
    const before = performance.now() - TRANSACTION_MS_MAX;
    for (const { transaction } of this.#sessions.values()) {
      if (transaction?.state === "open" && transaction.startedAtMs < before) transaction.abort();
    }
  }

  endSession(key: string): void {
    this.#sessions.get(key)?.end();
    this.#sessions.delete(key);
    this.cursors.removeOfSession(key);
  }

  /** Calls `close` when all connections are to be closed. */
  onCloseConnections(close: () => void): () => void {
    this.#closers.add(close);
    return () => this.#closers.delete(close);
  }

  closeConnections(): void {
    for (const close of this.#closers) close();
  }

  /** Resolves at the next change of the topology. */
  onTopologyChange(listener: () => void): () => void {
    this.#topologyWaiters.add(listener);
    return () => this.#topologyWaiters.delete(listener);
  }

  stepDown(durationMs: number): void {
    this.isPrimary = false;
    this.logger.info({ event: "stepped_down", durationMs }, "no longer primary");
    this.#interruptAll();
    this.#topologyChanged();
    if (this.#stepUpTimer !== null) clearTimeout(this.#stepUpTimer);
    this.#stepUpTimer = setTimeout(() => this.stepUp(), durationMs);
  }

  /** Primary again, in a new term. */
  stepUp(): void {
    if (this.#stepUpTimer !== null) clearTimeout(this.#stepUpTimer);
    this.#stepUpTimer = null;
    this.isPrimary = true;
    this.electionTerm++;
    this.store.clock.tick();
    this.#topologyChanged();
  }

  loseHistory(): void {
    this.store.oplog.loseHistory();
  }

  rollBack(writes: number): number {
    const undone = this.store.rollBack(writes);
    this.electionTerm++;
    this.store.clock.tick();
    this.holdStreams(false);
    this.#interruptAll();
    this.#topologyChanged();
    this.closeConnections();
    return undone.length;
  }

  holdStreams(isHeld: boolean): void {
    if (isHeld === (this.#held !== null)) return;
    if (isHeld) {
      this.#held = { sequence: this.store.oplog.end, time: this.store.openSnapshot() };
      return;
    }
    if (this.#held !== null) this.store.closeSnapshot(this.#held.time);
    this.#held = null;
    this.store.oplog.wake();
  }

  stop(): void {
    if (this.#stepUpTimer !== null) clearTimeout(this.#stepUpTimer);
    this.faults.reset();
    this.cursors.removeAll(new CommandError(11600, "interrupted at shutdown"));
    this.#topologyChanged();
  }

  /** Cursors and transactions do not outlive the primary. */
  #interruptAll(): void {
    this.cursors.removeAll(new CommandError(11602, "operation was interrupted because the node stepped down"));
    for (const session of this.#sessions.values()) session.transaction?.abort();
  }

  #topologyChanged(): void {
    this.topologyCounter++;
    for (const listener of this.#topologyWaiters) listener();
  }
}
