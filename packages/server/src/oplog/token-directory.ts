import { EmcacheError } from "@emcache/protocol";
import { messageOf } from "../runtime/error-message.ts";
import type { Logger } from "../runtime/logger.ts";
import type { Service } from "../runtime/service.ts";
import { sleep } from "../runtime/sleep.ts";
import { type StoredToken, type TokenStore, tokenHash } from "./token-store.ts";

/** How long a revoked token may still count in another process where the notification of it was lost. */
const REFRESH_INTERVAL_MS = 5_000;

export interface TokenDirectoryOptions {
  readonly store: Pick<TokenStore, "list">;
  readonly logger: Logger;
}

/** All tokens in memory: a request is checked without PostgreSQL, so those that are known still count while it is away. */
export class TokenDirectory implements Service {
  readonly name = "token-directory";
  readonly #options: TokenDirectoryOptions;
  readonly #end = new AbortController();
  #running: Promise<void> = Promise.resolve();
  /** By hash; null before the first look into PostgreSQL. */
  #tokens: ReadonlyMap<string, StoredToken> | null = null;
  #reading: Promise<void> | null = null;

  constructor(options: TokenDirectoryOptions) {
    this.#options = options;
  }

  async start(): Promise<void> {
    this.#running = this.#run(this.#end.signal);
  }

  async stop(): Promise<void> {
    this.#end.abort();
    await this.#running;
    await this.#reading?.catch(() => undefined);
  }

  /**
   * What is known of a token; null where it is none, was revoked or has expired.
   *
   * @throws EmcacheError `postgres_unavailable` where PostgreSQL was not reached since the process began
   */
  find(token: string): StoredToken | null {
    if (this.#tokens === null) {
      throw new EmcacheError("postgres_unavailable", "Tokens can't be checked before PostgreSQL was reached");
    }
    const found = this.#tokens.get(tokenHash(token));
    if (found === undefined) return null;
    return found.expires_at !== null && Date.parse(found.expires_at) <= Date.now() ? null : found;
  }

  /** Reads the tokens anew; callers at the same time share a reading that began after they asked. */
  async refresh(): Promise<void> {
    // One that is under way may have begun before what the caller wants to see.
    await this.#reading?.catch(() => undefined);
    this.#reading ??= this.#read().finally(() => {
      this.#reading = null;
    });
    await this.#reading;
  }

  async #read(): Promise<void> {
    const tokens = await this.#options.store.list(this.#end.signal);
    this.#tokens = new Map(tokens.map((token) => [token.sha256, token]));
  }

  async #run(signal: AbortSignal): Promise<void> {
    while (!signal.aborted) {
      await this.refresh().catch((error: unknown) => {
        if (signal.aborted) return;
        this.#options.logger.debug({ event: "tokens_not_read", reason: messageOf(error) }, "known tokens still count");
      });
      await sleep(REFRESH_INTERVAL_MS, signal).catch(() => undefined);
    }
  }
}
