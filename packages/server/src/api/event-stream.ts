import type { FastifyReply } from "fastify";
import { once } from "node:events";
import type { ServerResponse } from "node:http";

/** A connection that takes nothing for so long is given up; what it was sent last waits in memory until then. */
const STALLED_TIMEOUT_MS = 120_000;
/** How long a browser waits before it connects again. */
const RETRY_MS = 1000;

/**
 * One answer of server-sent events (https://html.spec.whatwg.org/multipage/server-sent-events.html). Nothing is written
 * before what was written last has left for the client, so a slow one is paused and holds one event.
 */
export class EventStream {
  readonly #raw: ServerResponse;
  readonly #signal: AbortSignal;

  /** Takes the answer over from Fastify and begins it. */
  constructor(reply: FastifyReply, signal: AbortSignal) {
    reply.hijack();
    this.#raw = reply.raw;
    this.#signal = signal;
    this.#raw.setTimeout(STALLED_TIMEOUT_MS);
    this.#raw.writeHead(200, {
      "content-type": "text/event-stream",
      "cache-control": "no-store",
      "x-content-type-options": "nosniff",
      // nginx would gather the events otherwise.
      "x-accel-buffering": "no",
      connection: "close",
    });
    this.#raw.write(`retry: ${RETRY_MS}\n\n`);
  }

  /** Sends an event; `data` is one line. Resolves when the next one may follow. @throws the signal's reason */
  async send(event: string, id: string | null, data: Buffer | string): Promise<void> {
    this.#raw.cork();
    this.#raw.write(`${id === null ? "" : `id: ${id}\n`}event: ${event}\ndata: `);
    this.#raw.write(data);
    const isTaken = this.#raw.write("\n\n");
    this.#raw.uncork();
    if (!isTaken) await this.#drained();
  }

  /** Says that the connection lives, to the client and to proxies between. */
  async beat(): Promise<void> {
    if (!this.#raw.write(":\n\n")) await this.#drained();
  }

  end(): void {
    this.#raw.end();
  }

  async #drained(): Promise<void> {
    this.#signal.throwIfAborted();
    if (this.#raw.writableNeedDrain) await once(this.#raw, "drain", { signal: this.#signal });
  }
}
