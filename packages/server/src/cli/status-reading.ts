import type { EntityStatus, VersionStatus } from "../api/entity-status.ts";
import { type ServerPlace, serverJson } from "./server-request.ts";

/** Of `GET /health`, what is shown. */
interface HealthAnswer {
  readonly status: "healthy" | "degraded";
  readonly components: Readonly<
    Record<string, { readonly status: string; readonly reason: string | null; readonly hint: string | null }>
  >;
}

/** How a server is at one moment. */
export interface StatusReading {
  readonly health: HealthAnswer;
  readonly entities: readonly EntityStatus[];
  /** Monotonic, in milliseconds. */
  readonly atMs: number;
}

/** What two readings tell of one version of an entity. */
export interface VersionRates {
  /** Entries applied a second; null where it is not known yet. */
  readonly entriesPerS: number | null;
  /** Seconds until its copy is complete, if it goes on as since the first reading; null where that is not known. */
  readonly etaS: number | null;
}

export async function readStatus(place: ServerPlace, signal: AbortSignal): Promise<StatusReading> {
  const [entities, health] = await Promise.all([
    serverJson<EntityStatus[]>(place, "GET", "/api/entities", { signal }),
    serverJson<HealthAnswer>(place, "GET", "/health", { signal }),
  ]);
  return { entities, health, atMs: performance.now() };
}

/** Progress of a copy, from the first reading of it on. */
interface CopySeen {
  readonly percent: number;
  readonly atMs: number;
}

/** Computes what a single reading can't tell. */
export class StatusRates {
  #last: StatusReading | null = null;
  /** By version. */
  readonly #copies = new Map<number, CopySeen>();

  /** Takes a reading, and tells what it and the ones before say, by version. */
  take(reading: StatusReading): Map<number, VersionRates> {
    const before = this.#last;
    this.#last = reading;
    const earlier = new Map(before === null ? [] : versionsIn(before).map((version) => [version.id, version]));
    return new Map(
      versionsIn(reading).map((version) => [
        version.id,
        {
          entriesPerS: entriesPerS(earlier.get(version.id), version, reading.atMs - (before?.atMs ?? 0)),
          etaS: this.#etaS(version, reading.atMs),
        },
      ]),
    );
  }

  #etaS({ id, percent }: VersionStatus, atMs: number): number | null {
    if (percent === null) {
      this.#copies.delete(id);
      return null;
    }
    const first = this.#copies.get(id);
    // One that went back is another copy.
    if (first === undefined || percent < first.percent) {
      this.#copies.set(id, { percent, atMs });
      return null;
    }
    const gained = percent - first.percent;
    return gained <= 0 ? null : ((100 - percent) / gained) * ((atMs - first.atMs) / 1000);
  }
}

function entriesPerS(before: VersionStatus | undefined, now: VersionStatus, ms: number): number | null {
  const entries = now.applied_entries;
  const earlier = before?.applied_entries ?? null;
  if (entries === null || earlier === null || entries < earlier || ms <= 0) return null;
  return ((entries - earlier) / ms) * 1000;
}

/** The served versions and those that will replace them. */
export function versionsIn({ entities }: StatusReading): VersionStatus[] {
  return entities.flatMap((entity) => (entity.pending === null ? [entity] : [entity, entity.pending]));
}
