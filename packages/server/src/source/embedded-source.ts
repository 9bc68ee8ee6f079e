import type { DevMongo } from "@emcache/dev-mongo";
import { EmcacheError } from "@emcache/protocol";
import { freePort } from "../runtime/free-port.ts";
import type { Logger } from "../runtime/logger.ts";
import type { Service } from "../runtime/service.ts";

const HOST = "127.0.0.1";
/** The first one tried: so that a program that writes to it finds it at the same place after a restart. */
const PORT_FIRST = 27_117;
/** It lives in this process's memory, whose capture reads it at once: minutes of a busy demo. */
const OPLOG_BYTES_MAX = 32 * 1024 * 1024;

/**
 * The server behind `sources.NAME.uri = "embedded"`: our own development server, in memory and in this process, with
 * one database a source. After a restart it is empty, and has no history: its entities are copied anew.
 */
export class EmbeddedSource implements Service {
  readonly name = "embedded-source";
  readonly description = "embedded development server (in memory; it is not MongoDB)";
  readonly #logger: Logger;
  #server: DevMongo | null = null;

  constructor(logger: Logger) {
    this.#logger = logger;
  }

  /** @throws EmcacheError `source_unavailable` before it has started */
  get uri(): string {
    if (this.#server === null) throw new EmcacheError("source_unavailable", "The embedded source has not started");
    return this.#server.uri;
  }

  async start(): Promise<void> {
    // Loaded where it is wanted: it brings a query language that a real source doesn't need here.
    const { DevMongo } = await import("@emcache/dev-mongo");
    this.#server = await DevMongo.start({
      host: HOST,
      port: await freePort(HOST, PORT_FIRST),
      oplogBytesMax: OPLOG_BYTES_MAX,
    });
    this.#logger.warn(
      { event: "embedded_source_started", uri: this.#server.uri },
      `the embedded source is a development server in memory, not MongoDB: ${this.#server.uri}`,
    );
  }

  async stop(): Promise<void> {
    await this.#server?.stop();
    this.#server = null;
  }
}
