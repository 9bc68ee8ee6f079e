/** A file that is stored. */
export interface StoredObject {
  readonly key: string;
  /** Epoch ms. */
  readonly modifiedAtMs: number;
}

/** An upload in parts that was begun and not ended. */
export interface PendingUpload {
  readonly key: string;
  readonly uploadId: string;
  /** Epoch ms. */
  readonly startedAtMs: number;
}

/** What is told with a file. */
export interface ObjectFacts {
  readonly contentType: string;
  /** Null: the bytes as they are. */
  readonly contentEncoding: string | null;
  /** Names for a browser to save it under. */
  readonly fileName: string;
  /** Further facts, as short texts. */
  readonly metadata: Readonly<Record<string, string>>;
}

/**
 * Object storage as snapshots use it. Every method throws `object_store_unavailable` where it can't be used, and the
 * signal's reason.
 */
export interface ObjectStore {
  /** Whether clients are to be sent to the storage itself. */
  readonly presigns: boolean;
  /** What all keys begin with. */
  readonly prefix: string;
  /** Stores a file, checked by its parts' checksums. Goes on with an upload of the same key that was interrupted. */
  putFile(key: string, path: string, facts: ObjectFacts, signal: AbortSignal): Promise<void>;
  putText(key: string, text: string, signal: AbortSignal): Promise<void>;
  /** Writes an object into a new file. The caller checks what it is. */
  getFile(key: string, path: string, signal: AbortSignal): Promise<void>;
  /** A URL under which a client gets an object for a while without any rights of its own. */
  presignedUrl(key: string, facts: ObjectFacts, signal: AbortSignal): Promise<string>;
  /** All objects whose keys begin with `prefix`. */
  list(prefix: string, signal: AbortSignal): Promise<StoredObject[]>;
  remove(keys: readonly string[], signal: AbortSignal): Promise<void>;
  pendingUploads(prefix: string, signal: AbortSignal): Promise<PendingUpload[]>;
  abortUpload(upload: PendingUpload, signal: AbortSignal): Promise<void>;
}
