import { monitorEventLoopDelay } from "node:perf_hooks";

/** Prometheus' usual interval: whoever asks sees about what happened since it asked before, however many ask. */
const WINDOW_MS = 15_000;
/** Of the timer whose delay is measured. */
const RESOLUTION_MS = 20;
const NS = 1e9;

type IntervalHistogram = ReturnType<typeof monitorEventLoopDelay>;

/** How late the event loop was, in seconds. */
export interface LoopDelay {
  readonly p50S: number;
  readonly p99S: number;
  readonly maxS: number;
}

/** Measures how late the main thread's event loop is, in windows of 15 s. */
export class EventLoopDelay {
  #histogram: IntervalHistogram | null = null;
  #timer: NodeJS.Timeout | undefined;
  #last: LoopDelay | null = null;

  start(): void {
    const histogram = monitorEventLoopDelay({ resolution: RESOLUTION_MS });
    histogram.enable();
    this.#histogram = histogram;
    this.#timer = setInterval(() => {
      this.#last = delayOf(histogram);
      histogram.reset();
    }, WINDOW_MS);
    this.#timer.unref();
  }

  stop(): void {
    clearInterval(this.#timer);
    this.#histogram?.disable();
  }

  /** Of the last whole window, or of the first one so far; null where nothing was measured yet. */
  last(): LoopDelay | null {
    if (this.#last !== null) return this.#last;
    return this.#histogram === null ? null : delayOf(this.#histogram);
  }
}

function delayOf(histogram: IntervalHistogram): LoopDelay | null {
  if (histogram.count === 0) return null;
  // The timer's own interval is no delay.
  const delay = (ns: number): number => Math.max(0, ns / NS - RESOLUTION_MS / 1000);
  return {
    p50S: delay(histogram.percentile(50)),
    p99S: delay(histogram.percentile(99)),
    maxS: delay(histogram.max),
  };
}
