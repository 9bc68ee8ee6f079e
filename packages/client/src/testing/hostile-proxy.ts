import {
  createServer,
  type IncomingMessage,
  request as httpRequest,
  type Server,
  type ServerResponse,
} from "node:http";
import type { AddressInfo } from "node:net";
import { setTimeout as pause } from "node:timers/promises";
import { SeededRandom } from "../../../../test/support/seeded-random.ts";

/** What the proxy can do to an answer. */
export const HOSTILITIES = [
  "repeat",
  "reorder",
  "truncate",
  "cut",
  "garble",
  "delay",
  "409",
  "410",
  "429",
  "500",
  "503",
] as const;
export type Hostility = (typeof HOSTILITIES)[number];

interface Answer {
  readonly status: number;
  readonly headers: IncomingMessage["headers"];
  readonly body: Buffer;
}

/** A proxy before a server that does the worst to a share of the answers: each kind as often as the others. */
export class HostileProxy {
  readonly done = new Map<Hostility, number>();
  /** Share of answers that it spoils. */
  share = 0.5;
  kinds: readonly Hostility[] = HOSTILITIES;
  readonly #target: string;
  readonly #random: SeededRandom;
  /** Former good answers of the log, to be repeated. */
  readonly #former: Answer[] = [];
  #server: Server | null = null;
  #port = 0;

  private constructor(target: string, seed: number) {
    this.#target = target;
    this.#random = new SeededRandom(seed);
  }

  static async start(target: string, seed: number): Promise<HostileProxy> {
    const proxy = new HostileProxy(target, seed);
    const server = createServer((request, response) => {
      void proxy.#pass(request, response).catch(() => response.destroy());
    });
    await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
    proxy.#server = server;
    proxy.#port = (server.address() as AddressInfo).port;
    return proxy;
  }

  get url(): string {
    return `http://127.0.0.1:${this.#port}`;
  }

  async stop(): Promise<void> {
    const server = this.#server;
    if (server === null) return;
    const closed = new Promise((resolve) => server.close(resolve));
    server.closeAllConnections();
    await closed;
  }

  async #pass(request: IncomingMessage, response: ServerResponse): Promise<void> {
    const kind = this.#random.next() < this.share ? this.#random.pick(this.kinds) : null;
    if (kind !== null) this.done.set(kind, (this.done.get(kind) ?? 0) + 1);
    if (kind !== null && /^\d/.test(kind)) {
      response.writeHead(Number(kind), kind === "429" ? { "retry-after": "0" } : {}).end("{}");
      return;
    }
    const answer = await ask(new URL(request.url ?? "/", this.#target), request);
    const isLog = request.url?.startsWith("/api/follow") === true && answer.status === 200;
    if (isLog && (this.#former.length < 100 || this.#random.next() < 0.1)) this.#former.push(answer);
    if (kind === "delay") await pause(this.#random.integer(1, 100));
    this.#send(response, kind, answer, isLog);
  }

  #send(response: ServerResponse, kind: Hostility | null, answer: Answer, isLog: boolean): void {
    const { status, headers, body } = answer;
    if (kind === "repeat" && isLog) return sendAll(response, this.#former.at(-2) ?? answer);
    if (kind === "reorder" && isLog) return sendAll(response, this.#random.pick(this.#former));
    if (kind === "truncate") {
      // As if that were all.
      const part = body.subarray(0, this.#random.integer(0, body.length));
      return sendAll(response, { status, headers: { ...headers, "content-length": String(part.length) }, body: part });
    }
    if (kind === "cut") {
      response.writeHead(status, headers);
      response.write(body.subarray(0, Math.floor(body.length / 2)), () => response.destroy());
      return;
    }
    if (kind === "garble" && body.length > 0 && !isLog) {
      const spoilt = Buffer.from(body);
      const at = this.#random.integer(0, body.length - 1);
      spoilt[at] = (spoilt[at] as number) ^ 255;
      return sendAll(response, { status, headers, body: spoilt });
    }
    sendAll(response, answer);
  }
}

function sendAll(response: ServerResponse, { status, headers, body }: Answer): void {
  response.writeHead(status, headers).end(body);
}

function ask(url: URL, { method, headers }: IncomingMessage): Promise<Answer> {
  return new Promise((resolve, reject) => {
    const { host: _host, connection: _connection, ...passed } = headers;
    const request = httpRequest(url, { method, headers: passed, agent: false }, (response) => {
      const chunks: Buffer[] = [];
      response.on("data", (chunk: Buffer) => chunks.push(chunk));
      response.on("error", reject);
      response.on("end", () => {
        const { connection: _one, "keep-alive": _two, "transfer-encoding": _three, ...rest } = response.headers;
        resolve({ status: response.statusCode ?? 0, headers: rest, body: Buffer.concat(chunks) });
      });
    });
    request.on("error", reject);
    request.end();
  });
}
