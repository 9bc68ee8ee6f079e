import type { LogRead } from "../oplog/log-read.ts";
import { oplogEntriesJson } from "./oplog-json.ts";

/** An entity version that a follower asked for, as it is now. */
export interface FollowedVersion {
  readonly id: number;
  readonly name: string;
  readonly state: "pending" | "live" | "retired";
}

/** Bodies of `/api/follow` and of the immutable pages: those who are dealt the same rows are sent the same bytes. */
export class FollowAnswers {
  readonly #bodies = new WeakMap<LogRead, { readonly states: string; readonly body: Buffer }>();

  /** The JSON of an answer, made once for each read and what its versions were then. */
  bodyOf(read: LogRead, versions: readonly FollowedVersion[]): Buffer {
    const states = statesJson(versions);
    const made = this.#bodies.get(read);
    if (made?.states === states) return made.body;
    const names = new Map(versions.map(({ id, name }) => [id, name]));
    const head = JSON.stringify({
      log_id: read.logId,
      floor: read.floor,
      head: read.head,
      position: read.position,
      tag: read.tag,
      has_more: read.position < read.head,
    });
    const text = `${head.slice(0, -1)},"versions":${states},"entries":${oplogEntriesJson(read.rows, names)}}`;
    const body = Buffer.from(text);
    this.#bodies.set(read, { states, body });
    return body;
  }
}

function statesJson(versions: readonly FollowedVersion[]): string {
  return JSON.stringify(Object.fromEntries(versions.map(({ id, state }) => [String(id), state])));
}
