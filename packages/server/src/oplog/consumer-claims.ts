import { EmcacheError } from "@emcache/protocol";
import { messageOf } from "../runtime/error-message.ts";
import type { Logger } from "../runtime/logger.ts";
import type { Service } from "../runtime/service.ts";
import { sleep } from "../runtime/sleep.ts";
import type { Claim, ClaimStore, StoredClaim } from "./claim-store.ts";

/** A consumer asks many times a second; what it needs is stored this often, and all consumers in one statement. */
const FLUSH_INTERVAL_MS = 5_000;
/** Consumers whose claims are to be stored at most; beyond, new names are not taken until the next flush. */
const NAMES_MAX = 10_000;

/** Letters, digits and `. _ - @`: never the name of a cache's claim, which has a colon. */
const NAME_PATTERN = /^[\w.@-]{1,200}$/;

/** What one consumer was seen to have. */
export interface ConsumerSeen {
  readonly name: string;
  /** Entity versions that it reads. */
  readonly versions: readonly number[];
  /** It has everything up to here. */
  readonly position: number;
}

/**
 * Who follows the log by which name, and how far: a claim on the log for as long as `retention.claim_ttl` says. A
 * claim is stored seconds after it was seen; one of a name that was not seen before at once.
 */
export class ConsumerClaims implements Service {
  readonly name = "consumer-claims";
  readonly #store: ClaimStore;
  readonly #logger: Logger;
  readonly #end = new AbortController();
  readonly #pending = new Map<string, Claim>();
  readonly #known = new Set<string>();
  #running: Promise<void> = Promise.resolve();
  #flushing: Promise<void> = Promise.resolve();

  constructor({ store, logger }: { readonly store: ClaimStore; readonly logger: Logger }) {
    this.#store = store;
    this.#logger = logger;
  }

  async start(): Promise<void> {
    this.#running = this.#run(this.#end.signal);
  }

  async stop(signal: AbortSignal): Promise<void> {
    this.#end.abort();
    await this.#running;
    await this.#flush(signal).catch(() => "an earlier claim stands");
  }

  /** Takes a claim; the last of a name counts. @throws EmcacheError `bad_request` where the name can't be one */
  seen({ name, versions, position }: ConsumerSeen): void {
    if (!NAME_PATTERN.test(name)) {
      const mistake = `emcache-consumer: ${JSON.stringify(name.slice(0, 60))} is no name; expected 1 to 200 letters, digits and . _ - @`;
      throw new EmcacheError("bad_request", mistake, { errors: [mistake] });
    }
    if (!this.#pending.has(name) && this.#pending.size >= NAMES_MAX) return;
    this.#pending.set(name, { name, kind: "consumer", versions, position });
    if (this.#known.has(name)) return;
    if (this.#known.size >= NAMES_MAX) this.#known.clear();
    this.#known.add(name);
    void this.#flush(this.#end.signal).catch((error: unknown) => this.#warn(error));
  }

  /** All consumers, the furthest behind first. @throws EmcacheError `postgres_unavailable` */
  async list(signal: AbortSignal): Promise<StoredClaim[]> {
    await this.#flush(signal);
    return (await this.#store.list(signal)).filter(({ kind }) => kind === "consumer");
  }

  /** Whether there was one of this name. @throws EmcacheError `postgres_unavailable` */
  async remove(name: string, signal: AbortSignal): Promise<boolean> {
    await this.#flushing.catch(() => undefined);
    const wasPending = this.#pending.delete(name);
    this.#known.delete(name);
    return (await this.#store.removeClaim(name, signal, "consumer")) || wasPending;
  }

  /** Stores what is pending; one statement at a time. */
  async #flush(signal: AbortSignal): Promise<void> {
    this.#flushing = this.#flushing.catch(() => undefined).then(() => this.#flushNow(signal));
    await this.#flushing;
  }

  async #flushNow(signal: AbortSignal): Promise<void> {
    if (this.#pending.size === 0) return;
    const claims = [...this.#pending.values()];
    await this.#store.upsertClaims(claims, signal);
    for (const claim of claims) if (this.#pending.get(claim.name) === claim) this.#pending.delete(claim.name);
  }

  async #run(signal: AbortSignal): Promise<void> {
    while (!signal.aborted) {
      try {
        await sleep(FLUSH_INTERVAL_MS, signal);
        await this.#flush(signal);
      } catch (error) {
        this.#warn(error);
      }
    }
  }

  #warn(error: unknown): void {
    if (this.#end.signal.aborted) return;
    // An earlier claim stands until it expires, which is much later.
    this.#logger.warn({ event: "claim_failed", reason: messageOf(error) }, "consumers' claims were not stored");
  }
}
