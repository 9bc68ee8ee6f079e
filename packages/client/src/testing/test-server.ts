import { createServer, type IncomingMessage, type Server, type ServerResponse } from "node:http";
import type { AddressInfo } from "node:net";
import { EmcacheError, toProblem } from "@emcache/protocol";
import { TestLog, type TestRow } from "./test-log.ts";

/** Rows in one answer where the request doesn't say. */
const LIMIT_DEFAULT = 1000;

/** Answers a request itself, or not at all; true if it did. */
export type Fault = (request: IncomingMessage, response: ServerResponse, url: URL) => boolean;

/** A server that speaks the followers' part of EMCache's API over a log in memory. */
export class TestServer {
  readonly log = new TestLog();
  /** Asked before each request. */
  fault: Fault = () => false;
  /** The paths that were asked for, with their queries. */
  readonly requests: string[] = [];
  token: string | null = null;
  lagMs: number | null = 0;
  /** Whether each request for a snapshot gets one of that moment. */
  makesSnapshots = false;
  /** Rows in an answer at most. */
  limitMax = 10_000;
  #server: Server | null = null;
  #port = 0;

  get url(): string {
    return `http://127.0.0.1:${this.#port}`;
  }

  static async start(): Promise<TestServer> {
    const server = new TestServer();
    await server.listen();
    return server;
  }

  /** Listens, at the same port as before. */
  async listen(): Promise<void> {
    const server = createServer((request, response) => {
      void this.#answer(request, response).catch((error: unknown) => {
        if (!response.headersSent) sendError(response, error);
        else response.destroy();
      });
    });
    this.#server = server;
    await new Promise<void>((resolve) => server.listen(this.#port, "127.0.0.1", resolve));
    this.#port = (server.address() as AddressInfo).port;
  }

  async stop(): Promise<void> {
    const server = this.#server;
    if (server === null) return;
    this.#server = null;
    const closed = new Promise((resolve) => server.close(resolve));
    server.closeAllConnections();
    await closed;
  }

  async #answer(request: IncomingMessage, response: ServerResponse): Promise<void> {
    const url = new URL(request.url ?? "/", this.url);
    this.requests.push(`${request.method} ${url.pathname}${url.search}`);
    if (this.fault(request, response, url)) return;
    if (this.token !== null && request.headers.authorization !== `Bearer ${this.token}`) {
      response.writeHead(401).end();
      return;
    }
    const [, , noun, name = ""] = url.pathname.split("/");
    if (noun === "follow") await this.#follow(request, response, url);
    else if (noun === "entities") this.#entity(response, name);
    else if (noun === "snapshots") this.#snapshot(request, response, name, url);
    else throw new EmcacheError("not_found", url.pathname);
  }

  #entity(response: ServerResponse, name: string): void {
    const entity = this.log.entities.get(name);
    if (entity === undefined) throw new EmcacheError("entity_not_found", `no entity ${name}`);
    sendJson(response, { ...entity, state: "live", lag_ms: this.lagMs, position: this.log.head, pending: null });
  }

  #snapshot(request: IncomingMessage, response: ServerResponse, name: string, url: URL): void {
    if (request.method === "POST") {
      this.log.snapshot(name);
      response.writeHead(201, { "content-type": "application/json" }).end("{}");
      return;
    }
    if (this.makesSnapshots) this.log.snapshot(name);
    const snapshot = this.log.snapshots.get(Number(url.searchParams.get("version")));
    if (snapshot === undefined) throw new EmcacheError("snapshot_not_found", `no snapshot of ${name}`);
    const isZstd = /zstd/.test(request.headers["accept-encoding"] ?? "");
    const bytes = isZstd ? snapshot.zstd : snapshot.file;
    const etag = `"${snapshot.sha256}${isZstd ? "-zstd" : ""}"`;
    const { range } = request.headers;
    const isRange = range !== undefined && request.headers["if-range"] === etag;
    const start = isRange ? Number(/bytes=(\d+)-/.exec(range)?.[1]) : 0;
    const isBeyond = start >= bytes.length;
    response.writeHead(isBeyond ? 416 : isRange ? 206 : 200, {
      "emcache-version": snapshot.entity.id,
      "emcache-log-id": snapshot.logId,
      "emcache-position": snapshot.position,
      "emcache-tag": snapshot.tag,
      "emcache-sha256": snapshot.sha256,
      etag,
      ...(isZstd ? { "content-encoding": "zstd" } : {}),
      ...(isRange
        ? { "content-range": `bytes ${isBeyond ? "*" : `${start}-${bytes.length - 1}`}/${bytes.length}` }
        : {}),
      "content-length": isBeyond ? 0 : bytes.length - start,
    });
    response.end(isBeyond ? undefined : bytes.subarray(start));
  }

  async #follow(request: IncomingMessage, response: ServerResponse, { searchParams }: URL): Promise<void> {
    const { log } = this;
    const after = Number(searchParams.get("after"));
    const versions = new Set(searchParams.getAll("versions").map(Number));
    const limit = Math.min(Number(searchParams.get("limit") ?? LIMIT_DEFAULT), this.limitMax);
    this.#requireReadable(searchParams, after, versions);
    const isRetired = (): boolean => [...versions].some((version) => log.states.get(version) === "retired");
    const isReplaced = (): boolean => isOtherHistory(log, searchParams, after);
    const find = (): TestRow[] => log.rows.slice(after).filter(({ version }) => versions.has(version));
    const isOver = (): boolean => find().length > 0 || isRetired() || isReplaced();
    await this.#until(isOver, Number(searchParams.get("wait_ms") ?? 0), request);
    // The log may have been replaced while it was waited for.
    this.#requireReadable(searchParams, after, versions);
    const rows = find().slice(0, limit);
    const position = rows.length === limit ? (rows.at(-1) as TestRow).position : log.head;
    const names = new Map([...log.entities.values()].map(({ id, name }) => [id, name]));
    const entries = rows.map((row) => entryJson(row, names.get(row.version) ?? ""));
    const head = JSON.stringify({
      log_id: log.logId,
      floor: log.floor,
      head: log.head,
      position,
      tag: log.tagAt(position),
      has_more: position < log.head,
      versions: Object.fromEntries([...versions].map((version) => [version, log.states.get(version)])),
    });
    const echo = request.headers["emcache-request"];
    response.setHeader("emcache-request", echo ?? "");
    sendText(response, 200, "application/json", `${head.slice(0, -1)},"entries":[${entries.join(",")}]}`);
  }

  #requireReadable(asked: URLSearchParams, after: number, versions: ReadonlySet<number>): void {
    const { log } = this;
    for (const version of versions) {
      if (!log.states.has(version)) throw new EmcacheError("entity_not_found", `versions: no version ${version}`);
    }
    if (isOtherHistory(log, asked, after)) throw new EmcacheError("history_mismatch", "another history");
    if (after + 1 < log.floor) throw new EmcacheError("position_too_old", "too old", { details: { floor: log.floor } });
  }

  #until(isOver: () => boolean, waitMs: number, request: IncomingMessage): Promise<void> {
    return new Promise((resolve) => {
      const done = (): void => {
        clearTimeout(timer);
        this.log.listeners.delete(look);
        resolve();
      };
      const look = (): void => {
        if (isOver()) done();
      };
      const timer = setTimeout(done, waitMs);
      this.log.listeners.add(look);
      request.once("close", done);
      look();
    });
  }
}

/** Whether the log is not the one that the request follows. */
function isOtherHistory(log: TestLog, asked: URLSearchParams, after: number): boolean {
  return asked.get("log_id") !== log.logId || asked.get("tag") !== log.tagAt(after);
}

function entryJson(row: TestRow, entity: string): string {
  const { position, operation, docId, version, origin, idType, transaction, transactionEnd, data } = row;
  const fields = {
    id: position,
    operation,
    doc_id: docId,
    id_type: idType,
    entity,
    version,
    origin,
    transaction,
    transaction_end: transactionEnd,
    created_at: "2026-01-02T03:04:05.678Z",
  };
  return `${JSON.stringify(fields).slice(0, -1)},"data":${data ?? "null"}}`;
}

function sendJson(response: ServerResponse, body: unknown): void {
  sendText(response, 200, "application/json", JSON.stringify(body));
}

function sendError(response: ServerResponse, error: unknown): void {
  const known = error instanceof EmcacheError ? error : new EmcacheError("internal", String(error));
  const problem = toProblem(known);
  sendText(response, problem.status, "application/problem+json", JSON.stringify(problem));
}

function sendText(response: ServerResponse, status: number, type: string, text: string): void {
  const body = Buffer.from(text);
  response.writeHead(status, { "content-type": type, "content-length": body.length }).end(body);
}
