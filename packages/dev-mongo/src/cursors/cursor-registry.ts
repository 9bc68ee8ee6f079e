import { randomBytes } from "node:crypto";
import { CommandError } from "../command-error.ts";
import type { Cursor } from "./cursor.ts";

interface OpenCursor {
  readonly cursor: Cursor;
  /** Which of several mongos opened it: the others don't know it. */
  readonly listener: number;
  /** The session that it was opened in, which its getMores must carry; null for none. */
  readonly sessionKey: string | null;
  /** Why it was ended while a getMore waited. */
  killedBy: CommandError | null;
  usedAtMs: number;
}

/** The open cursors by their ids. */
export class CursorRegistry {
  readonly #cursors = new Map<bigint, OpenCursor>();

  get size(): number {
    return this.#cursors.size;
  }

  /** Keeps a cursor that is not exhausted; returns its id, 0 for none. */
  add(cursor: Cursor, listener: number, sessionKey: string | null): bigint {
    if (cursor.isExhausted) return 0n;
    const id = randomBytes(8).readBigUInt64LE() >> 1n;
    this.#cursors.set(id, { cursor, listener, sessionKey, killedBy: null, usedAtMs: performance.now() });
    return id;
  }

  /** @throws CommandError 43 where there is none, 50738 where it was opened in another session */
  get(id: bigint, listener: number, sessionKey: string | null): OpenCursor {
    const open = this.#cursors.get(id);
    if (open === undefined || open.listener !== listener) throw new CommandError(43, `cursor id ${id} not found`);
    if (open.sessionKey !== null && open.sessionKey !== sessionKey) {
      const said = sessionKey === null ? "without a session" : "in another session";
      throw new CommandError(
        sessionKey === null ? 50737 : 50738,
        `Cannot run getMore on cursor ${id}, which was created in a session, ${said}`,
      );
    }
    open.usedAtMs = performance.now();
    return open;
  }

  /** Ends the cursors that nobody has read for so long. */
  removeIdle(idleMs: number): void {
    const before = performance.now() - idleMs;
    for (const [id, { usedAtMs }] of this.#cursors) if (usedAtMs < before) this.remove(id);
  }

  /** @returns whether there was one */
  remove(id: bigint, reason: CommandError | null = null): boolean {
    const open = this.#cursors.get(id);
    if (open === undefined) return false;
    open.killedBy = reason;
    this.#cursors.delete(id);
    open.cursor.close();
    return true;
  }

  /** Ends all, as a server does that stops or is no longer primary. */
  removeAll(reason: CommandError): void {
    for (const id of this.#cursors.keys()) this.remove(id, reason);
  }

  removeOfSession(sessionKey: string): void {
    for (const [id, open] of this.#cursors) if (open.sessionKey === sessionKey) this.remove(id);
  }
}
