import { randomBytes } from "node:crypto";
import { type Db, MongoClient } from "mongodb";
import { DevMongoProcess, type DevMongoProcessOptions } from "./dev-mongo-process.ts";
import { type SecantusOptions, SecantusServer } from "./secantus.ts";

/** A MongoDB database of its own for one test file. */
export interface TestMongo {
  /** URI of the server, as `sources.NAME.uri` wants it. */
  readonly uri: string;
  readonly databaseName: string;
  /** A connection for the test itself; writes are acknowledged by a majority. */
  readonly client: MongoClient;
  readonly database: Db;
  /** The server, where it is ours and may be killed; null with `EMCACHE_TEST_MONGO_URI`. */
  readonly server: SecantusServer | null;
  stop(): Promise<void>;
}

/** A database on the server of `EMCACHE_TEST_MONGO_URI`, else on a SecantusDB started for it. */
export async function startTestMongo(options: SecantusOptions): Promise<TestMongo> {
  const external = process.env["EMCACHE_TEST_MONGO_URI"];
  if (external !== undefined && external !== "") return connectTestMongo(external, null);
  const server = await SecantusServer.start(options);
  return connectTestMongo(server.uri, server);
}

/** The same on a SecantusDB in any case, for tests that kill it or need it to lose its history. */
export async function startKillableMongo(
  options: SecantusOptions,
): Promise<TestMongo & { readonly server: SecantusServer }> {
  const server = await SecantusServer.start(options);
  return { ...(await connectTestMongo(server.uri, server)), server };
}

/** A database on a development server of its own, which can be made to go wrong. */
export async function startDevMongo(
  options: DevMongoProcessOptions,
): Promise<TestMongo & { readonly development: DevMongoProcess }> {
  const development = await DevMongoProcess.start(options);
  const mongo = await connectTestMongo(development.uri, null);
  const stop = async (): Promise<void> => {
    await mongo.client.close();
    await development.stop();
  };
  return { ...mongo, development, stop };
}

async function connectTestMongo(uri: string, server: SecantusServer | null): Promise<TestMongo> {
  const databaseName = `emcache_test_${randomBytes(4).toString("hex")}`;
  const client = new MongoClient(uri, {
    serverSelectionTimeoutMS: 20_000,
    writeConcern: { w: "majority" },
  });
  await client.connect();
  const database = client.db(databaseName);
  return {
    uri,
    databaseName,
    client,
    database,
    server,
    async stop() {
      if (server === null) await database.dropDatabase();
      await client.close();
      await server?.stop();
    },
  };
}
