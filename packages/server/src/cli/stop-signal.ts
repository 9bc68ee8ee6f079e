const STOP_SIGNALS = ["SIGINT", "SIGTERM"] as const;

/** A signal that aborts at Ctrl+C or SIGTERM, for commands that run until then; a second one ends the process as usual. */
export function stopSignal(): { readonly signal: AbortSignal; readonly release: () => void } {
  const end = new AbortController();
  const onSignal = (): void => end.abort();
  for (const name of STOP_SIGNALS) process.once(name, onSignal);
  return {
    signal: end.signal,
    release: () => {
      for (const name of STOP_SIGNALS) process.off(name, onSignal);
    },
  };
}
