import { EmcacheError } from "@emcache/protocol";
import type { CommittedBatch } from "../../packages/server/src/oplog/committed-batch.ts";
import type { LogNetwork } from "../../packages/server/src/oplog/testing/log-network.ts";
import { MemoryCaptureLog } from "../../packages/server/src/oplog/testing/memory-capture-log.ts";
import type { CaptureTurn } from "../../packages/server/src/source/source-service.ts";
import type { Party, Scheduler } from "./scheduler.ts";
import type { SimRegistry } from "./sim-registry.ts";

/** How long until a holder that was replaced hears of it by its own renewals at the latest. */
const LOST_MS_MAX = 3_000;

interface Holder {
  readonly party: Party;
  readonly epoch: number;
  readonly lost: AbortController;
}

interface Waiting {
  readonly party: Party;
  readonly grant: (holder: Holder) => void;
}

export interface LeaseUse {
  readonly network: LogNetwork;
  readonly signal: AbortSignal;
  readonly onCommit: (head: number, batch: CommittedBatch | null) => void;
}

/** The source's lease: given to whoever waits once its holder is dead or gives it back, or when it seems so. */
export class SimLease {
  readonly #scheduler: Scheduler;
  readonly #registry: SimRegistry;
  #holder: Holder | null = null;
  #waiting: Waiting[] = [];

  constructor(scheduler: Scheduler, registry: SimRegistry) {
    this.#scheduler = scheduler;
    this.#registry = registry;
  }

  /** Waits until the process may capture. */
  async take(party: Party, { network, signal, onCommit }: LeaseUse): Promise<CaptureTurn> {
    const holder = await this.#wait(party, signal);
    const { oplog } = this.#registry;
    const { epoch, lost } = holder;
    return {
      log: new MemoryCaptureLog({
        oplog,
        network,
        sourceName: "main",
        epoch,
        onCommit,
        onRegistryChange: () => this.#registry.changed(),
        onLeaseLost: () => lose(holder),
      }),
      lost: lost.signal,
      release: async () => {
        if (party.isDead || this.#holder !== holder) return;
        this.#holder = null;
        oplog.releaseLease("main", epoch);
        this.#offer();
      },
    };
  }

  /** The holder is dead: to be called after each death. */
  holderDied(): void {
    if (this.#holder?.party.isDead !== true) return;
    this.#holder = null;
    this.#offer();
  }

  /** Somebody else takes the lease over, as from a holder that gave no sign of life. */
  takeOver(): void {
    const other = this.#waiting.find(({ party }) => party !== this.#holder?.party && !party.isDead && !party.isFrozen);
    if (other === undefined || this.#holder === null) return;
    const before = this.#holder;
    const inMs = this.#scheduler.random.integer(0, LOST_MS_MAX);
    this.#scheduler.add("hears that its lease is lost", before.party, () => lose(before), inMs);
    this.#give(other);
  }

  async #wait(party: Party, signal: AbortSignal): Promise<Holder> {
    signal.throwIfAborted();
    const { promise, resolve, reject } = Promise.withResolvers<Holder>();
    const waiting: Waiting = { party, grant: resolve };
    this.#waiting.push(waiting);
    signal.addEventListener("abort", () => reject(signal.reason as Error), { once: true });
    this.#offer();
    try {
      const holder = await promise;
      await this.#scheduler.turn("has the lease", party, { signal });
      return holder;
    } finally {
      this.#waiting = this.#waiting.filter((other) => other !== waiting);
    }
  }

  /** A free lease is given away when the scheduler says so. */
  #offer(): void {
    if (this.#holder !== null) return;
    const waiting = this.#waiting.filter(({ party }) => !party.isDead && !party.isFrozen);
    if (waiting.length === 0) return;
    this.#give(this.#scheduler.random.pick(waiting));
  }

  #give(taker: Waiting): void {
    this.#waiting = this.#waiting.filter((other) => other !== taker);
    this.#holder = { party: taker.party, epoch: this.#registry.oplog.takeLease("main"), lost: new AbortController() };
    taker.grant(this.#holder);
  }
}

function lose({ lost }: Holder): void {
  lost.abort(new EmcacheError("lease_lost", "another process captures the source"));
}
