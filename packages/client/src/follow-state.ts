import { EmcacheError } from "@emcache/protocol";

/**
 * How an entity's caches stand on the client.
 *
 * - `opening`: its file is being looked for and checked.
 * - `bootstrapping`: there is no usable file; the snapshot is being fetched. Nothing is served.
 * - `catching_up`: a file is served, and the log is read on to its head.
 * - `live`: the file had everything up to the log's head when that was last heard.
 * - `stale`: a file is served, and nothing was heard for a while; or what was heard can't be written.
 * - `resetting`: a file is served whose history can't go on (another log, a position that is gone, a changed shape);
 *   another one is being fetched, and takes its place at once when it is whole.
 * - `stopped`: the client was closed.
 */
export type FollowState = "opening" | "bootstrapping" | "catching_up" | "live" | "stale" | "resetting" | "stopped";

/**
 * What can happen to an entity.
 *
 * - `file_found`, `no_file`: the outcome of looking for a file.
 * - `file_damaged`: the file is not what was written; it was set aside.
 * - `snapshot_ready`: a fetched file has taken its place.
 * - `caught_up`, `fell_behind`: an answer was applied; it went to the log's head, or there is more.
 * - `server_lost`: no good answer for a while. `write_failed`: an answer can't be written (a full disk).
 * - `history_refused`: 409, the server's log is not the one that the file follows.
 * - `position_refused`: 410, or a copy whose begin was missed: the log doesn't lead on from here.
 * - `version_replaced`: the entity has a newer version, of another shape.
 * - `closed`: the client is closed.
 */
export type FollowEvent =
  | "file_found"
  | "no_file"
  | "file_damaged"
  | "snapshot_ready"
  | "caught_up"
  | "fell_behind"
  | "server_lost"
  | "write_failed"
  | "history_refused"
  | "position_refused"
  | "version_replaced"
  | "closed";

type Transitions = Readonly<Record<FollowState, Readonly<Partial<Record<FollowEvent, FollowState>>>>>;

const LOST: Readonly<Partial<Record<FollowEvent, FollowState>>> = {
  file_damaged: "bootstrapping",
  history_refused: "resetting",
  position_refused: "resetting",
  version_replaced: "resetting",
  closed: "stopped",
};

/**
 * What follows what. An event that a state doesn't list can't happen in it. News of an entity that is being reset
 * changes nothing: only the snapshot ends that.
 */
export const FOLLOW_TRANSITIONS: Transitions = {
  opening: { file_found: "catching_up", no_file: "bootstrapping", file_damaged: "bootstrapping", closed: "stopped" },
  bootstrapping: { snapshot_ready: "catching_up", server_lost: "bootstrapping", closed: "stopped" },
  catching_up: {
    ...LOST,
    caught_up: "live",
    fell_behind: "catching_up",
    server_lost: "stale",
    write_failed: "stale",
  },
  live: { ...LOST, caught_up: "live", fell_behind: "live", server_lost: "stale", write_failed: "stale" },
  stale: { ...LOST, caught_up: "live", fell_behind: "catching_up", server_lost: "stale", write_failed: "stale" },
  resetting: {
    snapshot_ready: "catching_up",
    file_damaged: "bootstrapping",
    server_lost: "resetting",
    write_failed: "resetting",
    history_refused: "resetting",
    position_refused: "resetting",
    version_replaced: "resetting",
    closed: "stopped",
  },
  stopped: { closed: "stopped" },
};

/** The state after an event. Throws `internal` where the table has no such transition. */
export function nextFollowState(state: FollowState, event: FollowEvent): FollowState {
  const next = FOLLOW_TRANSITIONS[state][event];
  if (next === undefined) throw new EmcacheError("internal", `${event} can't happen to an entity that is ${state}`);
  return next;
}

/** Whether the log is followed for an entity in this state. */
export function isFollowing(state: FollowState): boolean {
  return state === "catching_up" || state === "live" || state === "stale";
}

/** Whether an entity in this state waits for a snapshot. */
export function needsSnapshot(state: FollowState): boolean {
  return state === "bootstrapping" || state === "resetting";
}
