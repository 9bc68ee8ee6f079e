import { useCallback, useEffect, useRef, useState } from "preact/hooks";
import { ApiError } from "./api-client.ts";

/** What was read last, and why the newest reading failed. */
export interface Polled<T> {
  /** Stays when a later reading fails. */
  readonly data: T | null;
  readonly error: ApiError | null;
  /** Reads at once. */
  readonly refresh: () => void;
}

/**
 * Reads again and again, each time `intervalMs` after the last answer, as long as the page is seen. Readings of an
 * earlier `key` are given up and forgotten.
 */
export function usePolled<T>(key: string, intervalMs: number, load: (signal: AbortSignal) => Promise<T>): Polled<T> {
  const [state, setState] = useState<{ key: string; data: T | null; error: ApiError | null }>({
    key,
    data: null,
    error: null,
  });
  const loadNow = useRef(load);
  loadNow.current = load;
  const wake = useRef<() => void>(() => {});
  useEffect(() => {
    const stop = new AbortController();
    void (async () => {
      while (!stop.signal.aborted) {
        const outcome = await attempt(loadNow.current, stop.signal);
        if (stop.signal.aborted) return;
        setState((before) => ({ key, data: before.key === key ? before.data : null, error: null, ...outcome }));
        await pause(intervalMs, stop.signal, (wakeUp) => (wake.current = wakeUp));
      }
    })();
    return () => stop.abort();
  }, [key, intervalMs]);
  const refresh = useCallback(() => wake.current(), []);
  return { data: state.key === key ? state.data : null, error: state.error, refresh };
}

async function attempt<T>(
  load: (signal: AbortSignal) => Promise<T>,
  signal: AbortSignal,
): Promise<{ data: T } | { error: ApiError }> {
  try {
    return { data: await load(signal) };
  } catch (error) {
    return { error: error instanceof ApiError ? error : new ApiError(String(error), null) };
  }
}

/** Until the time is over and the page is visible, or somebody wakes it, or the signal aborts. */
function pause(ms: number, signal: AbortSignal, giveWake: (wakeUp: () => void) => void): Promise<void> {
  return new Promise((resolve) => {
    let isOver = false;
    const end = (): void => {
      clearTimeout(timer);
      document.removeEventListener("visibilitychange", look);
      signal.removeEventListener("abort", end);
      resolve();
    };
    const look = (): void => {
      if (isOver && !document.hidden) end();
    };
    const timer = setTimeout(() => {
      isOver = true;
      look();
    }, ms);
    document.addEventListener("visibilitychange", look);
    signal.addEventListener("abort", end);
    giveWake(end);
  });
}
