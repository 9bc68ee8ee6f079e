/** Documents of one reply. */
export interface Batch {
  readonly documents: readonly Buffer[];
  /** `postBatchResumeToken` of change streams; null for other cursors. */
  readonly token: string | null;
}

/** What a reply may hold. */
export interface BatchLimits {
  /** Documents at most. */
  readonly documentsMax: number;
  /** How long a cursor that waits for news may wait, in ms; 0 for not at all. */
  readonly waitMs: number;
  /** Aborts when the connection closes or the server stops. */
  readonly signal: AbortSignal;
}

/** Something that a `getMore` reads on. */
export interface Cursor {
  /** `db.collection`, or `db.$cmd.aggregate`. */
  readonly namespace: string;
  /** Whether it waits for news at its end. */
  readonly isAwaiting: boolean;
  /** Whether there is nothing more: its id becomes 0. */
  readonly isExhausted: boolean;
  next(limits: BatchLimits): Batch | Promise<Batch>;
  close(): void;
}

/** A reply holds at most this many bytes of documents, or one larger document. */
export const BATCH_BYTES_MAX = 16 * 1024 * 1024;
