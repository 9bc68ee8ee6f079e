import type { Entity, OplogEntry } from "@emcache/protocol";

/** An error as the API shows it beside an entity. */
export interface ShownError {
  readonly code: string;
  readonly detail: string;
  readonly hint: string;
}

/** One version of an entity, as `GET /api/entities` answers it. */
export interface VersionStatus extends Entity {
  readonly state: "copying" | "live" | "failed" | "stopped" | "stale";
  readonly copy_paused: boolean | null;
  /** 0 to 100; null where no copy runs or the collection's size is unknown. */
  readonly percent: number | null;
  readonly reason: string | null;
  readonly rows: number | null;
  readonly position: number | null;
  readonly lag_ms: number | null;
  readonly lag_entries: number | null;
  readonly applied_entries: number | null;
  readonly size_bytes: number | null;
  readonly last_error: ShownError | null;
  readonly rejects: number | null;
}

/** An entity: its served version, and the one that will replace it. */
export interface EntityStatus extends VersionStatus {
  readonly pending: VersionStatus | null;
}

/** One part of the process, as `GET /health` answers it. */
export interface ComponentHealth {
  readonly status: "healthy" | "degraded" | "stopped";
  readonly since: string;
  readonly reason: string | null;
  readonly code: string | null;
  readonly hint: string | null;
  readonly retry?: { readonly attempt: number; readonly next_try_at: string };
}

export interface Health {
  readonly status: "healthy" | "degraded";
  readonly timestamp: string;
  readonly components: Readonly<Record<string, ComponentHealth>>;
}

/** `GET /api/oplogs/{entity}` */
export interface OplogAnswer {
  readonly head: number;
  readonly floor: number;
  readonly position: number;
  readonly has_more: boolean;
  readonly entries: readonly OplogEntry[];
}

/** `GET /api/entities/{name}/rejects` */
export interface Reject {
  readonly doc_id: string;
  readonly column: string | null;
  readonly reason: string;
  readonly sample: string;
  readonly seen_count: number;
  readonly last_seen_at: string;
}
