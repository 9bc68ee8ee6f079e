import { EmcacheError } from "@emcache/protocol";
import type pg from "pg";
import { toEmcacheError } from "./postgres-error.ts";

/** How long and for whom a piece of work may use a connection. */
export interface WithClientOptions {
  readonly signal: AbortSignal;
  /** Longest time without an end, the network's silence included; afterwards the connection is cut. */
  readonly timeoutMs: number;
}

/**
 * Runs `work` with a connection of the pool. When the signal aborts or the time is up the connection is cut, so that
 * neither a lost server nor a long statement holds the caller; the server rolls back what was not committed. A
 * connection whose work failed is not used again: what state it is in is not known.
 *
 * @throws the signal's reason, or errors of the catalogue (`postgres_unavailable` and others), never raw ones, except
 * through `mapError`.
 */
export async function withClient<T>(
  pool: pg.Pool,
  { signal, timeoutMs }: WithClientOptions,
  work: (client: pg.PoolClient) => Promise<T>,
  mapError: (error: unknown) => Error = toEmcacheError,
): Promise<T> {
  signal.throwIfAborted();
  const end = new AbortController();
  const timer = setTimeout(() => {
    end.abort(new EmcacheError("postgres_unavailable", `PostgreSQL did not answer within ${timeoutMs} ms`));
  }, timeoutMs);
  const onAbort = (): void => {
    end.abort(signal.reason);
  };
  signal.addEventListener("abort", onAbort, { once: true });
  try {
    const client = await connectUntil(pool, end.signal);
    return await workUntil(client, end.signal, work);
  } catch (error) {
    if (end.signal.aborted) throw end.signal.reason;
    throw mapError(error);
  } finally {
    clearTimeout(timer);
    signal.removeEventListener("abort", onAbort);
  }
}

/** A connection; if the wait for it is given up, it goes back to the pool when it comes. */
function connectUntil(pool: pg.Pool, signal: AbortSignal): Promise<pg.PoolClient> {
  return new Promise((resolve, reject) => {
    const onAbort = (): void => {
      reject(signal.reason as Error);
    };
    signal.addEventListener("abort", onAbort, { once: true });
    pool.connect().then(
      (client) => {
        signal.removeEventListener("abort", onAbort);
        if (signal.aborted) client.release();
        else resolve(client);
      },
      (error: Error) => {
        signal.removeEventListener("abort", onAbort);
        reject(error);
      },
    );
  });
}

async function workUntil<T>(
  client: pg.PoolClient,
  signal: AbortSignal,
  work: (client: pg.PoolClient) => Promise<T>,
): Promise<T> {
  let broken: unknown = null;
  const onError = (error: unknown): void => {
    broken ??= error;
  };
  client.on("error", onError);
  let onAbort: (() => void) | null = null;
  try {
    const cut = new Promise<never>((_resolve, reject) => {
      onAbort = (): void => {
        broken = signal.reason;
        reject(signal.reason as Error);
        cutConnection(client);
      };
      signal.addEventListener("abort", onAbort, { once: true });
    });
    return await Promise.race([work(client), cut]);
  } catch (error) {
    broken ??= error;
    throw error;
  } finally {
    if (onAbort !== null) signal.removeEventListener("abort", onAbort);
    // A cut connection may still report its end after this: then the listener stays to take it.
    if (broken === null) client.off("error", onError);
    client.release(broken !== null);
  }
}

/** Ends the connection without a farewell; whatever waits on it fails. */
function cutConnection(client: pg.PoolClient): void {
  const { connection } = client as unknown as { connection?: { stream?: { destroy(): void } } };
  connection?.stream?.destroy();
}
