/** How often a condition is looked at again. Short against every deadline, long enough not to load the machine. */
const POLL_INTERVAL_MS = 20;

/**
 * Waits until `condition` yields something other than null, undefined or false, and returns it.
 *
 * @param condition looked at again and again; what it throws counts as "not yet" and is told if time runs out
 * @param deadlineMs how long at most, in ms
 * @param describe what is waited for, in words; a function is called when time is over, so it can tell the last state
 * @throws Error naming what was waited for and the last error of `condition`
 */
export async function eventually<T>(
  condition: () => Promise<T> | T,
  deadlineMs: number,
  describe: string | (() => string | Promise<string>),
): Promise<NonNullable<Exclude<T, false>>> {
  const end = performance.now() + deadlineMs;
  let lastError: unknown = null;
  for (;;) {
    try {
      const value = await condition();
      if (value !== null && value !== undefined && value !== false) return value as NonNullable<Exclude<T, false>>;
      lastError = null;
    } catch (error) {
      lastError = error;
    }
    if (performance.now() > end) break;
    await pause(POLL_INTERVAL_MS);
  }
  const what = typeof describe === "string" ? describe : await describe();
  const because =
    lastError === null ? "" : `; last error: ${lastError instanceof Error ? lastError.message : "not an Error"}`;
  throw new Error(`not within ${deadlineMs} ms: ${what}${because}`, lastError === null ? {} : { cause: lastError });
}

/** Gives other work a turn for `ms`; only for polling, never instead of a condition. */
function pause(ms: number): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, ms));
}
