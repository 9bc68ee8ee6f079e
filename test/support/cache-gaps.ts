import { setTimeout as delay } from "node:timers/promises";
import type { Collection } from "mongodb";
import { openCache } from "./oracle.ts";

/** The document that beats: its `seq` rises with each beat. */
const BEAT_ID = "beat";

const SAMPLE_MS = 25;

interface Watched {
  readonly name: string;
  readonly file: string;
  /** While its process is stopped and started, nobody expects progress. */
  isExpected: boolean;
  seen: number;
  changedAtMs: number;
  gapMs: number;
  /** The same, its own restarts included. */
  gapWithRestartsMs: number;
}

/** What was measured of one cache, in ms. */
export interface CacheGap {
  readonly name: string;
  readonly gapMs: number;
  readonly gapWithRestartsMs: number;
  readonly beats: number;
}

/**
 * Measures for how long at most a cache made no progress although there was news for it: one document is updated again
 * and again, and each cache is asked which of its updates it shows. A source that itself stands still makes no gap.
 */
export class CacheGaps {
  readonly #collection: Collection;
  readonly #watched: Watched[];
  /** When each beat was acknowledged by the source; the index is its number. */
  readonly #acknowledgedMs: number[] = [performance.now()];

  constructor(collection: Collection, files: Readonly<Record<string, string>>) {
    this.#collection = collection;
    this.#watched = Object.entries(files).map(([name, file]) => ({
      name,
      file,
      isExpected: true,
      seen: 0,
      changedAtMs: performance.now(),
      gapMs: 0,
      gapWithRestartsMs: 0,
    }));
  }

  /** Beats and looks until `signal` aborts. */
  async run(signal: AbortSignal): Promise<void> {
    await Promise.all([this.#beat(signal), this.#look(signal)]);
  }

  /** Says that a cache's process is being restarted, or is there again. */
  expect(name: string, isExpected: boolean): void {
    for (const one of this.#watched.filter((each) => each.name === name)) {
      one.isExpected = isExpected;
      if (isExpected) one.changedAtMs = performance.now();
    }
  }

  /** Number of the last beat that this cache has shown. */
  seen(name: string): number {
    return this.#watched.find((one) => one.name === name)?.seen ?? 0;
  }

  /** Number of the last beat that the source has acknowledged. */
  get beats(): number {
    return this.#acknowledgedMs.length - 1;
  }

  results(): CacheGap[] {
    return this.#watched.map(({ name, gapMs, gapWithRestartsMs, seen }) => ({
      name,
      gapMs: Math.round(gapMs),
      gapWithRestartsMs: Math.round(gapWithRestartsMs),
      beats: seen,
    }));
  }

  async #beat(signal: AbortSignal): Promise<void> {
    while (!signal.aborted) {
      const seq = this.beats + 1;
      try {
        await this.#collection.updateOne({ _id: BEAT_ID as never }, { $set: { seq } }, { upsert: true });
        this.#acknowledgedMs.push(performance.now());
      } catch {
        // The source is away: no beat, no gap.
      }
      await delay(SAMPLE_MS);
    }
  }

  async #look(signal: AbortSignal): Promise<void> {
    const progressMs = new Map<string, number>();
    while (!signal.aborted) {
      for (const one of this.#watched) this.#lookAt(one, progressMs);
      await delay(SAMPLE_MS);
    }
  }

  #lookAt(one: Watched, progressMs: Map<string, number>): void {
    const nowMs = performance.now();
    const seq = shownBeat(one.file);
    if (seq !== null && seq !== one.seen) {
      one.seen = seq;
      one.changedAtMs = nowMs;
      progressMs.set(one.name, nowMs);
    }
    // The first beat that it doesn't show: before that was acknowledged there was nothing to wait for.
    const dueMs = this.#acknowledgedMs[one.seen + 1];
    if (dueMs === undefined) return;
    one.gapWithRestartsMs = Math.max(one.gapWithRestartsMs, nowMs - Math.max(progressMs.get(one.name) ?? dueMs, dueMs));
    if (one.isExpected) one.gapMs = Math.max(one.gapMs, nowMs - Math.max(one.changedAtMs, dueMs));
  }
}

/** Null where the file can't be read now. */
function shownBeat(file: string): number | null {
  try {
    const database = openCache(file);
    try {
      const row = database.prepare("SELECT seq FROM data WHERE id = ?").get(BEAT_ID) as { seq: bigint } | undefined;
      return row === undefined ? null : Number(row.seq);
    } finally {
      database.close();
    }
  } catch {
    return null;
  }
}
