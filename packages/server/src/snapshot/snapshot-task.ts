import type { BuiltSnapshot, CopyBracket } from "@emcache/cache-file";

/** Work on SQLite files that blocks its thread for as long as the files are large. */
export type SnapshotTask =
  /** Builds and checks a snapshot of a cache file. */
  | { readonly kind: "build"; readonly sourcePath: string; readonly targetPath: string }
  /** SHA-256 of a file. */
  | { readonly kind: "hash"; readonly path: string }
  /** Makes the file for EMCache's Go client out of a snapshot, or out of a cache whose first copy is running. */
  | {
      readonly kind: "legacy";
      readonly sourcePath: string;
      /** Whether the source is immutable, so that its bytes can be copied. */
      readonly isSnapshot: boolean;
      readonly targetPath: string;
      /** `max_oplog_id` to write; null leaves the file's own position. */
      readonly stamp: number | null;
    }
  /** Where a cache file or snapshot is in the log. */
  | { readonly kind: "state"; readonly paths: readonly string[] };

/** Where one file is in the log. */
export interface FileState {
  readonly path: string;
  readonly position: number;
  /** Whether `data` is all of a copy; false while the first one runs. */
  readonly isWhole: boolean;
  readonly bracket: CopyBracket;
}

/** What each kind of task answers. */
export interface SnapshotTaskResults {
  readonly build: BuiltSnapshot & { readonly sha256: string };
  readonly hash: string;
  readonly legacy: null;
  /** Files that can't be read are left out. */
  readonly state: readonly FileState[];
}
