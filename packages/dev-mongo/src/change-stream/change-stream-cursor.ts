import { CommandError } from "../command-error.ts";
import { BATCH_BYTES_MAX, type Batch, type BatchLimits, type Cursor } from "../cursors/cursor.ts";
import type { FragmentFault } from "../faults/fault-injector.ts";
import type { ClusterTime } from "../oplog/cluster-clock.ts";
import { NewsWait } from "../oplog/news-wait.ts";
import { type OplogEntry, documentIn } from "../oplog/oplog-entry.ts";
import {
  type TokenPosition,
  fragmentOf,
  fragmentTokenOf,
  highWaterMark,
  invalidateTokenOf,
  tokenIn,
  tokenOf,
} from "../oplog/resume-token.ts";
import { keyOfDocument } from "../store/document-key.ts";
import type { Store } from "../store/store.ts";
import { EventEncoder } from "./event-encoder.ts";
import { splitEvent } from "./split-event.ts";
import type { StreamOptions } from "./stream-options.ts";
import type { StreamPipeline } from "./stream-pipeline.ts";
import { type StreamScope, isInScope, invalidates } from "./stream-scope.ts";

/** What a stream needs of the server. */
export interface StreamEnvironment {
  readonly store: Store;
  /** Sequence number up to which streams may see; the oplog's end unless it is held. */
  visibleEnd(): number;
  /** Time of the newest write that streams may see. */
  visibleTime(): ClusterTime;
  /** An event larger than this is an error, or split. */
  readonly eventBytesMax: number;
  fragmentFault(): FragmentFault | null;
}

/** A stream that fails this way can't go on from its token. */
const FAILED_LABELS = { labels: ["NonResumableChangeStreamError"] };

/** A change stream: reads the oplog on, from its own place. */
export class ChangeStreamCursor implements Cursor {
  readonly namespace: string;
  readonly isAwaiting = true;
  readonly #environment: StreamEnvironment;
  readonly #scope: StreamScope;
  readonly #options: StreamOptions;
  readonly #pipeline: StreamPipeline;
  readonly #encoder: EventEncoder;
  readonly #form: string;
  /** Sequence number of the next entry to look at. */
  #sequence: number;
  /** Entries before this time are passed over. */
  readonly #from: ClusterTime;
  /** The token to resume from: of the last event, or the high-water mark. */
  #token: string;
  /** Fragments of the last event, or an event, that did not fit into the last reply. */
  #pending: Buffer[] = [];
  #isClosed = false;
  readonly #news = new NewsWait();

  constructor(
    environment: StreamEnvironment,
    stream: {
      readonly namespace: string;
      readonly scope: StreamScope;
      readonly options: StreamOptions;
      readonly pipeline: StreamPipeline;
    },
  ) {
    this.#environment = environment;
    this.namespace = stream.namespace;
    this.#scope = stream.scope;
    this.#options = stream.options;
    this.#pipeline = stream.pipeline;
    const { fullDocument, beforeChange, isExpanded, start } = stream.options;
    const hasDescription = !stream.pipeline.dropped.has("updateDescription");
    this.#encoder = new EventEncoder({ fullDocument, beforeChange, isExpanded, hasDescription }, (entry) => {
      const collection = environment.store.collection(entry.namespace.database, entry.namespace.collection);
      return collection?.get(keyOfDocument(documentIn(entry))) ?? null;
    });
    this.#form = `${fullDocument} ${beforeChange} ${String(isExpanded)} ${stream.pipeline.identity}`;
    const { store } = environment;
    if (start.kind === "now") {
      this.#from = environment.visibleTime() + 1n;
      this.#sequence = environment.visibleEnd();
      this.#token = highWaterMark(this.#from);
    } else if (start.kind === "time") {
      this.#assertHistory(start.time);
      this.#from = start.time;
      this.#sequence = store.oplog.sequenceAt(start.time);
      this.#token = highWaterMark(start.time);
    } else {
      this.#from = start.position.time;
      this.#token = start.position.data;
      this.#sequence = this.#resume(start.position);
    }
  }

  get isExhausted(): boolean {
    return this.#isClosed && this.#pending.length === 0;
  }

  async next({ documentsMax, waitMs, signal }: BatchLimits): Promise<Batch> {
    const deadline = performance.now() + waitMs;
    for (;;) {
      const documents = this.#collect(documentsMax);
      const remainingMs = deadline - performance.now();
      if (documents.length > 0 || this.#isClosed || remainingMs <= 0 || signal.aborted) {
        return { documents, token: this.#token };
      }
      await this.#news.wait(this.#environment.store.oplog, remainingMs, signal);
    }
  }

  close(): void {
    this.#isClosed = true;
    this.#pending = [];
    this.#news.end();
  }

  /** What is there now. */
  #collect(documentsMax: number): Buffer[] {
    const documents: Buffer[] = [];
    let size = 0;
    while (documents.length < documentsMax) {
      const next = this.#pending[0] ?? this.#advance();
      if (next === null) break;
      if (size + next.length > BATCH_BYTES_MAX && documents.length > 0) break;
      this.#pending.shift();
      documents.push(next);
      size += next.length;
    }
    const last = documents.at(-1);
    if (last !== undefined) this.#token = tokenIn(last);
    if (this.#pending.length === 0 && documents.length < documentsMax && !this.#isClosed) this.#raiseToken();
    return documents;
  }

  /** There is nothing more up to now: the token may say so. */
  #raiseToken(): void {
    const mark = highWaterMark(this.#environment.visibleTime());
    if (mark > this.#token) this.#token = mark;
  }

  /** Goes on to the next entry that makes an event, which is pending then. */
  #advance(): Buffer | null {
    const { store } = this.#environment;
    const end = this.#environment.visibleEnd();
    if (this.#isClosed) return null;
    if (this.#sequence < store.oplog.begin) this.#failLost();
    while (this.#sequence < end) {
      const entry = store.oplog.at(this.#sequence++);
      if (entry === undefined || entry.time < this.#from || !isInScope(entry, this.#scope, this.#options.isExpanded))
        continue;
      if (this.#pipeline.accepts(entry)) this.#makeEvent(entry);
      if (invalidates(entry, this.#scope)) this.#invalidate(entry);
      const [first] = this.#pending;
      if (first !== undefined) return first;
      if (this.#isClosed) return null;
    }
    return null;
  }

  #makeEvent(entry: OplogEntry): void {
    const event = this.#eventOf(entry);
    if (event === null) return;
    if (event.length <= this.#environment.eventBytesMax) {
      this.#pending.push(event);
      return;
    }
    this.#pending.push(...this.#fragmentsOf(entry, event));
  }

  #eventOf(entry: OplogEntry): Buffer | null {
    if (entry.cachedEvent !== null && entry.cachedForm === this.#form) return entry.cachedEvent;
    let event: Buffer | null = this.#encoder.encode(entry);
    for (const stage of this.#pipeline.stages) {
      event = stage(event);
      if (event === null) return null;
    }
    if (this.#encoder.isConstant(entry)) {
      entry.cachedEvent = event;
      entry.cachedForm = this.#form;
    }
    return event;
  }

  #fragmentsOf(entry: OplogEntry, event: Buffer): Buffer[] {
    const { eventBytesMax } = this.#environment;
    const fragments = this.#pipeline.isSplitting
      ? splitEvent(event, eventBytesMax, (index) => fragmentTokenOf(entry, index))
      : null;
    if (fragments !== null) return fragments;
    throw new CommandError(
      10334,
      `Executor error during getMore :: caused by :: BSONObj size: ${event.length} is invalid. Size must be between 0 and ${eventBytesMax}`,
      FAILED_LABELS,
    );
  }

  /** The stream ends; the event that says so passes the pipeline like any other. */
  #invalidate(entry: OplogEntry): void {
    let event: Buffer | null = this.#encoder.encodeInvalidate(entry);
    const isAccepted = this.#pipeline.accepts(invalidateEntry(entry));
    for (const stage of this.#pipeline.stages) event = event === null ? null : stage(event);
    if (isAccepted && event !== null) this.#pending.push(event);
    else this.#token = invalidateTokenOf(entry);
    this.#isClosed = true;
  }

  /** Where to go on after this token. */
  #resume(position: TokenPosition): number {
    const { oplog } = this.#environment.store;
    this.#assertHistory(position.time);
    const first = oplog.sequenceAt(position.time);
    if (position.isHighWaterMark) return first;
    for (let sequence = first; sequence < oplog.end; sequence++) {
      const entry = oplog.at(sequence);
      if (entry === undefined || entry.time !== position.time) break;
      if (position.isInvalidate ? invalidateTokenOf(entry) === position.data : tokenOf(entry) === position.data) {
        return sequence + 1;
      }
      const fragment = position.isInvalidate ? null : fragmentOf(entry, position.data);
      if (fragment !== null) {
        this.#resumeInside(entry, fragment);
        return sequence + 1;
      }
    }
    throw new CommandError(
      280,
      `cannot resume stream; the resume token was not found. {_data: "${position.data}"}`,
      FAILED_LABELS,
    );
  }

  #resumeInside(entry: OplogEntry, fragment: number): void {
    const event = this.#eventOf(entry);
    if (event === null) return;
    const fault = this.#environment.fragmentFault();
    const after = fault === null ? fragment + 1 : fault.kind === "repeat" ? 0 : fragment + 1 + fault.count;
    const fragments = this.#fragmentsOf(entry, event);
    for (const [index, bytes] of fragments.entries()) {
      if (index >= after) this.#pending.push(bytes);
    }
  }

  #assertHistory(time: ClusterTime): void {
    if (time <= this.#environment.store.oplog.lostUpTo) this.#failLost();
  }

  #failLost(): never {
    throw new CommandError(
      286,
      "Resume of change stream was not possible, as the resume point may no longer be in the oplog.",
      FAILED_LABELS,
    );
  }
}

/** An invalidate event names no collection. */
function invalidateEntry(entry: OplogEntry): OplogEntry {
  const namespace = { database: "", collection: "", uuid: null };
  return { ...entry, operation: "invalidate", namespace, to: null } as unknown as OplogEntry;
}
