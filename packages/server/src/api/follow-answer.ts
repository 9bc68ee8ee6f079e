import type { LogRead } from "../oplog/log-read.ts";
import type { FollowedVersion } from "./followed-version.ts";
import { oplogEntriesJson } from "./oplog-json.ts";

/** Bodies of `/api/follow` and of the immutable pages: those who are dealt the same rows are sent the same bytes. */
export class FollowAnswers {
  readonly #pages = new WeakMap<LogRead, Buffer>();
  readonly #bodies = new WeakMap<LogRead, { readonly states: string; readonly body: Buffer }>();

  /** The JSON of an answer, made once for each read and what its versions were then. */
  bodyOf(read: LogRead, versions: readonly FollowedVersion[]): Buffer {
    const states = statesJson(versions);
    const made = this.#bodies.get(read);
    if (made?.states === states) return made.body;
    const body = bodyBytes(read, versions, states);
    this.#bodies.set(read, { states, body });
    return body;
  }

  /** The same without what changes with time: floor and head are the page's own, no version has a state. */
  pageOf(read: LogRead, versions: readonly FollowedVersion[]): Buffer {
    const made = this.#pages.get(read);
    if (made !== undefined) return made;
    const floor = read.rows[0]?.position ?? read.position;
    const body = bodyBytes({ ...read, floor, head: read.position + 1 }, versions, "{}");
    this.#pages.set(read, body);
    return body;
  }
}

function bodyBytes(read: LogRead, versions: readonly FollowedVersion[], states: string): Buffer {
  const names = new Map(versions.map(({ id, name }) => [id, name]));
  const head = JSON.stringify({
    log_id: read.logId,
    floor: read.floor,
    head: read.head,
    position: read.position,
    tag: read.tag,
    has_more: read.position < read.head,
  });
  return Buffer.from(`${head.slice(0, -1)},"versions":${states},"entries":${oplogEntriesJson(read.rows, names)}}`);
}

function statesJson(versions: readonly FollowedVersion[]): string {
  return JSON.stringify(Object.fromEntries(versions.map(({ id, state }) => [String(id), state])));
}
