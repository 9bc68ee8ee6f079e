import { EmcacheError } from "@emcache/protocol";
import type { ByteBudget } from "../runtime/byte-budget.ts";
import type { Clock } from "../runtime/clock.ts";
import type { ComponentHealth } from "../runtime/component-health.ts";
import { messageOf } from "../runtime/error-message.ts";
import type { Logger } from "../runtime/logger.ts";
import { retryForever } from "../runtime/retry.ts";
import type { AppendQueue } from "./append-queue.ts";
import type { StreamCheckpoint } from "./capture-log.ts";
import {
  type ChangeEvent,
  type CollectionEvent,
  type DocumentEvent,
  isDocumentEvent,
  parseChangeEvent,
  tokenOf,
} from "./change-event.ts";
import { ChangeStream, type StreamStart } from "./change-stream.ts";
import type { ClusterTime } from "./cluster-time.ts";
import type { CopyScheduler } from "./copy-scheduler.ts";
import type { CursorReply } from "./cursor-reply.ts";
import type { EntityRouting } from "./entity-routing.ts";
import { checkpointOf, EventProcessor } from "./event-processor.ts";
import { LookupHorizons } from "./lookup-horizons.ts";
import type { SourceConnection } from "./source-connection.ts";
import { isEventTooLarge } from "./mongo-error.ts";
import { SplitEventAssembler } from "./split-event.ts";
import type { StreamProgress } from "./stream-progress.ts";
import { eventsOf, type StreamRequestDesk } from "./stream-requests.ts";
import { tokenTimeOf } from "./token-time.ts";

/** How long the server holds an empty answer back when nothing else is going on: also how soon a new entity is seen. */
const IDLE_WAIT_MS = 200;

/**
 * While a copy's chunks wait for the stream, it should say soon that it has nothing; but each question costs the source
 * time that the copy's reads need (at 5 ms SecantusDB copied a fifth slower), and several chunks may wait at once.
 */
const COPY_WAIT_MS = 50;

/** After transactional events: only an empty batch or another transaction says that this one has ended. */
const TRANSACTION_WAIT_MS = 1;

/** A quiet stream's checkpoint follows the server's, so that it stays inside the server's oplog. */
const IDLE_CHECKPOINT_INTERVAL_MS = 5_000;

/** Events of one append unit: a checkpoint follows each unit, so an interrupted load repeats little. */
const UNIT_EVENTS_MAX = 2_000;

/** Large events make smaller units: a unit's rows are made before they take their share of the memory budget. */
const UNIT_BYTES_MAX = 2 * 1024 * 1024;

/** A source transaction is logged whole up to this size; a larger one loses its atomicity, loudly, not its rows. */
const TRANSACTION_BYTES_MAX = 64 * 1024 * 1024;

/** A stream that the server closes at once again must not become a busy loop. */
const REOPEN_DELAY_MS = 100;

/** In place of a request's number: the opening of a stream. */
const OPENING = 0;

const RETRY_DELAY_MS_MIN = 100;
const RETRY_DELAY_MS_MAX = 10_000;

export interface StreamCaptureOptions {
  readonly source: SourceConnection;
  readonly checkpoint: StreamCheckpoint | null;
  readonly routing: EntityRouting;
  readonly copies: CopyScheduler;
  readonly progress: StreamProgress;
  /** What verifications want of the stream. */
  readonly requests: StreamRequestDesk;
  readonly queue: AppendQueue;
  readonly budget: ByteBudget;
  readonly health: ComponentHealth;
  readonly logger: Logger;
  readonly clock: Clock;
  /** Brings `routing` up to date where entities have changed since the last call; called between replies. */
  readonly refreshRouting: () => void;
}

/**
 * The loop that follows a source's change stream: opens it at the checkpoint, turns its events into rows, releases
 * the copies' chunks that it has passed, and re-opens it where it breaks or where an entity joins.
 */
export class StreamCapture {
  readonly #options: StreamCaptureOptions;
  readonly #horizons: LookupHorizons;
  readonly #processor: EventProcessor;
  /** Where the stream is re-opened: after everything that was handed to the queue. Null before the first opening. */
  #token: Buffer | null;
  #tokenTime: ClusterTime | null;
  /** Events of a source transaction whose end has not been seen; not yet handed on. */
  #transactionTail: DocumentEvent[] = [];
  readonly #assembler = new SplitEventAssembler();
  #checkpointedAtMs = -Infinity;
  #caughtUpAtMs: number | null = null;
  #isCaughtUp = false;
  /** Whether the stream is opened without documents, because the next event's is too large for the server to send. */
  #isWithoutDocuments = false;

  constructor(options: StreamCaptureOptions) {
    this.#options = options;
    const { checkpoint, progress } = options;
    const token = checkpoint?.resumeToken ?? null;
    this.#token = token === null ? null : Buffer.from(token);
    this.#tokenTime = checkpoint?.clusterTime ?? null;
    this.#horizons = LookupHorizons.resumed(checkpoint?.lookupHorizon ?? null, progress);
    this.#processor = new EventProcessor({ ...options, horizons: this.#horizons });
  }

  /** Whether there is a place in the stream to go on from. */
  get hasHistory(): boolean {
    return this.#token !== null;
  }

  /** Cluster time up to which the stream was handed on; null while it is not known. */
  get capturedTime(): ClusterTime | null {
    return this.#tokenTime;
  }

  /** How long ago the capture last had everything of its source: 0 while it has; null before it first had. */
  get lagMs(): number | null {
    if (this.#isCaughtUp || this.#caughtUpAtMs === null) return this.#caughtUpAtMs === null ? null : 0;
    return Math.round(this.#options.clock.monotonicMs() - this.#caughtUpAtMs);
  }

  /** Follows the stream until `signal` aborts. Throws only what no retry mends. */
  async run(signal: AbortSignal): Promise<void> {
    const { health, logger, source, clock } = this.#options;
    for (;;) {
      await retryForever((attempt) => this.#follow(attempt), {
        signal,
        clock,
        delayMsMin: RETRY_DELAY_MS_MIN,
        delayMsMax: RETRY_DELAY_MS_MAX,
        isRetryable: (error) => error instanceof EmcacheError && error.retryable,
        onError: (error, attempt, delayMs) => {
          health.degraded(error, { attempt, delayMs });
          this.#isCaughtUp = false;
          const context = { source: source.sourceName, attempt, delayMs, reason: messageOf(error) };
          logger.warn({ event: "stream_interrupted", ...context }, "change stream interrupted");
          if (error instanceof EmcacheError && error.code === "source_history_lost") this.#forgetHistory();
          if (isEventTooLarge(error)) this.#isWithoutDocuments = true;
        },
      });
    }
  }

  /** Opens the stream where it was and follows it until it has to be re-opened. */
  async #follow(signal: AbortSignal): Promise<void> {
    const { source, routing, copies, progress, health, logger, refreshRouting } = this.#options;
    refreshRouting();
    this.#transactionTail = [];
    this.#assembler.reset();
    const start: StreamStart = this.#token === null ? { kind: "now" } : { kind: "startAfter", token: this.#token };
    const wanted = { collections: routing.collections(), hasDocuments: !this.#isWithoutDocuments };
    const { stream, first } = await ChangeStream.open(source, wanted, start, signal);
    // The next request runs while a reply is processed; its failure is seen when it is awaited.
    let pending: Promise<CursorReply> | null = null;
    try {
      progress.observed(first.operationTime);
      if (this.#token === null) this.#beginHistory(first);
      logger.info(
        { event: "stream_opened", source: source.sourceName, collections: stream.collections.size },
        "following",
      );
      health.healthy();
      for (let reply = first, number = OPENING; ;) {
        const nextNumber = progress.sent();
        pending = stream.isClosed ? null : stream.next(this.#waitMs(reply), signal);
        pending?.catch(() => "seen below");
        progress.observed(reply.operationTime);
        await this.#processReply(reply, number, signal);
        if (this.#hasSteppedOver(reply)) return;
        await this.#answerRequests(signal);
        refreshRouting();
        const isCovered = [...routing.collections()].every((name) => stream.collections.has(name));
        if (pending === null) return await this.#options.clock.sleep(REOPEN_DELAY_MS, signal);
        if (!isCovered) return;
        copies.startDue(stream.collections, signal);
        reply = await pending;
        number = nextNumber;
      }
    } finally {
      await pending?.catch(() => "the stream is closed");
      await stream.close();
    }
  }

  /** Whether the event that was too large is behind; documents come with their events again then. */
  #hasSteppedOver(reply: CursorReply): boolean {
    if (!this.#isWithoutDocuments || reply.documents.length === 0 || this.#transactionTail.length > 0) return false;
    this.#isWithoutDocuments = false;
    return true;
  }

  #waitMs(reply: CursorReply): number {
    if (reply.documents.length > 0 || this.#transactionTail.length > 0) return TRANSACTION_WAIT_MS;
    const { copies, requests } = this.#options;
    return copies.isDue || requests.isWaiting ? COPY_WAIT_MS : IDLE_WAIT_MS;
  }

  /** What is behind the stream in the queue by now is in the log once a unit that follows it is. */
  async #answerRequests(signal: AbortSignal): Promise<void> {
    const { requests, queue, source } = this.#options;
    if (this.#token === null || this.#tokenTime === null || this.#assembler.isOpen) return;
    for (let request = requests.takePassed(); request !== null; request = requests.takePassed()) {
      const { id } = request;
      try {
        const place = { token: this.#token, clusterTime: this.#tokenTime };
        const events = await eventsOf(request, source, place, signal);
        await this.#processor.process(events, null, signal);
      } catch (error) {
        requests.failed(id);
        throw error;
      }
      queue.push({ rows: [], sizeBytes: 0, onLogged: () => requests.logged(id) });
    }
  }

  async #processReply(reply: CursorReply, requestNumber: number, signal: AbortSignal): Promise<void> {
    const { progress, copies, clock } = this.#options;
    const events: ChangeEvent[] = [...this.#transactionTail];
    this.#transactionTail = [];
    let ignoredToken: Buffer | null = null;
    for (const part of reply.documents) {
      const bytes = this.#assembler.take(part);
      if (bytes === null) continue;
      const event = parseChangeEvent(bytes);
      if (event === null) ignoredToken = Buffer.from(tokenOf(bytes));
      else {
        events.push(event);
        ignoredToken = null;
      }
    }
    await this.#processEvents(events, reply.documents.length === 0, signal);
    if (ignoredToken !== null && this.#transactionTail.length === 0) this.#token = ignoredToken;
    if (reply.documents.length === 0) this.#processEmpty(reply, requestNumber);
    this.#isCaughtUp = reply.documents.length === 0 || !this.#hasMore(reply);
    if (this.#isCaughtUp) this.#caughtUpAtMs = clock.monotonicMs();
    this.#horizons.prune(progress);
    copies.releasePassed();
  }

  /** Whether the source was ahead of the reply's last event when it answered: by its own clock, to the second. */
  #hasMore(reply: CursorReply): boolean {
    return this.#tokenTime === null || reply.operationTime >> 32n > (this.#tokenTime >> 32n) + 1n;
  }

  async #processEvents(events: readonly ChangeEvent[], isComplete: boolean, signal: AbortSignal): Promise<void> {
    for (let start = 0; start < events.length;) {
      const event = events[start];
      if (event === undefined) return;
      if (!isDocumentEvent(event)) {
        await this.#processCollectionEvent(event, signal);
        start++;
        continue;
      }
      const run = runOf(events, start);
      const { transaction } = event;
      const mayContinue = transaction !== null && !isComplete && start + run.length === events.length;
      if (mayContinue && sizeOf(run) <= TRANSACTION_BYTES_MAX) {
        this.#transactionTail = run;
        return;
      }
      await this.#processor.process(run, this.#atomic(transaction, run), signal);
      this.#passed(run.at(-1) ?? event);
      start += run.length;
    }
  }

  /** The transaction, unless it is too large to be logged whole. */
  #atomic(transaction: string | null, run: readonly DocumentEvent[]): string | null {
    if (transaction === null || sizeOf(run) <= TRANSACTION_BYTES_MAX) return transaction;
    const context = { source: this.#options.source.sourceName, transaction, sizeBytes: sizeOf(run) };
    this.#options.logger.warn({ event: "transaction_too_large", ...context }, "a source transaction is not kept whole");
    return null;
  }

  #passed(event: ChangeEvent): void {
    this.#token = Buffer.from(event.token);
    this.#tokenTime = event.clusterTime;
    this.#checkpointedAtMs = this.#options.clock.monotonicMs();
  }

  /** MongoDB manual, "Change Events": drop, rename, dropDatabase, invalidate. */
  async #processCollectionEvent(event: CollectionEvent, signal: AbortSignal): Promise<void> {
    signal.throwIfAborted();
    const { copies, routing, queue, logger, progress, source } = this.#options;
    const { operation, collection, toCollection } = event;
    const context = { source: source.sourceName, operation, collection, toCollection };
    logger.warn({ event: "collection_changed", ...context }, "a collection was dropped, renamed or replaced");
    if (operation === "drop" || operation === "rename") copies.lost(collection);
    if (operation === "dropDatabase") for (const name of routing.collections()) copies.lost(name);
    if (operation === "rename" && toCollection !== null) copies.replaced(toCollection);
    queue.push({ rows: [], checkpoint: checkpointOf(event.token, event.clusterTime, this.#horizons), sizeBytes: 0 });
    progress.processed(event.clusterTime);
    this.#passed(event);
  }

  /** Nothing happened: the stream has passed whatever was read before the request, and its token may move on. */
  #processEmpty(reply: CursorReply, requestNumber: number): void {
    const { progress, queue, clock } = this.#options;
    if (this.#assembler.isOpen) return;
    const token = reply.postBatchResumeToken;
    const time = token === null ? null : tokenTimeOf(token);
    // The opening looks for events without waiting and may find none where there are some.
    if (requestNumber !== OPENING) progress.wasEmpty(requestNumber, time);
    if (token === null) return;
    this.#token = token;
    this.#tokenTime = time ?? this.#tokenTime;
    const nowMs = clock.monotonicMs();
    if (nowMs - this.#checkpointedAtMs < IDLE_CHECKPOINT_INTERVAL_MS) return;
    this.#checkpointedAtMs = nowMs;
    this.#horizons.prune(progress);
    queue.push({ rows: [], checkpoint: checkpointOf(token, this.#tokenTime, this.#horizons), sizeBytes: 0 });
  }

  /** The first opening, or the first after history was lost: every version is copied from here. */
  #beginHistory(first: CursorReply): void {
    const { copies, source } = this.#options;
    const token = first.postBatchResumeToken;
    if (token === null) {
      throw new EmcacheError(
        "source_unsuitable",
        `Source ${source.sourceName} opens a change stream without a resume token`,
      );
    }
    copies.beginAll(checkpointOf(token, first.operationTime, this.#horizons));
    this.#token = token;
    this.#tokenTime = first.operationTime;
  }

  #forgetHistory(): void {
    const { logger, source } = this.#options;
    logger.error({ event: "history_lost", source: source.sourceName }, "copying the source's entities anew");
    this.#token = null;
    this.#tokenTime = null;
  }
}

/** The longest run of document events from `start` that is logged as one: of one transaction, or of none. */
function runOf(events: readonly ChangeEvent[], start: number): DocumentEvent[] {
  const run: DocumentEvent[] = [];
  let sizeBytes = 0;
  for (const event of events.slice(start)) {
    if (!isDocumentEvent(event)) break;
    const first = run[0] ?? event;
    if (event.transaction !== first.transaction) break;
    const isFull = run.length === UNIT_EVENTS_MAX || sizeBytes > UNIT_BYTES_MAX;
    if (event.transaction === null && isFull) break;
    run.push(event);
    sizeBytes += event.sizeBytes;
  }
  return run;
}

function sizeOf(events: readonly DocumentEvent[]): number {
  return events.reduce((sum, { sizeBytes }) => sum + sizeBytes, 0);
}
