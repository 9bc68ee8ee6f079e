import { request as httpRequest } from "node:http";
import { connect } from "node:net";

/** What came back. */
export interface RawAnswer {
  /** 0: the connection was closed without an answer. */
  readonly status: number;
  readonly body: string;
  readonly ms: number;
}

/** Longer than any limit of the server: what takes so long hangs. */
const DEADLINE_MS = 90_000;

/** Sends a request as it is, without the tidying that `fetch` does. */
export function send(
  url: string,
  method: string,
  path: string,
  headers: Readonly<Record<string, string>> = {},
  body: string | Buffer = "",
): Promise<RawAnswer> {
  const { hostname, port } = new URL(url);
  const begun = performance.now();
  const all = body.length > 0 ? { ...headers, "content-length": String(Buffer.byteLength(body)) } : headers;
  return new Promise((resolve) => {
    const end = (status: number, text: string): void => resolve({ status, body: text, ms: performance.now() - begun });
    const ask = httpRequest({ host: hostname, port, method, path, headers: all, agent: false }, (response) => {
      let text = "";
      response.setEncoding("utf8");
      response.on("data", (part: string) => {
        text += part;
        // A stream has no end: what begins well is enough.
        if (response.headers["content-type"] === "text/event-stream" || text.length > 1_000_000) ask.destroy();
      });
      response.on("close", () => end(response.statusCode ?? 0, text));
    });
    ask.setTimeout(DEADLINE_MS, () => ask.destroy());
    // A server that has answered an oversized body closes the connection while it is still being sent.
    ask.on("error", () => end(0, ""));
    ask.end(body);
  });
}

/** Sends bytes and nothing else, and waits until the server has closed the connection. */
export function sendBytes(url: string, bytes: string | Buffer): Promise<RawAnswer> {
  const { hostname, port } = new URL(url);
  const begun = performance.now();
  return new Promise((resolve) => {
    let text = "";
    const socket = connect(Number(port), hostname, () => socket.write(bytes));
    const timer = setTimeout(() => socket.destroy(), DEADLINE_MS);
    socket.on("data", (data) => {
      text += data.toString("latin1");
      // It was taken for a request, and the server waits for the next one.
      if (/\r\n\r\n/.test(text) && !/connection: close/i.test(text)) socket.end();
    });
    socket.on("error", () => undefined);
    socket.on("close", () => {
      clearTimeout(timer);
      const status = Number(/^HTTP\/1\.1 (\d{3})/.exec(text)?.[1] ?? "0");
      resolve({ status, body: text, ms: performance.now() - begun });
    });
  });
}
