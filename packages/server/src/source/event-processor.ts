import type { ByteBudget } from "../runtime/byte-budget.ts";
import type { AppendQueue } from "./append-queue.ts";
import type { StreamCheckpoint } from "./capture-log.ts";
import type { DocumentEvent } from "./change-event.ts";
import { type ClusterTime, laterOf, secondOfMs } from "./cluster-time.ts";
import type { CopyScheduler } from "./copy-scheduler.ts";
import { lookUpDocuments } from "./document-lookup.ts";
import type { EntityRouting } from "./entity-routing.ts";
import type { LookupHorizons } from "./lookup-horizons.ts";
import { RowBuilder } from "./row-builder.ts";
import type { SourceConnection } from "./source-connection.ts";
import type { StreamProgress } from "./stream-progress.ts";

/** Documents that one look-up asks for at most; fewer where they turn out to be large. */
const LOOKUP_IDS_MAX = 1_000;

/**
 * Ids of one `find`. SecantusDB's `$in` costs the square of their number (100 ids 16 ms, 1,000 ids 1,362 ms: measured);
 * on an indexed server pages run beside each other, so that a small page costs no round trips.
 */
const LOOKUP_PAGE_IDS = 100;

/** The documents of one `find` together; one larger document alone is admitted. */
const LOOKUP_PAGE_BYTES_MAX = 8 * 1024 * 1024;

/** Pages under way at once: with their bytes, the memory of a look-up. */
const LOOKUP_PAGES_MAX = 4;

export interface EventProcessorOptions {
  readonly source: SourceConnection;
  readonly routing: EntityRouting;
  readonly copies: CopyScheduler;
  readonly progress: StreamProgress;
  readonly horizons: LookupHorizons;
  readonly queue: AppendQueue;
  readonly budget: ByteBudget;
}

/** Looked-up states by document name; null is absence. */
type States = ReadonlyMap<string, Buffer | null>;

/**
 * Turns document events into rows, so that no row shows an older state of a document than an earlier one
 * (invariant 4). An update's document is looked up, and so is any event of a document that the log may already show
 * in a later state. One looked-up state then stands for all of the document's events at hand, in the place of the last.
 */
export class EventProcessor {
  readonly #options: EventProcessorOptions;
  #lookupIdsMax = LOOKUP_IDS_MAX;

  constructor(options: EventProcessorOptions) {
    this.#options = options;
  }

  /**
   * Logs these events, in order, with the checkpoint after the last one. The events of one source transaction are
   * one call, because the checkpoint must not lie inside it.
   */
  async process(events: readonly DocumentEvent[], transaction: string | null, signal: AbortSignal): Promise<void> {
    let rest = events;
    while (rest.length > 0) {
      const take = transaction === null ? this.#prefixLength(rest) : rest.length;
      const part = rest.slice(0, take);
      const states = await this.#lookUp(part, signal);
      if (states === null) continue; // too large: the prefix is shorter now
      await this.#log(part, states, transaction, signal);
      rest = rest.slice(take);
    }
  }

  /** How many of the events can be handled by one look-up. */
  #prefixLength(events: readonly DocumentEvent[]): number {
    const names = new Set<string>();
    for (const [index, event] of events.entries()) {
      if (!this.#needsLookup(event)) continue;
      names.add(nameOf(event));
      if (names.size > this.#lookupIdsMax) return index;
    }
    return events.length;
  }

  #needsLookup(event: DocumentEvent): boolean {
    if (event.operation !== "delete" && event.fullDocument === null) return true;
    const horizon = this.#options.horizons.of(nameOf(event));
    return horizon !== null && event.clusterTime <= horizon;
  }

  async #lookUp(events: readonly DocumentEvent[], signal: AbortSignal): Promise<States | null> {
    const wanted = new Map<string, DocumentEvent>();
    for (const event of events) if (this.#needsLookup(event)) wanted.set(nameOf(event), event);
    const states = new Map<string, Buffer | null>();
    if (wanted.size === 0) return states;
    const { source, horizons, progress } = this.#options;
    const eventTime = events.at(-1)?.clusterTime ?? null;
    const after = laterOf(laterOf(progress.operationTime, eventTime), horizons.greatest());
    const options = { after, bytesMax: LOOKUP_PAGE_BYTES_MAX, signal };
    for (const pages of chunksOf(
      pagesOf(wanted.values(), Math.min(LOOKUP_PAGE_IDS, this.#lookupIdsMax)),
      LOOKUP_PAGES_MAX,
    )) {
      const found = await Promise.all(
        pages.map(({ collection, events }) => lookUpDocuments(source, collection, events.map(keyOf), options)),
      );
      for (const [index, page] of pages.entries()) {
        const documents = found[index];
        if (documents === null || documents === undefined) {
          this.#lookupIdsMax = Math.max(1, this.#lookupIdsMax >> 3);
          return null;
        }
        for (const event of page.events) states.set(nameOf(event), documents.documents.get(event.idKey) ?? null);
        horizons.add(new Set(page.events.map(nameOf)), progress.horizonOf(documents.operationTime));
      }
    }
    this.#lookupIdsMax = Math.min(LOOKUP_IDS_MAX, this.#lookupIdsMax * 2);
    return states;
  }

  async #log(
    events: readonly DocumentEvent[],
    states: States,
    transaction: string | null,
    signal: AbortSignal,
  ): Promise<void> {
    const { copies, progress, horizons, queue, budget } = this.#options;
    const builder = new RowBuilder("stream", transaction);
    const lastIndexes = new Map<string, number>();
    if (states.size > 0) for (const [index, event] of events.entries()) lastIndexes.set(nameOf(event), index);
    for (const [index, event] of events.entries()) {
      const state = states.size === 0 ? undefined : states.get(nameOf(event));
      if (state === undefined) {
        // Logged as it came: what was of this `_id` before an insert, a delete before it has taken away.
        const isNew = event.operation === "insert";
        this.#addState(builder, event, event.operation === "delete" ? null : event.fullDocument, isNew);
      } else if (lastIndexes.get(nameOf(event)) === index) this.#addState(builder, event, state, false);
    }
    if (transaction !== null) builder.endTransaction();
    const first = events[0];
    const last = events.at(-1);
    if (first === undefined || last === undefined) return;
    const release = await budget.acquire(builder.sizeBytes, { share: "stream", signal });
    // From here to the end nothing waits: a copy must not release a chunk between the touch and the rows.
    for (const event of events) copies.touch(event.collection, event.idKey);
    const { rows, rejects, stops, sizeBytes } = builder;
    const checkpoint = checkpointOf(last.token, last.clusterTime, horizons);
    const sourceTimeMs = first.wallTimeMs ?? secondOfMs(first.clusterTime);
    queue.push({ rows, rejects, stops, checkpoint, sizeBytes, release, sourceTimeMs });
    progress.processed(last.clusterTime);
  }

  #addState(builder: RowBuilder, event: DocumentEvent, state: Buffer | null, isNew: boolean): void {
    const { routing, copies } = this.#options;
    for (const target of routing.targetsOf(event.collection)) {
      if (copies.isHalted(target.version)) continue;
      if (state === null) builder.delete(target, event.documentKey);
      else builder.upsert(target, state, { isNew });
    }
  }
}

/** The checkpoint after an event or an empty batch. */
export function checkpointOf(
  resumeToken: Buffer,
  clusterTime: ClusterTime | null,
  horizons: LookupHorizons,
): StreamCheckpoint {
  // A copy: the token outlives the reply that it came in.
  return { resumeToken: Buffer.from(resumeToken), clusterTime, lookupHorizon: horizons.greatest() };
}

/** A document's name within its source: no collection's name holds a NUL. */
function nameOf(event: DocumentEvent): string {
  return `${event.collection}\0${event.idKey}`;
}

function keyOf(event: DocumentEvent): Buffer {
  return event.documentKey;
}

interface LookupPage {
  readonly collection: string;
  readonly events: readonly DocumentEvent[];
}

/** One page a `find`: of one collection, with at most `idsMax` documents. */
function pagesOf(wanted: Iterable<DocumentEvent>, idsMax: number): LookupPage[] {
  const byCollection = Map.groupBy(wanted, ({ collection }) => collection);
  return [...byCollection].flatMap(([collection, group]) =>
    chunksOf(group, idsMax).map((events) => ({ collection, events })),
  );
}

function chunksOf<T>(items: readonly T[], sizeMax: number): T[][] {
  const chunks: T[][] = [];
  for (let start = 0; start < items.length; start += sizeMax) chunks.push(items.slice(start, start + sizeMax));
  return chunks;
}
