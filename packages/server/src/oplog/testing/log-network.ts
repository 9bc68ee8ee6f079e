/** The log's own no to a message, as opposed to a connection that broke. The codes are those of `emcache.seal`. */
export class LogRefusal extends Error {
  readonly code: "EM001" | "EM002" | "EM003";
  /** With EM002: the first position of the append that is in the log. */
  readonly firstPosition: number;

  constructor(code: LogRefusal["code"], firstPosition = 0) {
    super(`the log refuses: ${code}`);
    this.code = code;
    this.firstPosition = firstPosition;
  }
}

/** What lies between a process and the log in memory. */
export interface LogNetwork {
  /**
   * Sends a message. `execute` runs when it arrives, if it does, which may be after the caller was told that the
   * connection broke; the promise brings its result or its `LogRefusal`, or rejects with any other error where the
   * connection broke before the answer came.
   */
  call<T>(what: string, execute: () => T, signal: AbortSignal): Promise<T>;
}
