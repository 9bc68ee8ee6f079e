import { join } from "node:path";
import { systemClock, type Clock } from "../runtime/clock.ts";
import { DueSnapshots } from "./due-snapshots.ts";
import { ObjectShelf } from "./object-shelf.ts";
import { ObjectSync } from "./object-sync.ts";
import { PointInTimeRestorer, type PointInTimeParts } from "./point-in-time.ts";
import { RequestFiles } from "./request-files.ts";
import { SnapshotBuilder } from "./snapshot-builder.ts";
import type { SnapshotDependencies } from "./snapshot-dependencies.ts";
import { SnapshotDirectory } from "./snapshot-directory.ts";
import { SnapshotFinder } from "./snapshot-finder.ts";
import { SnapshotRegister } from "./snapshot-register.ts";
import { SnapshotShelf } from "./snapshot-shelf.ts";
import type { SnapshotTasks } from "./snapshot-tasks.ts";

/** Where files that are made for single requests lie; no entity can be called so. */
const REQUEST_FOLDER = ".requests";

/** What the snapshot manager is made of. */
export interface SnapshotParts {
  readonly clock: Clock;
  readonly directory: SnapshotDirectory;
  readonly shelf: SnapshotShelf;
  readonly register: SnapshotRegister;
  readonly builder: SnapshotBuilder;
  readonly due: DueSnapshots;
  readonly files: RequestFiles;
  readonly finder: SnapshotFinder;
  readonly restorer: PointInTimeRestorer;
  /** Null: there is no object storage. */
  readonly objects: ObjectShelf | null;
  readonly objectSync: ObjectSync | null;
}

/** Puts them together. */
export function snapshotParts(dependencies: SnapshotDependencies, tasks: SnapshotTasks): SnapshotParts {
  const { baseDir, store, holder, advertiseUrl, logger, oplog, times, registry } = dependencies;
  const { clock = systemClock, keepCount, keepAgeMs, objectStore } = dependencies;
  const nowMs = (): number => clock.nowMs();
  const root = join(baseDir, "snapshots");
  const directory = new SnapshotDirectory(root, logger);
  const shelf = new SnapshotShelf(directory, tasks, logger);
  const register = new SnapshotRegister(store, { holder, url: advertiseUrl ?? "" }, logger);
  const objects = objectStore === null ? null : new ObjectShelf(objectStore, tasks, logger);
  const files = new RequestFiles(join(root, REQUEST_FOLDER), dependencies.restoreBytesMax, nowMs);
  const finder = new SnapshotFinder({ shelf, register, objects, files });
  const keep = { keepCount, keepAgeMs };
  const fetchBase = baseFetcher(register, objects === null ? null : finder);
  return {
    clock,
    directory,
    shelf,
    register,
    builder: new SnapshotBuilder(dependencies, directory, tasks, clock),
    due: new DueSnapshots(dependencies, clock),
    files,
    finder,
    restorer: new PointInTimeRestorer({ oplog, times, shelf, files, fetchBase, nowMs }),
    objects,
    objectSync:
      objects === null
        ? null
        : new ObjectSync({ objects, shelf, finder, register, store, registry, oplog, keep, clock, logger }),
  };
}

/** Fetches the snapshot to restore from, where it lies in object storage. */
function baseFetcher(register: SnapshotRegister, finder: SnapshotFinder | null): PointInTimeParts["fetchBase"] {
  return async (version, { from, to }, signal) => {
    if (finder === null) return null;
    const records = await register.elsewhere(null, signal);
    const base = records.find(
      ({ manifest, objectKey }) =>
        objectKey !== null && manifest.version === version && manifest.position >= from && manifest.position <= to,
    );
    return base === undefined ? null : finder.fetch(base, signal);
  };
}
