import { join } from "node:path";
import { Int32, type Collection } from "mongodb";
import { EmcacheApi, type EntityAnswer, type EntityRequest } from "./emcache-api.ts";
import { type EmcacheOptions, EmcacheProcess } from "./emcache-process.ts";
import { eventually } from "./eventually.ts";
import { type HistoryReport, checkHistory } from "./history-check.ts";
import { type Comparison, compareCache, expectedTable, openCache, readMetadata } from "./oracle.ts";
import type { SecantusServer } from "./secantus.ts";
import { type TestMongo, startKillableMongo, startTestMongo } from "./test-mongo.ts";
import { GENERATION } from "./workload.ts";

export interface TestSystemOptions {
  readonly folder: string;
  readonly settings?: Readonly<Record<string, string | number>>;
  /** Whether the source's acknowledged writes survive a SIGKILL of it. Default false: several times faster. */
  readonly syncOnCommit?: boolean;
  /** What else EMCache is started with: a PostgreSQL of the test's own, an environment. */
  readonly emcache?: Pick<EmcacheOptions, "postgresUri" | "environment">;
}

/** A source, an EMCache that caches it, and the means to judge it. */
export class TestSystem<Mongo extends TestMongo = TestMongo> {
  readonly folder: string;
  readonly mongo: Mongo;
  readonly emcache: EmcacheProcess;
  readonly api: EmcacheApi;
  #fences = 0;

  private constructor(folder: string, mongo: Mongo, emcache: EmcacheProcess) {
    this.folder = folder;
    this.mongo = mongo;
    this.emcache = emcache;
    this.api = new EmcacheApi(() => emcache.address);
  }

  static async start(options: TestSystemOptions): Promise<TestSystem> {
    return TestSystem.startOn(options, await startTestMongo({ syncOnCommit: false, ...options }));
  }

  /** On a source that can be killed, whatever `EMCACHE_TEST_MONGO_URI` says. */
  static async startKillable(
    options: TestSystemOptions,
  ): Promise<TestSystem<TestMongo & { readonly server: SecantusServer }>> {
    return TestSystem.startOn(options, await startKillableMongo({ syncOnCommit: false, ...options }));
  }

  /** On a source that was started already; `dispose` ends it. */
  static async startOn<Mongo extends TestMongo>(
    { folder, settings, emcache: more }: TestSystemOptions,
    mongo: Mongo,
  ): Promise<TestSystem<Mongo>> {
    const sources = { main: { uri: mongo.uri, database: mongo.databaseName } };
    try {
      const emcache = await EmcacheProcess.start({
        folder,
        sources,
        ...(settings === undefined ? {} : { settings }),
        ...more,
      });
      return new TestSystem(folder, mongo, emcache);
    } catch (error) {
      await mongo.stop();
      throw error;
    }
  }

  collection(name: string): Collection {
    return this.mongo.database.collection(name);
  }

  /** The name under which an entity's live cache file is always found. */
  cacheFile(entity: string): string {
    return join(this.emcache.cacheFolder, `${entity}.db`);
  }

  /** Creates an entity and waits until its first copy is served. */
  async create(entity: EntityRequest, deadlineMs = 60_000): Promise<EntityAnswer> {
    await this.api.createEntity(entity);
    return this.api.waitUntilLive(entity.name, deadlineMs);
  }

  /**
   * Writes one more document and waits until it is in the live cache: then everything written before it is too,
   * since the stream has one order. The document's `_id` is a string.
   */
  async fence(entity: EntityRequest, deadlineMs = 30_000): Promise<void> {
    this.#fences += 1;
    const id = `fence-${this.#fences}-${entity.name}`;
    await this.collection(entity.source).insertOne({ _id: id as never, seq: new Int32(GENERATION) });
    await this.waitForRow(entity.name, id, deadlineMs);
  }

  /** Waits until a row of that id is in the entity's cache file, and the file's copy is complete. */
  async waitForRow(entity: string, id: string, deadlineMs: number): Promise<void> {
    await eventually(
      () => {
        const database = openCache(this.cacheFile(entity));
        try {
          const row = database.prepare("SELECT 1 FROM data WHERE id = ?").get(id);
          return row !== undefined && readMetadata(database).mode === "live";
        } finally {
          database.close();
        }
      },
      deadlineMs,
      async () => `row ${id} is in the cache of ${entity}; it shows ${JSON.stringify(await this.#shown(entity))}`,
    );
  }

  /**
   * Fails unless the cache equals what the oracle computes from MongoDB, now that all earlier writes have arrived.
   * Nothing may write to the collection meanwhile.
   */
  async expectEqual(entity: EntityRequest, deadlineMs = 30_000): Promise<Comparison> {
    await this.fence(entity, deadlineMs);
    return this.expectEqualNow(entity);
  }

  /** The same without a fence: for a state that was waited for otherwise. */
  async expectEqualNow(entity: EntityRequest): Promise<Comparison> {
    const comparison = await this.compare(entity);
    if (!comparison.isEqual) throw new Error(`the cache differs from MongoDB: ${comparison.report}`);
    return comparison;
  }

  async compare(entity: EntityRequest): Promise<Comparison> {
    const expected = await expectedTable(this.collection(entity.source), entity);
    return compareCache(this.cacheFile(entity.name), entity, expected);
  }

  /** Fails if the entity's log shows a document going back in time. `seq` is its first column. */
  async expectLinearHistory(entity: string, options: { readonly isGapless?: boolean } = {}): Promise<HistoryReport> {
    const report = await checkHistory(this.api, entity, options);
    if (report.violationCount > 0) {
      throw new Error(`${report.violationCount} violations in ${report.rows} rows:\n${report.violations.join("\n")}`);
    }
    return report;
  }

  async dispose(): Promise<void> {
    await this.emcache.dispose();
    await this.mongo.stop();
  }

  async #shown(entity: string): Promise<unknown> {
    const health = await this.api.health().catch((error: unknown) => String(error));
    const shown = await this.api.entity(entity).catch((error: unknown) => String(error));
    return { health, entity: shown };
  }
}
