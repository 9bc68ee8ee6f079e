import type { CopyBracket } from "@emcache/cache-file";

/** One file as EMCache's Go client may get it, together with those of other entities. */
export interface StampedFile {
  readonly version: number;
  /** What the file holds. */
  readonly position: number;
  /** Whether `data` is all of a copy; false while the first one runs. */
  readonly isWhole: boolean;
  readonly bracket: CopyBracket;
}

/** A client fetches the files of all its entities within this time. */
const FETCH_TIME_MS_MAX = 10 * 60 * 1000;

/**
 * The `max_oplog_id` to write into each file, by version.
 *
 * That client reads on from the smallest position of all its files. A file that is read on from a position between
 * the `sync_start` and the `sync_end` of the copy that it shows would swap in a table that misses the rows before that
 * position. So a file whose switch is younger than 10 minutes says the position before its `sync_start` (reading on
 * in order from there is harmless), and so does every file whose bracket then holds another file's position: which
 * files a client combines is not known here, so no position may lie in any bracket. A file whose `sync_start` the log
 * no longer holds keeps its own position.
 *
 * @param floor lowest position that the log still holds; nobody can read on from before it
 */
export function legacyStamps(files: readonly StampedFile[], floor: number, nowMs: number): Map<number, number> {
  const stamps = new Map(files.map(({ version, position }) => [version, position]));
  const isFresh = ({ bracket }: StampedFile): boolean => nowMs - bracket.switchedAtMs < FETCH_TIME_MS_MAX;
  const holdsOther = ({ bracket }: StampedFile): boolean =>
    [...stamps.values()].some((stamp) => stamp >= bracket.switchedStart && stamp < bracket.syncEnd);
  const open = new Set(
    files.filter(({ isWhole, bracket }) => isWhole && bracket.switchedStart > 0 && bracket.switchedStart >= floor),
  );
  // Each round moves at least one stamp to before its bracket, where it stays: ends after as many rounds as files.
  for (let isChanged = true; isChanged;) {
    isChanged = false;
    for (const file of open) {
      if (!isFresh(file) && !holdsOther(file)) continue;
      stamps.set(file.version, Math.min(file.position, file.bracket.switchedStart - 1));
      open.delete(file);
      isChanged = true;
    }
  }
  return stamps;
}
