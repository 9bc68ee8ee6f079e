import { EmcacheError } from "@emcache/protocol";
import type { SnapshotsPort } from "./api-dependencies.ts";

/** An entity version that somebody reads the log of. */
interface ReadVersion {
  readonly id: number;
  readonly name: string;
}

/**
 * Runs a read of the log. Where the log no longer holds the position, the error tells from which snapshots the reader
 * can start: the newest of each version, if the log goes on from it.
 */
export async function withStartingPoints<T>(
  versions: readonly ReadVersion[],
  snapshots: Pick<SnapshotsPort, "list">,
  read: () => Promise<T>,
): Promise<T> {
  try {
    return await read();
  } catch (error) {
    if (!(error instanceof EmcacheError) || error.code !== "position_too_old") throw error;
    const floor = Number(error.details["floor"]);
    const starts = await startingPoints(versions, snapshots, floor).catch(() => []);
    throw new EmcacheError("position_too_old", error.message, {
      details: { ...error.details, snapshots: starts },
      cause: error,
    });
  }
}

async function startingPoints(
  versions: readonly ReadVersion[],
  snapshots: Pick<SnapshotsPort, "list">,
  floor: number,
): Promise<{ entity: string; version: number; position: number; url: string }[]> {
  // Newest first.
  const manifests = (await snapshots.list()).filter(({ position }) => position + 1 >= floor);
  return versions.flatMap(({ id, name }) => {
    const newest = manifests.find(({ version }) => version === id);
    if (newest === undefined) return [];
    const url = `/api/snapshots/${encodeURIComponent(name)}?version=${id}`;
    return [{ entity: name, version: id, position: newest.position, url }];
  });
}
