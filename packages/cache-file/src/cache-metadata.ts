import type { Entity } from "@emcache/protocol";
import type { Database } from "better-sqlite3";
import type { CacheMode, DataState, LogPoint } from "./cache-row.ts";
import { damagedError } from "./sqlite-error.ts";

/**
 * Number of the layout of cache files and snapshots, in `PRAGMA user_version` and in `metadata.format`. A file of another
 * number is not read: it was written by an older or a newer EMCache, and a cache can always be built anew.
 */
export const CACHE_FORMAT = 1;

/** `PRAGMA application_id` of every cache file and snapshot: "EMCa". `file` and SQLite's own tools show it. */
export const CACHE_APPLICATION_ID = 0x454d4361;

/** Where the copies that the file saw are bracketed in the log. */
export interface CopyBracket {
  /** Position of the last `sync_start`; 0 before the first. */
  readonly syncStart: number;
  /** Position of the `sync_start` of the copy that `data` came from; 0 before the first switch. */
  readonly switchedStart: number;
  /** Position of the last `sync_end` that switched the table; 0 before the first. */
  readonly syncEnd: number;
  /** Wall clock at that switch, epoch ms; 0 before the first. */
  readonly switchedAtMs: number;
}

/** What the table `metadata` says of the file as a whole. */
export interface CacheState {
  readonly point: LogPoint;
  /** Whether the file is between a `sync_start` and its `sync_end`. */
  readonly isCopying: boolean;
  readonly dataState: DataState;
  /** Class of `_id` types that rows of `data` have unless `id_types` says otherwise; 0 before the first row. */
  readonly idType: number;
  /** The same for `data_sync`. */
  readonly idTypeSync: number;
  readonly bracket: CopyBracket;
}

/** What `metadata` says of whose file it is; written once. */
export interface CacheIdentity {
  readonly logId: string;
  readonly entity: Entity;
}

/** Brackets of a file that has seen no copy. */
export const NO_BRACKET: CopyBracket = { syncStart: 0, switchedStart: 0, syncEnd: 0, switchedAtMs: 0 };

/** State of a file that has seen nothing. */
export const NEW_CACHE_STATE: CacheState = {
  point: { position: 0, tag: "" },
  isCopying: false,
  dataState: "empty",
  idType: 0,
  idTypeSync: 0,
  bracket: NO_BRACKET,
};

/** The mode that readers of the file see. */
export function modeOf(state: CacheState): CacheMode {
  return !state.isCopying && state.dataState === "whole" ? "live" : "sync";
}

const WRITE =
  'INSERT INTO "metadata" (key, value) VALUES (?, ?) ON CONFLICT (key) DO UPDATE SET value = excluded.value';

/** Position and tag are text: the Go client reads `max_oplog_id` as text or integer and writes it as text. */
function pointRows(point: LogPoint): [string, string][] {
  return [
    ["max_oplog_id", String(point.position)],
    ["tag", point.tag],
  ];
}

function stateRows(state: CacheState): [string, string][] {
  return [
    ...pointRows(state.point),
    ["mode", modeOf(state)],
    ["copying", state.isCopying ? "1" : "0"],
    ["data_state", state.dataState],
    ["id_type", String(state.idType)],
    ["id_type_sync", String(state.idTypeSync)],
    ["sync_start_id", String(state.bracket.syncStart)],
    ["switched_start_id", String(state.bracket.switchedStart)],
    ["sync_end_id", String(state.bracket.syncEnd)],
    ["switched_at_ms", String(state.bracket.switchedAtMs)],
  ];
}

/** Writes whose file this is and the state of a new one. */
export function writeIdentity(database: Database, identity: CacheIdentity): void {
  const write = database.prepare<[string, string]>(WRITE);
  const rows: [string, string][] = [
    ["format", String(CACHE_FORMAT)],
    ["log_id", identity.logId],
    ["entity", JSON.stringify(identity.entity)],
    ["version", String(identity.entity.id)],
    ...stateRows(NEW_CACHE_STATE),
  ];
  for (const row of rows) write.run(...row);
}

/** Makes the function that writes what differs between two states: two rows for a page that only moves the position. */
export function stateWriter(database: Database): (before: CacheState, after: CacheState) => void {
  const write = database.prepare<[string, string]>(WRITE);
  return (before, after) => {
    const isOnlyPoint = JSON.stringify({ ...before, point: after.point }) === JSON.stringify(after);
    for (const row of isOnlyPoint ? pointRows(after.point) : stateRows(after)) write.run(...row);
  };
}

/**
 * Throws `cache_damaged` where a file of EMCache's has another format. Looked at before anything else in it, because
 * all else may differ with it.
 */
export function requireFormat(database: Database): void {
  if (database.pragma("application_id", { simple: true }) !== CACHE_APPLICATION_ID) return;
  const format = Number(database.pragma("user_version", { simple: true }));
  if (format === CACHE_FORMAT) return;
  const reason = format > CACHE_FORMAT ? "newer-format" : "older-format";
  throw damagedError(database.name, `its format is ${format}, this EMCache reads and writes ${CACHE_FORMAT}`, reason);
}

/** Reads `metadata` of an open cache file or snapshot. Throws `cache_damaged` where a value is missing or unreadable. */
export function readMetadata(database: Database): CacheIdentity & { readonly state: CacheState } {
  requireFormat(database);
  const rows = database.prepare<[], [string, string | number]>('SELECT key, value FROM "metadata"').raw().all();
  const values = new Map(rows.map(([key, value]) => [key, String(value)]));
  const text = (key: string): string => {
    const value = values.get(key);
    if (value === undefined) throw damagedError(database.name, `metadata has no ${key}`, "metadata");
    return value;
  };
  const integer = (key: string): number => {
    const value = Number(text(key));
    if (!Number.isSafeInteger(value) || value < 0)
      throw damagedError(database.name, `metadata.${key} is not a number`, "metadata");
    return value;
  };
  if (integer("format") !== CACHE_FORMAT) {
    throw damagedError(
      database.name,
      `its format is ${text("format")}, this EMCache writes ${CACHE_FORMAT}`,
      "metadata",
    );
  }
  const dataState = text("data_state");
  if (dataState !== "empty" && dataState !== "stale" && dataState !== "whole") {
    throw damagedError(database.name, `metadata.data_state is ${dataState}`, "metadata");
  }
  return {
    logId: text("log_id"),
    entity: parseEntity(database.name, text("entity")),
    state: {
      point: { position: integer("max_oplog_id"), tag: text("tag") },
      isCopying: text("copying") === "1",
      dataState,
      idType: integer("id_type"),
      idTypeSync: integer("id_type_sync"),
      bracket: {
        syncStart: integer("sync_start_id"),
        switchedStart: integer("switched_start_id"),
        syncEnd: integer("sync_end_id"),
        switchedAtMs: integer("switched_at_ms"),
      },
    },
  };
}

/** The entity that `metadata` holds as JSON. Throws `cache_damaged`. */
export function parseEntity(path: string, text: string): Entity {
  try {
    return JSON.parse(text) as Entity;
  } catch (error) {
    throw damagedError(path, `metadata.entity is not JSON (${String(error)})`, "metadata");
  }
}
