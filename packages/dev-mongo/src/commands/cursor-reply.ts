import { DocumentWriter } from "../bson/document-writer.ts";
import { BSON_TYPE, bodyOf } from "../bson/raw-document.ts";
import type { Batch, Cursor } from "../cursors/cursor.ts";
import type { CommandContext } from "./command.ts";

/** Documents of a first reply where the command does not say how many (MongoDB manual, "Cursor Batches"). */
export const FIRST_BATCH_DOCUMENTS = 101;

/** The answer of a command that opens a cursor: registers it unless its first batch is all. */
export function openingReply(context: CommandContext, cursor: Cursor, batch: Batch, isSingle: boolean): Buffer {
  countReturned(context, cursor, batch);
  if (isSingle) cursor.close();
  const id = isSingle ? 0n : context.server.cursors.add(cursor, context.listener, context.sessionKey);
  return cursorReply("firstBatch", batch, id, cursor.namespace);
}

/** For `serverStatus`. */
export function countReturned({ server }: CommandContext, cursor: Cursor, batch: Batch): void {
  server.returned[cursor.isAwaiting ? "events" : "documents"] += batch.documents.length;
}

/** `{cursor: {firstBatch | nextBatch, postBatchResumeToken?, id, ns}}` as BSON elements; documents are copied once. */
export function cursorReply(batchName: string, batch: Batch, id: bigint, namespace: string): Buffer {
  const tail = new DocumentWriter();
  if (batch.token !== null) tail.begin("postBatchResumeToken").string("_data", batch.token).end();
  const tailBody = bodyOf(tail.int64("id", id).string("ns", namespace).finish());
  const { documents } = batch;
  let arrayBytes = 5 + nameBytes(documents.length);
  for (const document of documents) arrayBytes += document.length;
  // type, name, NUL
  const head = 2 + batchName.length;
  const cursorBytes = 4 + head + arrayBytes + tailBody.length + 1;
  const bytes = Buffer.allocUnsafe(8 + cursorBytes);
  bytes[0] = BSON_TYPE.document;
  bytes.write("cursor\0", 1, "latin1");
  let at = bytes.writeInt32LE(cursorBytes, 8);
  bytes[at++] = BSON_TYPE.array;
  at += bytes.write(`${batchName}\0`, at, "latin1");
  at = bytes.writeInt32LE(arrayBytes, at);
  at = writeDocuments(bytes, at, documents);
  bytes[at++] = 0;
  at += tailBody.copy(bytes, at);
  bytes[at] = 0;
  return bytes;
}

/** Type byte, decimal index and NUL of all elements. */
function nameBytes(count: number): number {
  let size = count * 3;
  for (let power = 10; power < count; power *= 10) size += count - power;
  return size;
}

function writeDocuments(bytes: Buffer, start: number, documents: readonly Buffer[]): number {
  let at = start;
  for (let index = 0; index < documents.length; index++) {
    const document = documents[index];
    if (document === undefined) continue;
    bytes[at++] = BSON_TYPE.document;
    at = writeIndex(bytes, at, index);
    bytes[at++] = 0;
    bytes.set(document, at);
    at += document.length;
  }
  return at;
}

function writeIndex(bytes: Buffer, start: number, index: number): number {
  if (index < 10) {
    bytes[start] = 0x30 + index;
    return start + 1;
  }
  let digits = 1;
  for (let rest = index; rest >= 10; rest = Math.floor(rest / 10)) digits++;
  let rest = index;
  for (let place = start + digits - 1; place >= start; place--) {
    bytes[place] = 0x30 + (rest % 10);
    rest = Math.floor(rest / 10);
  }
  return start + digits;
}
