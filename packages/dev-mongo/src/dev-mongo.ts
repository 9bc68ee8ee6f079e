import { type AddressInfo, createServer, type Server } from "node:net";
import type { FaultInjector } from "./faults/fault-injector.ts";
import { type DevMongoLogger, silentLogger } from "./logger.ts";
import { ServerState, type Topology } from "./server-state.ts";
import { Connection } from "./wire/connection.ts";

/** How a development server is started. */
export interface DevMongoOptions {
  /** Default 127.0.0.1: it has no authentication. */
  readonly host?: string;
  /** Default 0: any free one. */
  readonly port?: number;
  /** Bytes of change history that are kept; older is lost as in a small oplog. Default 256 MiB. */
  readonly oplogBytesMax?: number;
  /** Entries of change history that are kept. Default 1,000,000. */
  readonly oplogEntriesMax?: number;
  /** How often time goes on while nothing is written, so that resume tokens advance. Default 1,000; 0 for never. */
  readonly noopIntervalMs?: number;
  /** A change event larger than this is split, or an error. Default 16 MiB, as MongoDB's. */
  readonly eventBytesMax?: number;
  /** Poses as an older server: below 21 (MongoDB 7.0) it refuses to split events. Default 25, MongoDB 8.0's. */
  readonly wireVersion?: number;
  /** Two or more: poses as so many mongos of a sharded cluster. Default: one primary of a replica set. */
  readonly mongosCount?: number;
  /** The name by which it tells clients to find it, as a set in a container does that is reached by another. Default: `host`. */
  readonly advertisedHost?: string;
  /** Poses as a server without a replica set, which has no change streams. Default false. */
  readonly standalone?: boolean;
  readonly logger?: DevMongoLogger;
}

const OPLOG_BYTES_MAX = 256 * 1024 * 1024;
const OPLOG_ENTRIES_MAX = 1_000_000;
const NOOP_INTERVAL_MS = 1_000;
/** MongoDB's limit of a document inside the server: 16 MiB and 16 KiB. */
const EVENT_BYTES_MAX = 16 * 1024 * 1024 + 16 * 1024;
const WIRE_VERSION = 25;

/**
 * A server for development, demos and tests that speaks MongoDB's wire protocol, with change streams, in memory only.
 * It is not MongoDB, has no authentication, and forgets everything when it stops.
 */
export class DevMongo {
  readonly #state: ServerState;
  readonly #servers: readonly Server[];
  readonly #noop: NodeJS.Timeout | null;
  /** `host:port` of each listener. */
  readonly #addresses: readonly string[];

  private constructor(state: ServerState, servers: readonly Server[], host: string, noopIntervalMs: number) {
    this.#state = state;
    this.#addresses = addressesOf(servers, host);
    this.#servers = servers;
    this.#noop = noopIntervalMs > 0 ? setInterval(() => passTime(state), noopIntervalMs) : null;
    this.#noop?.unref();
  }

  /** Starts one and resolves when it listens. Rejects with the system's error where the port is taken. */
  static async start(options: DevMongoOptions = {}): Promise<DevMongo> {
    const topology = topologyOf(options);
    const logger = options.logger ?? silentLogger;
    const state = new ServerState({
      limits: {
        bytesMax: options.oplogBytesMax ?? OPLOG_BYTES_MAX,
        entriesMax: options.oplogEntriesMax ?? OPLOG_ENTRIES_MAX,
      },
      topology,
      eventBytesMax: options.eventBytesMax ?? EVENT_BYTES_MAX,
      wireVersion: options.wireVersion ?? WIRE_VERSION,
      logger,
    });
    const host = options.host ?? "127.0.0.1";
    const servers: Server[] = [];
    for (let listener = 0; listener < (options.mongosCount ?? 1); listener++) {
      servers.push(await listen(state, listener, host, listener === 0 ? (options.port ?? 0) : 0));
    }
    state.hosts = addressesOf(servers, options.advertisedHost ?? host);
    const development = new DevMongo(state, servers, host, options.noopIntervalMs ?? NOOP_INTERVAL_MS);
    logger.warn(
      { event: "dev_mongo_started", uri: development.uri },
      "this is a development server in memory, not MongoDB: it keeps nothing and asks for no password",
    );
    return development;
  }

  /** What a driver connects to. */
  get uri(): string {
    const suffix = this.#state.topology === "replicaSet" ? "/?replicaSet=dev" : "/";
    return `mongodb://${this.#addresses.join(",")}${suffix}`;
  }

  /** Makes it go wrong, for tests. */
  get faults(): FaultInjector {
    return this.#state.faults;
  }

  /** Closes every connection and forgets everything. */
  async stop(): Promise<void> {
    if (this.#noop !== null) clearInterval(this.#noop);
    this.#state.stop();
    const closed = this.#servers.map((server) => new Promise<void>((resolve) => server.close(() => resolve())));
    this.#state.closeConnections();
    await Promise.all(closed);
  }
}

function addressesOf(servers: readonly Server[], host: string): string[] {
  return servers.map((server) => `${host}:${(server.address() as AddressInfo).port}`);
}

function topologyOf({ mongosCount, standalone = false }: DevMongoOptions): Topology {
  if (standalone) return "standalone";
  return mongosCount === undefined ? "replicaSet" : "sharded";
}

async function listen(state: ServerState, listener: number, host: string, port: number): Promise<Server> {
  const server = createServer((socket) => new Connection(state, listener, socket));
  const { promise, resolve, reject } = Promise.withResolvers<void>();
  server.once("error", reject);
  server.listen(port, host, resolve);
  await promise;
  server.off("error", reject);
  return server;
}

/** The no-op that a primary writes now and then: quiet streams see it as a newer token. */
function passTime(state: ServerState): void {
  state.sweep();
  state.store.clock.tick();
  state.store.oplog.wake();
}
