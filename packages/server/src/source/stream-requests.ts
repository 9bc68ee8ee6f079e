import type { Clock } from "../runtime/clock.ts";
import { isAbort } from "../runtime/error-message.ts";
import type { DocumentEvent } from "./change-event.ts";
import type { ClusterTime } from "./cluster-time.ts";
import { lookUpDocuments } from "./document-lookup.ts";
import { isExactId } from "./id-filter.ts";
import { findElement, idKeyOf, singleElementDocument } from "./raw-document.ts";
import type { SourceConnection } from "./source-connection.ts";
import type { Horizon, StreamProgress } from "./stream-progress.ts";

/** How often another process's requests are looked for; those of this process come at once. */
const POLL_INTERVAL_MS = 1_000;

/** Documents of one request together; where they are larger, each is looked up alone. */
const LOOKUP_BYTES_MAX = 8 * 1024 * 1024;

/**
 * What a verification, in whatever process, wants of the process that captures its source: that everything up to a
 * cluster time is in the log, and that some documents' states are logged once more as they are then.
 */
export interface StreamRequest {
  readonly id: string;
  /** The stream is to have passed this time; the `operationTime` of a reply that the asker has received. */
  readonly time: ClusterTime;
  readonly collection: string;
  /** BSON documents `{_id: …}` to be read and logged again; none where only the time matters. */
  readonly documentKeys: readonly Buffer[];
}

/** Where requests wait and are answered. */
export interface StreamRequestList {
  /** Those of a source that have no answer yet. */
  list(sourceName: string, signal: AbortSignal): Promise<readonly StreamRequest[]>;
  /** What it asks for is in the log. */
  answer(id: string, signal: AbortSignal): Promise<void>;
  /** Calls `listener` when this process asks. Returns how to end it. */
  onAsked(listener: () => void): () => void;
}

interface Waiting {
  readonly request: StreamRequest;
  readonly horizon: Horizon;
}

/** The requests that the stream's loop is to answer, and those whose answer is in the log. */
export class StreamRequestDesk {
  readonly #progress: StreamProgress;
  readonly #waiting = new Map<string, Waiting>();
  /** Handed to the queue. */
  readonly #underWay = new Set<string>();
  readonly #logged = new Set<string>();
  #onLogged: () => void = () => undefined;

  constructor(progress: StreamProgress) {
    this.#progress = progress;
  }

  /** Whether the stream should say soon how far it is. */
  get isWaiting(): boolean {
    return this.#waiting.size > 0;
  }

  /** Takes the requests as they are listed now. One that is no longer listed was given up. */
  take(requests: readonly StreamRequest[]): void {
    const listed = new Set(requests.map(({ id }) => id));
    for (const id of this.#waiting.keys()) if (!listed.has(id)) this.#waiting.delete(id);
    for (const request of requests) {
      const { id } = request;
      if (this.#waiting.has(id) || this.#underWay.has(id) || this.#logged.has(id)) continue;
      // Its reply was received before this: the horizon is that of now at the latest.
      this.#waiting.set(id, { request, horizon: this.#progress.horizonOf(request.time) });
    }
  }

  /** A request whose time the stream has passed, handed out once; null where there is none. */
  takePassed(): StreamRequest | null {
    for (const [id, { request, horizon }] of this.#waiting) {
      if (!this.#progress.hasPassed(horizon)) continue;
      this.#waiting.delete(id);
      this.#underWay.add(id);
      return request;
    }
    return null;
  }

  /** The request could not be answered now: it is handed out again once it is listed again. */
  failed(id: string): void {
    this.#underWay.delete(id);
  }

  /** Everything that the request asked for is durable in the log. */
  logged(id: string): void {
    this.#underWay.delete(id);
    this.#logged.add(id);
    this.#onLogged();
  }

  /** Brings requests to the desk and answers back, until `signal` aborts. */
  async serve(
    list: StreamRequestList,
    sourceName: string,
    context: { clock: Clock; signal: AbortSignal },
  ): Promise<void> {
    const { clock, signal } = context;
    let wake = new AbortController();
    const nudge = (): void => wake.abort();
    const unsubscribe = list.onAsked(nudge);
    this.#onLogged = nudge;
    try {
      while (!signal.aborted) {
        wake = new AbortController();
        // An absent PostgreSQL is told by others; requests and answers wait for it.
        for (const id of this.#logged) {
          await list
            .answer(id, signal)
            .then(() => this.#logged.delete(id))
            .catch(() => "the next turn");
        }
        const listed = await list.list(sourceName, signal).catch(() => null);
        if (listed !== null) this.take(listed);
        await clock.sleep(POLL_INTERVAL_MS, AbortSignal.any([signal, wake.signal])).catch((error: unknown) => {
          if (!isAbort(error)) throw error;
        });
      }
    } finally {
      unsubscribe();
      this.#onLogged = () => undefined;
    }
  }
}

/** Where in the stream the request is answered. */
export interface StreamPlace {
  readonly token: Buffer;
  readonly clusterTime: ClusterTime;
}

/**
 * The requested documents as if each had just been updated: what is logged of them is then looked up, held against
 * the horizons and struck from running copies like any update (invariant 4).
 *
 * An asker may know an `_id` only by its text. A number in it may be of another type than the document's, which
 * MongoDB holds equal: the document's own bytes take its place.
 */
export async function eventsOf(
  { collection, documentKeys, time }: StreamRequest,
  source: SourceConnection,
  { token, clusterTime }: StreamPlace,
  signal: AbortSignal,
): Promise<DocumentEvent[]> {
  const options = { after: time, bytesMax: LOOKUP_BYTES_MAX, signal };
  const together = documentKeys.length === 0 ? null : await lookUpDocuments(source, collection, documentKeys, options);
  const keys = new Map<string, Buffer>();
  for (const documentKey of documentKeys) {
    const isFound = together?.documents.has(idKeyOf(documentKey) ?? "") === true;
    const alone =
      isFound || !isExactId(documentKey) ? null : await lookUpDocuments(source, collection, [documentKey], options);
    const document = [...(alone?.documents.values() ?? [])][0];
    const key = document === undefined ? documentKey : keyOf(document);
    const idKey = idKeyOf(key);
    if (idKey !== null) keys.set(idKey, key);
  }
  return [...keys].map(([idKey, documentKey]) => ({
    operation: "update",
    token,
    clusterTime,
    wallTimeMs: null,
    collection,
    transaction: null,
    documentKey,
    idKey,
    fullDocument: null,
    sizeBytes: documentKey.length,
  }));
}

/** `{_id: …}` of a document. */
function keyOf(document: Buffer): Buffer {
  const id = findElement(document, "_id");
  return id === null ? document : singleElementDocument("_id", id.type, document.subarray(id.valueStart, id.valueEnd));
}
