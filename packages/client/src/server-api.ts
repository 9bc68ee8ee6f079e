import { EmcacheError, type Entity } from "@emcache/protocol";
import { type FollowPage, type FollowQuery, parseFollowPage } from "./follow-page.ts";
import { HttpClient, type HttpAnswer, type HttpClientOptions } from "./http-client.ts";

/** The server ends an answer at 16 MiB and one row; a row is at most a document of 16 MiB, as JSON. */
const PAGE_BYTES_MAX = 96 * 1024 * 1024;
const ENTITY_BYTES_MAX = 4 * 1024 * 1024;
/** Rows in one answer: more of them make no page faster to apply (a page of small rows is some 400 kB). */
const PAGE_ROWS = 2000;
/** How much later than it should a long poll may be answered. */
const LATE_MS = 10_000;
/** Making a snapshot takes the server about 1 s per 50 MB. */
const SNAPSHOT_SILENCE_MS = 600_000;

/** An entity as the server shows it. */
export interface ServedEntity {
  readonly entity: Entity;
  /** How far the server's own cache may be behind the source, in ms; null if unknown. */
  readonly lagMs: number | null;
  /** How far the server's own cache is in the log; null if unknown. */
  readonly position: number | null;
}

/** The parts of the server's API that a client uses. Methods throw as `HttpClient` says. */
export class ServerApi {
  readonly #http: HttpClient;
  #requests = 0;

  constructor(options: HttpClientOptions) {
    this.#http = new HttpClient(options);
  }

  async entity(name: string, signal: AbortSignal): Promise<ServedEntity> {
    const path = `api/entities/${encodeURIComponent(name)}`;
    const { text } = await this.#http.text(path, ENTITY_BYTES_MAX, { signal });
    try {
      const {
        id,
        name,
        client,
        source,
        shape,
        created_at,
        lag_ms: lagMs,
        position,
      } = JSON.parse(text) as Entity & {
        readonly lag_ms?: unknown;
        readonly position?: unknown;
      };
      if (!Number.isSafeInteger(id) || !Array.isArray(shape.columns)) throw new SyntaxError("it is no entity");
      const entity = { id, name, client, source, shape, created_at };
      const numberOrNull = (value: unknown): number | null => (typeof value === "number" ? value : null);
      return { entity, lagMs: numberOrNull(lagMs), position: numberOrNull(position) };
    } catch (error) {
      throw new EmcacheError("answer_invalid", `${path}: the answer is not an entity`, { cause: error });
    }
  }

  /** The rows after a point, as soon as there is one; an empty page where there is none within `waitMs`. */
  async follow(query: FollowQuery, waitMs: number, signal: AbortSignal): Promise<FollowPage> {
    const { logId, after, versions } = query;
    const parameters = new URLSearchParams();
    for (const version of versions) parameters.append("versions", String(version));
    parameters.set("after", String(after.position));
    parameters.set("limit", String(PAGE_ROWS));
    parameters.set("log_id", logId);
    parameters.set("tag", after.tag);
    if (waitMs > 0) parameters.set("wait_ms", String(waitMs));
    // The answer repeats it: one that was meant for another request (by a proxy's mistake) would leave rows out.
    const requestId = `${process.pid}-${(this.#requests += 1)}`;
    const { headers, text } = await this.#http.text(`api/follow?${parameters.toString()}`, PAGE_BYTES_MAX, {
      signal,
      silenceMs: waitMs + LATE_MS,
      headers: { "emcache-request": requestId },
    });
    if (headers["emcache-request"] !== requestId) {
      throw new EmcacheError("answer_invalid", "the answer is not the one to this request");
    }
    return parseFollowPage(text, query);
  }

  /** The newest snapshot of a version, as it is stored; read its body or destroy it. */
  snapshot(
    name: string,
    version: number,
    headers: Readonly<Record<string, string>>,
    signal: AbortSignal,
  ): Promise<HttpAnswer> {
    return this.#http.open(`api/snapshots/${encodeURIComponent(name)}?version=${version}`, { headers, signal });
  }

  /** Has the server make a snapshot of an entity that has none. */
  async createSnapshot(name: string, signal: AbortSignal): Promise<void> {
    const path = `api/snapshots/${encodeURIComponent(name)}`;
    await this.#http.text(path, ENTITY_BYTES_MAX, { method: "POST", signal, silenceMs: SNAPSHOT_SILENCE_MS });
  }

  close(): void {
    this.#http.close();
  }
}
