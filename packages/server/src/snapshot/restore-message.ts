import type { BuiltSnapshot, CacheRow, LogPoint } from "@emcache/cache-file";
import type { EmcacheErrorOptions, Entity, ErrorCode } from "@emcache/protocol";
import type { FileSums } from "./file-sums.ts";

/** What a restoring thread begins with. */
export interface RestoreStart {
  /** File of the snapshot to begin with, which is copied; null: begin with nothing. */
  readonly basePath: string | null;
  /** The file that is worked on; must not exist. */
  readonly workPath: string;
  readonly entity: Entity;
  readonly logId: string;
}

/** What the main thread asks of it, one after the other. */
export type RestoreOrder =
  /** Places an empty file at a point of the log. */
  | { readonly kind: "begin"; readonly point: LogPoint }
  | { readonly kind: "page"; readonly rows: readonly CacheRow[]; readonly upTo: LogPoint }
  /** Gives up what is not committed: an open source transaction. */
  | { readonly kind: "reopen" }
  /** Makes a verified snapshot of it. */
  | { readonly kind: "finish"; readonly targetPath: string };

/** Where the file is after an order. */
export interface RestoreState {
  /** Of committed rows. */
  readonly point: LogPoint;
  /** Whether a source transaction is open. */
  readonly isOpen: boolean;
  readonly isWhole: boolean;
  /** After `finish`. */
  readonly built: (BuiltSnapshot & { readonly sums: FileSums }) | null;
}

/** What it answers to its start and to each order. */
export type RestoreAnswer =
  | { readonly state: RestoreState; readonly error?: undefined }
  | {
      readonly error: { readonly code: ErrorCode; readonly message: string } & Pick<
        EmcacheErrorOptions,
        "hint" | "errors" | "details"
      >;
    };
