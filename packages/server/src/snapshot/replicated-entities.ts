import { messageOf } from "../runtime/error-message.ts";
import type { Logger } from "../runtime/logger.ts";
import type { Service } from "../runtime/service.ts";

/** What it works with. */
export interface ReplicatedEntitiesOptions {
  /** Tells of each change of the registry. */
  readonly onChange: (listener: () => void) => () => void;
  /** Gives the registry's entities to the replicator. */
  readonly replicate: () => void;
  /** What is to be done before the replicator opens its caches for the first time; null: nothing. */
  readonly prepare: ((signal: AbortSignal) => Promise<void>) | null;
  readonly logger: Logger;
}

/** Tells the replicator which entities there are, once the caches that object storage has are in their places. */
export class ReplicatedEntities implements Service {
  readonly name = "replicated entities";
  readonly #options: ReplicatedEntitiesOptions;
  readonly #end = new AbortController();
  readonly #unsubscribe: () => void;
  #isPrepared: boolean;
  #preparing: Promise<void> = Promise.resolve();

  constructor(options: ReplicatedEntitiesOptions) {
    this.#options = options;
    this.#isPrepared = options.prepare === null;
    this.#unsubscribe = options.onChange(() => this.#changed());
  }

  async start(): Promise<void> {
    if (this.#options.prepare !== null) this.#preparing = this.#prepare(this.#options.prepare);
  }

  async stop(): Promise<void> {
    this.#unsubscribe();
    this.#end.abort();
    await this.#preparing;
  }

  #changed(): void {
    if (this.#isPrepared) this.#options.replicate();
  }

  async #prepare(prepare: (signal: AbortSignal) => Promise<void>): Promise<void> {
    try {
      await prepare(this.#end.signal);
    } catch (error) {
      if (this.#end.signal.aborted) return;
      this.#options.logger.warn(
        { event: "bootstrap_failed", reason: messageOf(error) },
        "caches can't be fetched from object storage; they are filled from the log",
      );
    }
    this.#isPrepared = true;
    this.#changed();
  }
}
