import type { Socket } from "node:net";
import { runCommand } from "../commands/run-command.ts";
import type { ServerState } from "../server-state.ts";
import { compress } from "./compression.ts";
import { frameCompressed, frameReply, parseMessage, type RequestMessage } from "./message.ts";
import { MessageSplitter } from "./message-splitter.ts";

/** Bytes of a message's header. */
const HEADER_BYTES = 16;

/** Commands that may wait for the one under way; a client that sends more is not read from meanwhile. */
const WAITING_MAX = 16;

/** Serves one client: its commands one after the other, as MongoDB does. */
export class Connection {
  readonly #server: ServerState;
  readonly #listener: number;
  readonly #socket: Socket;
  readonly #closed = new AbortController();
  readonly #waiting: RequestMessage[] = [];
  #isServing = false;
  #replyCount = 0;

  constructor(server: ServerState, listener: number, socket: Socket) {
    this.#server = server;
    this.#listener = listener;
    this.#socket = socket;
    const splitter = new MessageSplitter();
    const forget = server.onCloseConnections(() => socket.destroy());
    socket.setNoDelay(true);
    socket.on("data", (chunk: Buffer) => this.#take(splitter, chunk));
    // A client that goes away is not an error of the server.
    socket.on("error", () => socket.destroy());
    socket.on("close", () => {
      forget();
      this.#closed.abort();
    });
  }

  #take(splitter: MessageSplitter, chunk: Buffer): void {
    try {
      for (const message of splitter.push(chunk)) this.#waiting.push(parseMessage(message));
    } catch (error) {
      this.#server.logger.warn({ event: "bad_message", reason: String(error) }, "what arrived is no message");
      this.#socket.destroy();
      return;
    }
    if (this.#waiting.length > WAITING_MAX) this.#socket.pause();
    if (!this.#isServing) void this.#serve();
  }

  async #serve(): Promise<void> {
    this.#isServing = true;
    const caller = { server: this.#server, listener: this.#listener, signal: this.#closed.signal };
    for (let request = this.#waiting.shift(); request !== undefined; request = this.#waiting.shift()) {
      if (this.#waiting.length === 0) this.#socket.resume();
      const reply = await runCommand(request, caller);
      if (reply === null) this.#socket.destroy();
      else if (!request.isSilent) await this.#send(request, reply);
      if (this.#socket.destroyed) break;
    }
    this.#isServing = false;
  }

  async #send(request: RequestMessage, reply: readonly Buffer[]): Promise<void> {
    let parts = frameReply(request, ++this.#replyCount, reply);
    if (request.compressorId !== null && !request.isLegacy) {
      const plain = Buffer.concat(parts);
      const payload = compress(request.compressorId, plain.subarray(HEADER_BYTES));
      parts = frameCompressed(plain, request.compressorId, payload, plain.length - HEADER_BYTES);
    }
    this.#socket.cork();
    let isDrained = true;
    for (const part of parts) isDrained = this.#socket.write(part);
    this.#socket.uncork();
    if (isDrained || this.#socket.destroyed) return;
    // A slow reader holds its own connection up, not the server's memory.
    const { promise, resolve } = Promise.withResolvers<void>();
    this.#socket.once("drain", resolve).once("close", resolve);
    await promise;
    this.#socket.off("drain", resolve).off("close", resolve);
  }
}
