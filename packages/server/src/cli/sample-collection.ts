import { EmcacheError } from "@emcache/protocol";
import { type Collection, type Document, MongoClient, MongoServerError } from "mongodb";
import type { SourceConfig } from "../config/config.ts";
import { untilAborted } from "../runtime/until-aborted.ts";
import { classifyMongoError } from "../source/mongo-error.ts";

const TIMEOUT_MS = 60_000;
/** The server ends what takes longer. */
const QUERY_MS_MAX = 30_000;
const SELECTION_TIMEOUT_MS = 5_000;
/** "Unrecognized pipeline stage", of servers that are not MongoDB. */
const STAGE_UNKNOWN = [40_324, 16_436, 115, 238];

export interface CollectionSample {
  /** BSON. */
  readonly documents: readonly Buffer[];
  /** Fields of each of its indexes but that of `_id`; empty where they may not be seen. */
  readonly indexes: readonly (readonly string[])[];
}

/**
 * Documents of a collection by chance, `count` at most.
 *
 * @throws EmcacheError source_unavailable, source_unauthorized
 */
export async function sampleCollection(
  sourceName: string,
  { uri, database }: SourceConfig,
  collection: string,
  count: number,
): Promise<CollectionSample> {
  const signal = AbortSignal.timeout(TIMEOUT_MS);
  const client = new MongoClient(uri, { appName: "emcache infer", serverSelectionTimeoutMS: SELECTION_TIMEOUT_MS });
  try {
    await untilAborted(client.connect(), signal);
    const asked = client.db(database).collection(collection);
    const documents = await untilAborted(sample(asked, count), signal);
    const indexes = await untilAborted(asked.listIndexes().toArray(), signal).catch(() => []);
    return {
      documents: documents.map((bytes) => Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength)),
      indexes: indexes.flatMap(({ key }) => fieldsOf(key as Document)),
    };
  } catch (error) {
    if (!signal.aborted) throw classifyMongoError(error, sourceName);
    throw new EmcacheError("source_unavailable", `Source ${sourceName} did not answer within ${TIMEOUT_MS / 1000} s`);
  } finally {
    void client.close(true).catch(() => "it ends with the process");
  }
}

async function sample(collection: Collection, count: number): Promise<Uint8Array[]> {
  const options = { raw: true, maxTimeMS: QUERY_MS_MAX };
  const all = async (): Promise<Uint8Array[]> =>
    (await collection.find({}, { ...options, limit: count }).toArray()) as unknown as Uint8Array[];
  // Chance may take a document twice, which matters where there are few.
  if ((await collection.estimatedDocumentCount()) <= count) return all();
  try {
    return (await collection.aggregate([{ $sample: { size: count } }], options).toArray()) as unknown as Uint8Array[];
  } catch (error) {
    const isUnknown = error instanceof MongoServerError && STAGE_UNKNOWN.includes(Number(error.code));
    if (!isUnknown) throw error;
    return all();
  }
}

/** Of an index by values; one by hash, text or place is none that SQLite has. */
function fieldsOf(key: Document): string[][] {
  const fields = Object.keys(key);
  const isPlain = Object.values(key).every((direction) => Math.abs(Number(direction)) === 1);
  return !isPlain || fields[0] === "_id" ? [] : [fields];
}
