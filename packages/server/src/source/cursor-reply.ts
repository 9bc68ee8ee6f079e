import { Long, Timestamp } from "mongodb";
import { EmcacheError } from "@emcache/protocol";
import { type ClusterTime, clusterTimeOf } from "./cluster-time.ts";
import { documentsOf, forEachElement, nameOf, valueOf } from "./raw-document.ts";

/** One reply of `find`, `aggregate` or `getMore`, its documents still BSON. */
export interface CursorReply {
  /** The server's cursor; zero once it is exhausted or was closed. */
  readonly cursorId: Long;
  readonly documents: readonly Buffer[];
  /** BSON bytes of `postBatchResumeToken`; null for replies of other cursors than change streams. */
  readonly postBatchResumeToken: Buffer | null;
  /** The server's `operationTime`: nothing in the reply is newer. */
  readonly operationTime: ClusterTime;
  readonly sizeBytes: number;
}

/**
 * Takes apart what the driver returns for a cursor command with `raw: true`: its top level is decoded, the documents
 * in it are bytes. `operationTime` is in every reply of a replica set or mongos (MongoDB manual, "Database Commands:
 * Response").
 */
export function parseCursorReply(reply: Readonly<Record<string, unknown>>): CursorReply {
  const { cursor, operationTime } = reply;
  if (!(cursor instanceof Uint8Array)) throw invalid("`cursor` is missing");
  if (!(operationTime instanceof Timestamp)) throw invalid("`operationTime` is missing");
  const bytes = Buffer.from(cursor.buffer, cursor.byteOffset, cursor.byteLength);
  let cursorId = Long.ZERO;
  let documents: readonly Buffer[] = [];
  let postBatchResumeToken: Buffer | null = null;
  forEachElement(bytes, 0, (element) => {
    switch (nameOf(bytes, element)) {
      case "id":
        cursorId = Long.fromBigInt(bytes.readBigInt64LE(element.valueStart));
        break;
      case "firstBatch":
      case "nextBatch":
        documents = documentsOf(bytes, element);
        break;
      case "postBatchResumeToken":
        postBatchResumeToken = Buffer.from(valueOf(bytes, element));
        break;
    }
  });
  return {
    cursorId,
    documents,
    postBatchResumeToken,
    operationTime: clusterTimeOf(operationTime),
    sizeBytes: bytes.length,
  };
}

function invalid(what: string): EmcacheError {
  return new EmcacheError("source_event_invalid", `A cursor reply of the source is not as expected: ${what}`);
}
