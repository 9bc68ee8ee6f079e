import { DevMongo } from "@emcache/dev-mongo";
import type { Entity, EntityDefinition } from "@emcache/protocol";
import { type ClientSession, type Db, MongoClient } from "mongodb";
import { pino } from "pino";
import { eventually } from "../../../../../test/support/eventually.ts";
import { ByteBudget } from "../../runtime/byte-budget.ts";
import { ComponentHealth } from "../../runtime/component-health.ts";
import type { CopySettings } from "../copy-scheduler.ts";
import type { MongoSourceOptions } from "../mongo-source.ts";
import { SourceService } from "../source-service.ts";
import { MemoryCaptureLog } from "./memory-capture-log.ts";

const DEADLINE_MS = 30_000;

/** A development server that a test makes go wrong, with a client beside the capture. */
export class TestSource {
  readonly server: DevMongo;
  readonly db: Db;
  readonly #client: MongoClient;

  private constructor(server: DevMongo, client: MongoClient) {
    this.server = server;
    this.#client = client;
    this.db = client.db("shop");
  }

  static async start(options: Parameters<typeof DevMongo.start>[0] = {}): Promise<TestSource> {
    const server = await DevMongo.start(options);
    const client = new MongoClient(server.uri);
    await client.connect();
    return new TestSource(server, client);
  }

  async transaction(work: (session: ClientSession) => Promise<void>): Promise<void> {
    await this.#client.withSession((session) => session.withTransaction(() => work(session)));
  }

  async stop(): Promise<void> {
    await this.#client.close();
    await this.server.stop();
  }
}

/** A whole capture of a `TestSource` into a log in memory. */
export class TestCapture {
  readonly log = new MemoryCaptureLog();
  readonly health = new ComponentHealth("source.main");
  readonly logLines: { readonly event?: string; readonly [field: string]: unknown }[] = [];
  /** Versions that are to be copied anew. */
  requested: number[] = [];
  /** Names of the entities whose copies rest. */
  paused: string[] = [];
  readonly #service: SourceService;

  constructor(
    source: TestSource,
    entities: readonly Entity[],
    {
      copySettings = {},
      mongo = {},
    }: { readonly copySettings?: Partial<CopySettings>; readonly mongo?: Partial<MongoSourceOptions> } = {},
  ) {
    this.log.beforeAppend = async ({ rows }) => {
      for (const { operation, version } of rows) {
        if (operation === "sync_start") this.requested = this.requested.filter((requested) => requested !== version);
      }
    };
    const write = (line: string): void => void this.logLines.push(JSON.parse(line) as { event?: string });
    this.#service = new SourceService({
      mongo: { sourceName: "main", uri: source.server.uri, database: "shop", fullDocument: "lookup", ...mongo },
      takeTurn: async () => ({ log: this.log, lost: new AbortController().signal, release: async () => undefined }),
      entities: { list: () => entities, onChange: () => () => undefined },
      copyRequests: { list: async () => this.requested, paused: async () => this.paused },
      budget: new ByteBudget({ bytesMax: 64 << 20, reservedBytes: 16 << 20 }),
      copySettings: { maxConcurrent: 2, rowsPerSMax: 0, ...copySettings },
      health: this.health,
      logger: pino({ level: "debug" }, { write }),
    });
  }

  start(): Promise<void> {
    return this.#service.start();
  }

  stop(): Promise<void> {
    return this.#service.stop(AbortSignal.timeout(5_000));
  }

  /** Ids in the table that a cache of the version would show. */
  ids(version: number): string[] {
    return [...this.log.table(version).keys()].sort();
  }

  async until(what: string, isTrue: () => boolean): Promise<void> {
    const shown = (): string =>
      `${what}; health ${JSON.stringify(this.health.state())}; copies ${JSON.stringify([...this.log.copies.values()])}; ` +
      this.logLines.map(({ event }) => event).join(", ");
    await eventually(isTrue, DEADLINE_MS, shown);
  }

  async untilState(version: number, state: string): Promise<void> {
    await this.until(`version ${version} is ${state}`, () => this.log.copies.get(version)?.state === state);
  }

  async untilIds(version: number, ids: readonly string[]): Promise<void> {
    await this.until(
      `version ${version} has ${ids.join(", ")}; it has ${this.ids(version).join(", ")}`,
      () => this.ids(version).join() === ids.join(),
    );
  }
}

/** An entity over `source` with one integer column `seq`. */
export function makeSourceEntity(id: number, source: string, more: Partial<EntityDefinition> = {}): Entity {
  return {
    id,
    name: `${source}_${id}`,
    client: "main",
    source,
    created_at: "2026-01-01T00:00:00Z",
    shape: {
      id_column: { path: "$._id", type: "string" },
      columns: [{ name: "seq", type: "integer", path: "$.seq" }],
      indexes: [],
    },
    ...more,
  };
}
