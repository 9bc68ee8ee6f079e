import type { FollowerOptions } from "./follower.ts";
import type { Row } from "./follow-report.ts";
import { LocalCache } from "./local-cache.ts";

/** What `openCache` takes. */
export interface OpenCacheOptions extends FollowerOptions {
  /** Ends the opening; an opened cache is ended by `close`. */
  readonly signal?: AbortSignal | undefined;
}

/**
 * Opens the caches of some entities in a folder and keeps them up to date until `close`. Resolves when every entity can
 * be read: at once where their files are there already (the server may be down), else when their snapshots are fetched,
 * however long the server is away; end that by `signal`.
 *
 * The type parameter names the rows of each entity, as `emcache types` writes them.
 *
 * @throws EmcacheError `directory_locked` where another client uses the folder, `cache_unavailable` where it can't be
 * written, `server_refused` and `entity_not_found` where there is no file and the server won't give one; the signal's
 * reason.
 */
export async function openCache<Entities extends object = Record<string, Row>>(
  options: OpenCacheOptions,
): Promise<LocalCache<Entities>> {
  const { signal, ...follow } = options;
  signal?.throwIfAborted();
  const cache = new LocalCache<Entities>(follow);
  try {
    await cache.opened(signal);
    return cache;
  } catch (error) {
    await cache.close();
    throw error;
  }
}
