import { EmcacheError } from "@emcache/protocol";
import { type AbstractCursor, type Collection, type Document, MongoClient, MongoServerError } from "mongodb";
import type { SourceConfig } from "../config/config.ts";
import { untilAborted } from "../runtime/until-aborted.ts";
import { classifyMongoError } from "../source/mongo-error.ts";

const TIMEOUT_MS = 60_000;
/** The server ends what takes longer. */
const QUERY_MS_MAX = 30_000;
/** Documents may have 16 MiB each; fewer of these tell as much. */
const BYTES_MAX = 64 * 1024 * 1024;
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
      documents,
      indexes: indexes.flatMap(({ key }) => fieldsOf(key as Document)),
    };
  } catch (error) {
    if (!signal.aborted) throw classifyMongoError(error, sourceName);
    throw new EmcacheError("source_unavailable", `Source ${sourceName} did not answer within ${TIMEOUT_MS / 1000} s`);
  } finally {
    void client.close(true).catch(() => "it ends with the process");
  }
}

async function sample(collection: Collection, count: number): Promise<Buffer[]> {
  const options = { raw: true, maxTimeMS: QUERY_MS_MAX };
  const all = (): Promise<Buffer[]> => gather(collection.find({}, { ...options, limit: count }));
  // Chance may take a document twice, which matters where there are few.
  if ((await collection.estimatedDocumentCount()) <= count) return all();
  try {
    return await gather(collection.aggregate([{ $sample: { size: count } }], options));
  } catch (error) {
    const isUnknown = error instanceof MongoServerError && STAGE_UNKNOWN.includes(Number(error.code));
    if (!isUnknown) throw error;
    return all();
  }
}

/** What a cursor brings as BSON, until it is enough. */
async function gather(cursor: AbstractCursor): Promise<Buffer[]> {
  const documents: Buffer[] = [];
  let bytes = 0;
  for await (const document of cursor) {
    const { buffer, byteOffset, byteLength } = document as Uint8Array<ArrayBuffer>;
    documents.push(Buffer.from(buffer, byteOffset, byteLength));
    bytes += byteLength;
    if (bytes > BYTES_MAX) break;
  }
  return documents;
}

/** Of an index by values; one by hash, text or place is none that SQLite has. */
function fieldsOf(key: Document): string[][] {
  const fields = Object.keys(key);
  const isPlain = Object.values(key).every((direction) => Math.abs(Number(direction)) === 1);
  return !isPlain || fields[0] === "_id" ? [] : [fields];
}
