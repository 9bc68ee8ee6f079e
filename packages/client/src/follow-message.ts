import type { FollowerOptions } from "./follower.ts";
import type { EntityStatus, RowChange } from "./follow-report.ts";

/** What the worker thread is started with. */
export type FollowWorkerData = FollowerOptions;

/** What the worker thread tells. */
export type FollowMessage =
  /** Each entity's files were looked for. */
  | { readonly kind: "opened"; readonly statuses: readonly EntityStatus[] }
  | { readonly kind: "status"; readonly status: EntityStatus }
  | { readonly kind: "rows-changed"; readonly entity: string }
  /** Waits for a `taken`. */
  | { readonly kind: "changes"; readonly entity: string; readonly changes: readonly RowChange[] }
  /** Answers `watch`. */
  | { readonly kind: "watching"; readonly request: number; readonly position: number }
  | { readonly kind: "failed"; readonly code: string; readonly message: string }
  | { readonly kind: "closed" };

/** What the worker thread is told. */
export type FollowOrder =
  | { readonly kind: "watch"; readonly request: number; readonly entity: string; readonly isWatched: boolean }
  | { readonly kind: "taken" }
  | { readonly kind: "close" };
