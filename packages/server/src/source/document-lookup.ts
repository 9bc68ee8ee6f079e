import { type ClusterTime, laterOf, timestampOf } from "./cluster-time.ts";
import type { CursorReply } from "./cursor-reply.ts";
import { idFilter, isExactId } from "./id-filter.ts";
import { RawCursor } from "./raw-cursor.ts";
import { idKeyOf } from "./raw-document.ts";
import type { SourceConnection } from "./source-connection.ts";

/** What a look-up found. */
export interface LookedUp {
  /** Present documents by `idKeyOf`; an id that was asked for and is absent here does not exist. */
  readonly documents: ReadonlyMap<string, Buffer>;
  /** Nothing in `documents` is newer than this (the last reply's `operationTime`). */
  readonly operationTime: ClusterTime;
}

/**
 * Reads the present state of documents: one `find` over their ids, majority-committed, not older than `after`.
 * Null where the documents together are larger than `bytesMax`: ask for fewer.
 *
 * The ids keep their exact BSON types on the way into the filter, so 1 and 1.0 and documents in key order stay so.
 */
export async function lookUpDocuments(
  source: SourceConnection,
  collection: string,
  documentKeys: readonly Buffer[],
  options: { readonly after: ClusterTime | null; readonly bytesMax: number; readonly signal: AbortSignal },
): Promise<LookedUp | null> {
  const { after, bytesMax, signal } = options;
  const command = {
    find: collection,
    filter: idFilter(documentKeys),
    batchSize: documentKeys.length + 1,
    readConcern: { level: "majority", ...(after === null ? {} : { afterClusterTime: timestampOf(after) }) },
  };
  // What else an inexact filter finds is passed over.
  const wanted = documentKeys.every(isExactId) ? null : new Set(documentKeys.map(idKeyOf));
  const documents = new Map<string, Buffer>();
  const { cursor, first } = await RawCursor.open(source, collection, command, signal);
  try {
    let reply: CursorReply = first;
    let operationTime = reply.operationTime;
    let sizeBytes = 0;
    for (;;) {
      sizeBytes += reply.sizeBytes;
      if (sizeBytes > bytesMax && documentKeys.length > 1) return null;
      for (const document of reply.documents) {
        const idKey = idKeyOf(document);
        if (idKey !== null && (wanted === null || wanted.has(idKey))) documents.set(idKey, document);
      }
      if (cursor.isExhausted) return { documents, operationTime };
      reply = await cursor.getMore({ documentsMax: documentKeys.length }, signal);
      operationTime = laterOf(operationTime, reply.operationTime) ?? operationTime;
    }
  } finally {
    await cursor.close();
  }
}
