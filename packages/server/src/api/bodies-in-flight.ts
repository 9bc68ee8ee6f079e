import { EmcacheError } from "@emcache/protocol";
import type { FastifyReply } from "fastify";

/**
 * Bound on the bytes of answers that clients have not taken yet (invariant 10): however many are slow, and whatever
 * they asked for. A body that several are sent counts once.
 */
export class BodiesInFlight {
  readonly #bytesMax: number;
  readonly #holders = new Map<Buffer, number>();
  #bytes = 0;

  constructor(bytesMax: number) {
    this.#bytesMax = bytesMax;
  }

  get bytesMax(): number {
    return this.#bytesMax;
  }

  get bytes(): number {
    return this.#bytes;
  }

  /**
   * Counts a body until its answer was taken or given up. One body alone is always admitted.
   *
   * @throws EmcacheError `overloaded`
   */
  hold(body: Buffer, reply: FastifyReply): void {
    reply.raw.once("close", this.take(body));
  }

  /** Counts a body until the function that is returned is called. @throws EmcacheError `overloaded` */
  take(body: Buffer): () => void {
    const count = this.#holders.get(body) ?? 0;
    if (count === 0) {
      if (this.#bytes > 0 && this.#bytes + body.length > this.#bytesMax) {
        throw new EmcacheError("overloaded", "Clients have not taken the answers that were sent to them before");
      }
      this.#bytes += body.length;
    }
    this.#holders.set(body, count + 1);
    let isHeld = true;
    return () => {
      if (!isHeld) return;
      isHeld = false;
      const left = (this.#holders.get(body) ?? 1) - 1;
      if (left > 0) this.#holders.set(body, left);
      else {
        this.#holders.delete(body);
        this.#bytes -= body.length;
      }
    };
  }
}
