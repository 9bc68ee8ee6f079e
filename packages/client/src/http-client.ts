import { type IncomingHttpHeaders, type IncomingMessage, Agent as HttpAgent, request as httpRequest } from "node:http";
import { Agent as HttpsAgent, request as httpsRequest } from "node:https";
import { EmcacheError } from "@emcache/protocol";
import { errorOfAnswer } from "./answer-error.ts";

/** A connection on which nothing moves for so long is given up, unless the request says otherwise. */
const SILENCE_MS = 30_000;
const REDIRECTS_MAX = 5;
/** An answer with an error needs no more. */
const ERROR_BYTES_MAX = 64 * 1024;
/** Connections at once: a long poll, and snapshots of some entities. */
const SOCKETS_MAX = 8;

/** Where the server is and who asks. */
export interface HttpClientOptions {
  readonly url: string;
  readonly token?: string | undefined;
  /** Name under which the server keeps the log for this client. */
  readonly consumer?: string | undefined;
}

export interface HttpRequest {
  readonly method?: "GET" | "POST";
  readonly headers?: Readonly<Record<string, string>>;
  readonly signal: AbortSignal;
  /** How long nothing may arrive, in ms. */
  readonly silenceMs?: number;
}

/** An answer whose body is still to be read, or destroyed. */
export interface HttpAnswer {
  readonly status: number;
  readonly headers: IncomingHttpHeaders;
  readonly body: IncomingMessage;
}

/**
 * Requests to one EMCache server, with bodies as they come: `fetch` would decode what a broken download goes on from.
 * Every method throws `server_unreachable` where the network fails, the answer's own error where it is one, and the
 * signal's reason.
 */
export class HttpClient {
  readonly #base: URL;
  readonly #headers: Readonly<Record<string, string>>;
  readonly #http = new HttpAgent({ keepAlive: true, maxSockets: SOCKETS_MAX });
  readonly #https = new HttpsAgent({ keepAlive: true, maxSockets: SOCKETS_MAX });

  constructor({ url, token, consumer }: HttpClientOptions) {
    this.#base = new URL(url.endsWith("/") ? url : `${url}/`);
    this.#headers = {
      ...(token === undefined ? {} : { authorization: `Bearer ${token}` }),
      ...(consumer === undefined ? {} : { "emcache-consumer": consumer }),
    };
  }

  /** @param path relative to the server's URL, without a slash at its begin */
  async open(path: string, request: HttpRequest): Promise<HttpAnswer> {
    let url = new URL(path, this.#base);
    let isOurs = true;
    let told: IncomingHttpHeaders = {};
    for (let redirects = 0; ; redirects += 1) {
      const answer = await this.#send(
        url,
        isOurs ? { ...request, headers: { ...this.#headers, ...request.headers } } : request,
      );
      const { location } = answer.headers;
      // An object storage's answer tells nothing of a snapshot: what the redirect told of it stands.
      if (answer.status < 300 || answer.status === 416) return { ...answer, headers: { ...told, ...answer.headers } };
      if (answer.status >= 400 || location === undefined)
        throw errorOfAnswer(answer, await readBody(answer, ERROR_BYTES_MAX));
      answer.body.resume();
      if (redirects === REDIRECTS_MAX) throw new EmcacheError("answer_invalid", `${path}: too many redirects`);
      url = new URL(location, url);
      // 307: the same request to another process of our server. Any other storage must not learn who we are.
      isOurs &&= answer.status === 307 || url.origin === this.#base.origin;
      told = emcacheHeaders(answer.headers);
    }
  }

  /** The whole body as text. Throws `answer_invalid` beyond `bytesMax`. */
  async text(
    path: string,
    bytesMax: number,
    request: HttpRequest,
  ): Promise<{ headers: IncomingHttpHeaders; text: string }> {
    const answer = await this.open(path, request);
    return { headers: answer.headers, text: await readBody(answer, bytesMax) };
  }

  close(): void {
    this.#http.destroy();
    this.#https.destroy();
  }

  #send(url: URL, { method = "GET", headers, signal, silenceMs = SILENCE_MS }: HttpRequest): Promise<HttpAnswer> {
    const isHttps = url.protocol === "https:";
    return new Promise((resolve, reject) => {
      const send = isHttps ? httpsRequest : httpRequest;
      const agent = isHttps ? this.#https : this.#http;
      const request = send(url, { method, headers: { ...headers }, agent, signal }, (body) => {
        resolve({ status: body.statusCode ?? 0, headers: body.headers, body });
      });
      request.setTimeout(silenceMs, () => request.destroy(new Error(`nothing came for ${silenceMs} ms`)));
      request.on("error", (error) => reject(signal.aborted ? (signal.reason as Error) : unreachable(url, error)));
      request.end();
    });
  }
}

function emcacheHeaders(headers: IncomingHttpHeaders): IncomingHttpHeaders {
  return Object.fromEntries(Object.entries(headers).filter(([name]) => name.startsWith("emcache-")));
}

async function readBody({ body, headers, status }: HttpAnswer, bytesMax: number): Promise<string> {
  const chunks: Buffer[] = [];
  let bytes = 0;
  try {
    for await (const chunk of body as AsyncIterable<Buffer>) {
      bytes += chunk.length;
      if (bytes > bytesMax) {
        body.destroy();
        throw new EmcacheError("answer_invalid", `the answer (${status}) has more than ${bytesMax} bytes`);
      }
      chunks.push(chunk);
    }
  } catch (error) {
    if (error instanceof EmcacheError) throw error;
    throw new EmcacheError("server_unreachable", "the answer was cut off", { cause: error });
  }
  const length = headers["content-length"];
  if (length !== undefined && Number(length) !== bytes) {
    throw new EmcacheError("answer_invalid", `the answer has ${bytes} bytes, announced were ${length}`);
  }
  return Buffer.concat(chunks).toString("utf8");
}

function unreachable(url: URL, cause: Error): EmcacheError {
  return new EmcacheError("server_unreachable", `${url.origin}: ${cause.message || cause.name}`, { cause });
}
