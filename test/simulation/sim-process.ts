import type { CacheStatus } from "../../packages/server/src/cache/cache-status.ts";
import { HandedPages } from "../../packages/server/src/cache/handed-pages.ts";
import { ReplicateLoop } from "../../packages/server/src/cache/replicate-loop.ts";
import type { ReplicateLog, ReplicateReport } from "../../packages/server/src/cache/replicate-port.ts";
import { WakeWord } from "../../packages/server/src/cache/wake-word.ts";
import { type CommittedBatch, pageOfBatch } from "../../packages/server/src/oplog/committed-batch.ts";
import { ByteBudget } from "../../packages/server/src/runtime/byte-budget.ts";
import { ComponentHealth } from "../../packages/server/src/runtime/component-health.ts";
import type { Logger } from "../../packages/server/src/runtime/logger.ts";
import { SourceService } from "../../packages/server/src/source/source-service.ts";
import type { SimLease } from "./sim-lease.ts";
import { ModelConnection, type ModelConnectionOptions } from "./model-connection.ts";
import { type LogFaults, ModelLogNetwork } from "./model-log-network.ts";
import type { Party } from "./scheduler.ts";
import type { SimRegistry } from "./sim-registry.ts";

/** Rows of a batch that is handed over in memory at most, as in `Replicator`. */
const HANDED_ROWS_MAX = 200;

const BUDGET_BYTES = 4_000;

export interface SimProcessOptions extends Omit<ModelConnectionOptions, "party"> {
  readonly name: string;
  readonly cacheDir: string;
  readonly registry: SimRegistry;
  readonly lease: SimLease;
  readonly logFaults: LogFaults;
  readonly copiesMax: number;
  readonly logger: Logger;
  /** Whether commits are told to the other processes. */
  readonly onCommit: (from: SimProcess, head: number) => void;
}

/** One process of EMCache: the real capture and the real replicate loop, between ports that the scheduler holds. */
export class SimProcess {
  readonly party: Party;
  readonly cacheDir: string;
  statuses: readonly CacheStatus[] = [];
  readonly #options: SimProcessOptions;
  readonly #service: SourceService;
  readonly #loop: ReplicateLoop;
  readonly #end = new AbortController();
  readonly #wakeWord = new WakeWord();
  readonly #handedPages = new HandedPages(this.#wakeWord);
  readonly #stopListening: () => void;

  constructor(options: SimProcessOptions) {
    this.#options = options;
    this.cacheDir = options.cacheDir;
    const party: Party = { name: options.name, isDead: false, isFrozen: false };
    this.party = party;
    const { scheduler, registry, lease, logger } = options;
    const clock = scheduler.clockOf(party);
    const network = new ModelLogNetwork(scheduler, party, options.logFaults);
    const entities = registry.viewOf(party);
    this.#service = new SourceService({
      mongo: { sourceName: "main", uri: "", database: "sim", fullDocument: "lookup" },
      takeTurn: (signal) =>
        lease.take(party, { network, signal, onCommit: (head, batch) => this.#committed(head, batch) }),
      entities,
      copyRequests: { list: (signal) => network.call("requests", () => registry.copyRequests(), signal) },
      budget: new ByteBudget({ bytesMax: BUDGET_BYTES, reservedBytes: BUDGET_BYTES / 4 }),
      copySettings: { maxConcurrent: options.copiesMax, rowsPerSMax: 0 },
      health: new ComponentHealth("source.main", clock),
      logger,
      clock,
      connect: async (_options, signal) => {
        await scheduler.turn("connects", party, { signal });
        return new ModelConnection({ ...options, party });
      },
    });
    this.#loop = new ReplicateLoop({
      log: this.#replicateLog(network),
      report: this.#report(),
      baseDir: options.cacheDir,
      intervalMs: 1_000,
      handedPages: this.#handedPages,
      clock,
    });
    const showRecords = (): void => this.#loop.setRecords(entities.records());
    this.#stopListening = entities.onChange(showRecords);
    showRecords();
  }

  start(): void {
    void this.#service.start();
    void this.#loop.run(this.#end.signal);
  }

  /** Told that the log has grown. */
  wake(head: number): void {
    if (!this.#wakeWord.wake(head)) return;
    this.#options.scheduler.add("a wake-up arrives", this.party, () => {
      this.#wakeWord.woken();
      this.#loop.wake();
    });
  }

  /** SIGKILL: nothing of it goes on. What it has open is closed on the way, which nobody sees. */
  kill(): void {
    this.party.isDead = true;
  }

  /** After `kill`: lets go of files. */
  reap(): void {
    this.#stopListening();
    this.#end.abort();
    void this.#service.stop(AbortSignal.abort());
  }

  #committed(head: number, batch: CommittedBatch | null): void {
    if (batch !== null && batch.rows.length <= HANDED_ROWS_MAX && this.#wakeWord.offerBatch()) {
      const page = pageOfBatch(batch);
      this.#handedPages.add(page);
    }
    this.wake(head);
    this.#options.onCommit(this, head);
  }

  #replicateLog(network: ModelLogNetwork): ReplicateLog {
    const { oplog } = this.#options.registry;
    const never = new AbortController().signal;
    return {
      page: ({ signal, ...request }) => network.call("page", () => oplog.page(request), signal),
      head: (signal = never) => network.call("head", () => oplog.head(), signal),
      latestSyncStart: (version, signal = never) =>
        network.call("bracket", () => oplog.latestSyncStart(version), signal),
    };
  }

  #report(): ReplicateReport {
    const { registry, scheduler } = this.#options;
    return {
      statuses: (statuses) => {
        this.statuses = statuses;
      },
      needsCopy: (version, reason) => {
        scheduler.note(`${this.party.name}: version ${version} needs a copy: ${reason}`);
        scheduler.add("a copy is asked for", this.party, () => registry.requestCopy(version));
      },
      rejects: () => undefined,
      log: () => undefined,
      line: (level, event, fields) => {
        scheduler.note(`${this.party.name}: ${level} ${event} ${JSON.stringify(fields)}`);
      },
    };
  }
}
