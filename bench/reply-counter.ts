import { once } from "node:events";
import { connect, type Socket } from "node:net";
import { BSON, Long } from "mongodb";

const OP_MSG = 2013;

/** Bytes at a reply's end in which the cursor's id stands: after the documents come only it, times and `ok`. */
const TAIL_BYTES = 4_096;

/**
 * Takes whole replies off a socket without splitting them into documents, so that a server's speed is measured and
 * not a reader's. It knows of a reply only its length and, from its end, the cursor's id.
 */
export class ReplyCounter {
  readonly #socket: Socket;
  #requestId = 0;
  #remaining = 0;
  #head: Buffer = Buffer.alloc(0);
  #tail: Buffer = Buffer.alloc(0);
  #replied: ((tail: Buffer) => void) | null = null;

  private constructor(socket: Socket) {
    this.#socket = socket;
    socket.on("data", (chunk: Buffer) => this.#take(chunk));
  }

  static async connect(uri: string): Promise<ReplyCounter> {
    const { hostname, port } = new URL(uri.replace(/^mongodb:/, "http:"));
    const socket = connect(Number(port), hostname);
    await once(socket, "connect");
    return new ReplyCounter(socket);
  }

  /** Sends a cursor command and returns the cursor's id when its reply is whole; throws where it has none. */
  async cursorCommand(command: BSON.Document): Promise<Long> {
    const { promise, resolve } = Promise.withResolvers<Buffer>();
    this.#replied = resolve;
    const body = BSON.serialize(command);
    const head = Buffer.alloc(21);
    head.writeInt32LE(head.length + body.length, 0);
    head.writeInt32LE(++this.#requestId, 4);
    head.writeInt32LE(OP_MSG, 12);
    this.#socket.write(Buffer.concat([head, body]));
    const tail = await promise;
    const id = tail.lastIndexOf("\u0012id\0", undefined, "latin1");
    if (id < 0) throw new Error(`no cursor in the reply: ${tail.toString("latin1")}`);
    return Long.fromBigInt(tail.readBigInt64LE(id + 4));
  }

  close(): void {
    this.#socket.destroy();
  }

  #take(chunk: Buffer): void {
    let rest = chunk;
    if (this.#remaining === 0) {
      this.#head = Buffer.concat([this.#head, rest]);
      if (this.#head.length < 4) return;
      rest = this.#head;
      this.#remaining = rest.readInt32LE(0);
      this.#head = Buffer.alloc(0);
    }
    this.#remaining -= rest.length;
    this.#tail = rest.length >= TAIL_BYTES ? rest : Buffer.concat([this.#tail.subarray(-TAIL_BYTES), rest]);
    if (this.#remaining === 0) this.#replied?.(this.#tail);
  }
}
