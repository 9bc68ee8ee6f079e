import type { BuiltSnapshot, CopyBracket } from "@emcache/cache-file";
import type { FileSums } from "./file-sums.ts";

/** Work on SQLite files that blocks its thread for as long as the files are large. */
export type SnapshotTask =
  /** Builds and checks a snapshot of a cache file, and its compressed forms. */
  | {
      readonly kind: "build";
      readonly sourcePath: string;
      readonly targetPath: string;
      readonly compressed: readonly CompressedTarget[];
    }
  /** Sums of files. */
  | { readonly kind: "sum"; readonly paths: readonly string[] }
  /** Copies a snapshot and says in the copy that it holds for a later position, up to which its entity had no rows. */
  | {
      readonly kind: "stamp";
      readonly sourcePath: string;
      readonly targetPath: string;
      readonly compressed: readonly CompressedTarget[];
      readonly position: number;
      readonly tag: string;
    }
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

/** A compressed form to make. */
export interface CompressedTarget {
  readonly coding: "gzip" | "zstd";
  readonly path: string;
}

/** Sums of a file that was made, and of its compressed forms in the order in which they were asked for. */
export interface MadeSums {
  readonly sums: FileSums;
  readonly compressed: readonly FileSums[];
}

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
  readonly build: BuiltSnapshot & MadeSums;
  readonly sum: readonly FileSums[];
  readonly stamp: MadeSums;
  readonly legacy: null;
  /** Files that can't be read are left out. */
  readonly state: readonly FileState[];
}
