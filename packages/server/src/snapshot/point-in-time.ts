import { EmcacheError, type Entity, type SnapshotManifest } from "@emcache/protocol";
import { restoreFromLog } from "./restore-from-log.ts";
import type { RequestFiles } from "./request-files.ts";
import type { SnapshotOplog, SnapshotTimes } from "./snapshot-dependencies.ts";
import type { ShelvedFile, SnapshotShelf } from "./snapshot-shelf.ts";

/** What a caller asks for: a position of the log, or a time of the source in seconds since 1970. */
export type PointInTime = { readonly position: number } | { readonly timeS: number };

/** What it restores from. */
export interface PointInTimeParts {
  readonly oplog: SnapshotOplog;
  readonly times: SnapshotTimes;
  readonly shelf: SnapshotShelf;
  readonly files: RequestFiles;
  /** A snapshot of the version that lies in object storage, the newest up to a position, fetched; null where there is none. */
  readonly fetchBase: (
    version: number,
    range: { readonly from: number; readonly to: number },
    signal: AbortSignal,
  ) => Promise<ShelvedFile | null>;
  readonly nowMs: () => number;
}

/** Where a log is. */
interface LogPlace {
  readonly logId: string;
  readonly floor: number;
  readonly head: number;
}

/** Bytes that the making of a file needs beside what is kept of it: the file that is worked on. */
const WORK_FACTOR = 3;
/** Without a snapshot to begin with nothing is known of the size. */
const UNKNOWN_BYTES = 64 * 1024 * 1024;

/**
 * Makes the file of an entity as it was at a point in time, from the nearest earlier snapshot and the log after it, or
 * from the log alone where that holds a complete copy.
 *
 * A time stands for the state after the source's last batch whose cluster time is in that second or before it; between
 * two batches nothing changed. The second has to be captured completely.
 */
export class PointInTimeRestorer {
  readonly #parts: PointInTimeParts;

  constructor(parts: PointInTimeParts) {
    this.#parts = parts;
  }

  /** @throws `point_unreachable` with the range that is possible; `restore_refused`; errors of the log */
  async restore(entity: Entity, point: PointInTime, signal: AbortSignal): Promise<ShelvedFile> {
    const { oplog, shelf, files } = this.#parts;
    const log = await oplog.head();
    const position = await this.#positionOf(entity, point, log, signal);
    const isOfLog = (manifest: SnapshotManifest): boolean =>
      manifest.version === entity.id && manifest.log_id === log.logId;
    const exact = await shelf.find((manifest) => isOfLog(manifest) && manifest.position === position);
    if (exact !== null) return exact;
    const base =
      (await shelf.find(
        (manifest) => isOfLog(manifest) && manifest.position < position && manifest.position >= log.floor - 1,
      )) ?? (await this.#parts.fetchBase(entity.id, { from: log.floor - 1, to: position }, signal));
    if (base?.manifest.position === position) return base;
    const bytes = (base?.manifest.size_bytes ?? UNKNOWN_BYTES) * WORK_FACTOR;
    return files.get(`${entity.id}@${log.logId}:${position}`, bytes, (path) =>
      this.#make({ entity, position, log, base, path, signal }),
    );
  }

  /** The last position at which the entity is as it was at the point. */
  async #positionOf(entity: Entity, point: PointInTime, log: LogPlace, signal: AbortSignal): Promise<number> {
    const { times, shelf } = this.#parts;
    if ("position" in point) {
      if (point.position > log.head) {
        throw await this.#unreachable(entity, log, `The log's last position is ${log.head}`, signal);
      }
      return point.position;
    }
    const { timeS } = point;
    const captured = await times.capturedUntil(entity.client, signal);
    const capturedS = captured === null ? null : secondsOf(captured);
    if (capturedS === null || timeS >= capturedS) {
      const until = capturedS === null ? "not at all yet" : `up to ${isoTime(capturedS)}`;
      throw await this.#unreachable(entity, log, `The source ${entity.client} was captured ${until}`, signal);
    }
    const base = await shelf.find(
      ({ version, position, cluster_time_s: baseS }) =>
        version === entity.id && position >= log.floor - 1 && baseS !== null && baseS <= timeS,
    );
    const before = await times.lastPositionUntil(entity.client, timeS, signal);
    const known = Math.max(before ?? -1, base?.manifest.position ?? -1);
    if (known === -1) {
      throw await this.#unreachable(entity, log, "Neither a snapshot nor the log reaches so far back", signal);
    }
    const next = await times.nextPositionAfter(entity.client, known, signal);
    return next === null ? log.head : next - 1;
  }

  async #make(job: {
    readonly entity: Entity;
    readonly position: number;
    readonly log: LogPlace;
    readonly base: ShelvedFile | null;
    readonly path: string;
    readonly signal: AbortSignal;
  }): Promise<ShelvedFile> {
    const { entity, position, log, base, path, signal } = job;
    const { oplog } = this.#parts;
    const batch = position === 0 ? null : await oplog.batchAt(position, signal);
    const shared = {
      entity,
      logId: log.logId,
      to: { position, tag: batch?.tag ?? "" },
      targetPath: path,
      oplog,
      signal,
    };
    const basePath = base?.forms[0]?.path ?? null;
    if (batch !== null && base !== null && basePath !== null) {
      const { position: from, tag } = base.manifest;
      const built = await restoreFromLog({ ...shared, basePath, from: { position: from, tag } });
      if (built !== null) return this.#fileOf(entity, built, path, signal);
    }
    if (batch !== null) {
      for (const start of await this.#startsWithoutBase(entity.id, position, log, signal)) {
        const built = await restoreFromLog({ ...shared, basePath: null, from: { position: start, tag: null } });
        if (built !== null) return this.#fileOf(entity, built, path, signal);
      }
    }
    throw await this.#unreachable(
      entity,
      log,
      "Neither a snapshot nor a complete copy in the log is before it",
      signal,
    );
  }

  /** Where in the log a file can begin with nothing: just before the newest copy, else at the log's own begin. */
  async #startsWithoutBase(version: number, position: number, log: LogPlace, signal: AbortSignal): Promise<number[]> {
    const copy = await this.#parts.oplog.latestSyncStart(version, signal);
    const begin = Math.max(log.floor - 1, 0);
    const isUsable = copy !== null && copy.position <= position && copy.position - 1 > begin;
    return isUsable ? [copy.position - 1, begin] : [begin];
  }

  async #fileOf(
    entity: Entity,
    built: NonNullable<Awaited<ReturnType<typeof restoreFromLog>>>,
    path: string,
    signal: AbortSignal,
  ): Promise<ShelvedFile> {
    const time = await this.#parts.times.timeAt(entity.client, built.position, signal);
    const manifest: SnapshotManifest = {
      id: `restored-${built.version}-${built.position}`,
      entity: entity.name,
      version: built.version,
      log_id: built.logId,
      position: built.position,
      tag: built.tag,
      cluster_time_s: time === null ? null : secondsOf(time),
      rows: built.rows,
      size_bytes: built.sizeBytes,
      sha256: built.sums.sha256,
      compressions: [],
      created_at: new Date(this.#parts.nowMs()).toISOString(),
    };
    return { manifest, forms: [{ coding: "identity", path, ...built.sums }] };
  }

  async #unreachable(entity: Entity, log: LogPlace, reason: string, signal: AbortSignal): Promise<EmcacheError> {
    const { oplog, shelf, times } = this.#parts;
    const bases = shelf.all().filter(({ version, log_id: logId }) => version === entity.id && logId === log.logId);
    const copy = await oplog.latestSyncStart(entity.id, signal);
    const usable = bases.filter(({ position }) => position >= log.floor - 1);
    const positions = usable.map(({ position }) => position);
    if (copy?.complete === true) positions.push(copy.position);
    const from = positions.length === 0 ? null : Math.min(...positions);
    const baseTimes = usable.flatMap(({ cluster_time_s: timeS }) => timeS ?? []);
    const first = await times.firstTime(entity.client, signal);
    if (copy?.complete === true && first !== null) baseTimes.push(secondsOf(first));
    const captured = await times.capturedUntil(entity.client, signal);
    const fromTime = baseTimes.length === 0 ? null : isoTime(Math.min(...baseTimes));
    const throughTime = captured === null ? null : isoTime(secondsOf(captured) - 1);
    const range =
      from === null
        ? "nothing can be restored yet"
        : `possible are positions ${from} to ${log.head}, times ${fromTime ?? "unknown"} to ${throughTime ?? "unknown"}`;
    const name = JSON.stringify(entity.name);
    return new EmcacheError("point_unreachable", `${reason}; of the entity ${name} ${range}`, {
      details: {
        from_position: from,
        through_position: log.head,
        from_time: fromTime,
        through_time: throughTime,
        snapshots: bases.map(({ id, position }) => ({ id, position })),
      },
    });
  }
}

/** A cluster time's seconds since 1970. */
export function secondsOf(clusterTime: bigint): number {
  return Number(clusterTime >> 32n);
}

function isoTime(timeS: number): string {
  return new Date(timeS * 1000).toISOString();
}
