import { isAbort, messageOf } from "../runtime/error-message.ts";
import type { Logger } from "../runtime/logger.ts";
import type { Service } from "../runtime/service.ts";
import { sleep } from "../runtime/sleep.ts";

/** How often this process says what its caches still need: many times within any sensible `retention.claim_ttl`. */
const INTERVAL_MS = 10_000;

export interface CacheClaimsOptions {
  /** Names the claim; the same after a restart, so that the old one is replaced. */
  readonly name: string;
  readonly statuses: () => ReadonlyMap<number, { readonly version: number; readonly position: number }>;
  readonly store: {
    upsertClaim(
      claim: { name: string; kind: "cache"; versions: readonly number[]; position: number },
      signal: AbortSignal,
    ): Promise<void>;
  };
  readonly logger: Logger;
}

/** Keeps the claim of this process's caches on the log, so that retention cuts nothing that they have not read. */
export class CacheClaims implements Service {
  readonly name = "cache-claims";
  readonly #options: CacheClaimsOptions;
  readonly #end = new AbortController();
  #running: Promise<void> = Promise.resolve();

  constructor(options: CacheClaimsOptions) {
    this.#options = options;
  }

  async start(): Promise<void> {
    this.#running = this.#run(this.#end.signal);
  }

  async stop(): Promise<void> {
    this.#end.abort();
    await this.#running;
  }

  async #run(signal: AbortSignal): Promise<void> {
    const { name, statuses, store, logger } = this.#options;
    while (!signal.aborted) {
      try {
        await sleep(INTERVAL_MS, signal);
        // A cache that has read nothing, or can't be opened, needs a copy rather than the whole log.
        const caches = [...statuses().values()].filter(({ position }) => position > 0);
        if (caches.length === 0) continue;
        const position = Math.min(...caches.map((cache) => cache.position));
        await store.upsertClaim(
          { name, kind: "cache", versions: caches.map(({ version }) => version), position },
          signal,
        );
      } catch (error) {
        if (isAbort(error)) return;
        // An earlier claim stands until it expires, which is much later.
        logger.warn(
          { event: "claim_failed", reason: messageOf(error) },
          "the caches' claim on the log was not renewed",
        );
      }
    }
  }
}
