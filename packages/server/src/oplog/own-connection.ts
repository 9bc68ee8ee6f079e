import { EmcacheError } from "@emcache/protocol";
import type pg from "pg";
import { toEmcacheError } from "./postgres-error.ts";

/**
 * One connection outside of the pool for small statements that must not wait behind others: opened when first used,
 * opened anew after it broke. Statements go one after the other.
 */
export class OwnConnection {
  readonly #newClient: () => pg.Client;
  #client: pg.Client | null = null;

  constructor(newClient: () => pg.Client) {
    this.#newClient = newClient;
  }

  /** @throws errors of the catalogue; `postgres_unavailable` also where nothing came within `timeoutMs`. */
  async query<Row extends pg.QueryResultRow>(
    text: string,
    values: readonly unknown[],
    timeoutMs: number,
  ): Promise<pg.QueryResult<Row>> {
    let timer: NodeJS.Timeout | undefined;
    const timeout = new Promise<never>((_resolve, reject) => {
      timer = setTimeout(() => {
        reject(new EmcacheError("postgres_unavailable", `PostgreSQL did not answer within ${timeoutMs} ms`));
      }, timeoutMs);
    });
    try {
      return await Promise.race([this.#send<Row>(text, values), timeout]);
    } catch (error) {
      this.#drop();
      throw toEmcacheError(error);
    } finally {
      clearTimeout(timer);
    }
  }

  async close(): Promise<void> {
    const client = this.#client;
    this.#client = null;
    await client?.end().catch(() => undefined);
  }

  async #send<Row extends pg.QueryResultRow>(text: string, values: readonly unknown[]): Promise<pg.QueryResult<Row>> {
    if (this.#client === null) {
      const client = this.#newClient();
      this.#client = client;
      client.once("end", () => {
        if (this.#client === client) this.#client = null;
      });
      await client.connect();
    }
    return this.#client.query<Row>(text, [...values]);
  }

  /** A connection in an unknown state is not used again. */
  #drop(): void {
    const client = this.#client;
    this.#client = null;
    void client?.end().catch(() => undefined);
    (client as unknown as { connection?: { stream?: { destroy(): void } } } | null)?.connection?.stream?.destroy();
  }
}
