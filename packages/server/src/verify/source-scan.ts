import { setImmediate } from "node:timers/promises";
import type { Document } from "mongodb";
import { BSON } from "mongodb";
import { type ClusterTime, laterOf, timestampOf } from "../source/cluster-time.ts";
import { RawCursor } from "../source/raw-cursor.ts";
import { idKeyOf } from "../source/raw-document.ts";
import type { SourceConnection } from "../source/source-connection.ts";
import type { CursorReply } from "../source/cursor-reply.ts";
import type { ExpectedRow, ExpectedRows } from "./expected-rows.ts";
import { rowFingerprint } from "./row-fingerprint.ts";

/** Documents a range: each range waits for stream, log and cache once, and holds some 300 bytes a document. */
const RANGE_DOCUMENTS_MAX = 20_000;

/** Documents of one reply: they are mapped at a go, and the event loop waits meanwhile (some ms). */
const REPLY_DOCUMENTS_MAX = 500;

/** What is kept of a document until its range is compared. */
export interface ScannedRow extends Pick<ExpectedRow, "docId" | "idClass" | "documentKey"> {
  readonly fingerprint: string;
}

/** A stretch of the collection. */
export interface SourceRange {
  readonly rows: readonly ScannedRow[];
  /** Documents read; those beyond `rows` are rejects. */
  readonly documents: number;
  /** Nothing in it is newer. Null where nothing was read. */
  readonly time: ClusterTime | null;
  readonly isLast: boolean;
}

/** Reads a collection in the order of `_id`, range by range, on one cursor. */
export class SourceScan {
  readonly #source: SourceConnection;
  readonly #expected: ExpectedRows;
  #cursor: RawCursor | null = null;
  #first: CursorReply | null = null;
  /** `{_id: …}` of the last document read. */
  #last: Buffer | null = null;

  constructor(source: SourceConnection, expected: ExpectedRows) {
    this.#source = source;
    this.#expected = expected;
  }

  /** Opens the cursor, anew where there is one, after the last document that was read. It sees everything up to `after`. */
  async open(after: ClusterTime | null, signal: AbortSignal): Promise<void> {
    await this.close();
    const { collection } = this.#expected.target;
    const { cursor, first } = await RawCursor.open(this.#source, collection, this.#findCommand(after), signal);
    this.#cursor = cursor;
    this.#first = first;
  }

  async next(signal: AbortSignal): Promise<SourceRange> {
    const cursor = this.#cursor;
    const rows: ScannedRow[] = [];
    let documents = 0;
    let time: ClusterTime | null = null;
    if (cursor === null) return { rows, documents, time, isLast: true };
    while (documents < RANGE_DOCUMENTS_MAX) {
      const reply = this.#first ?? (await cursor.getMore({ documentsMax: REPLY_DOCUMENTS_MAX }, signal));
      this.#first = null;
      time = laterOf(time, reply.operationTime);
      documents += this.#take(reply, rows);
      if (cursor.isExhausted) return { rows, documents, time, isLast: true };
      await setImmediate(undefined, { signal });
    }
    return { rows, documents, time, isLast: false };
  }

  async close(): Promise<void> {
    await this.#cursor?.close();
    this.#cursor = null;
    this.#first = null;
  }

  #take(reply: CursorReply, rows: ScannedRow[]): number {
    let documents = 0;
    const lastKey = this.#last === null ? null : idKeyOf(this.#last);
    for (const document of reply.documents) {
      // A re-opened cursor begins with the last document of before.
      if (lastKey !== null && idKeyOf(document) === lastKey) continue;
      documents++;
      const row = this.#expected.of(document);
      if (row === null) continue;
      const { docId, idClass, documentKey, values } = row;
      rows.push({ docId, idClass, documentKey, fingerprint: rowFingerprint(values) });
    }
    const last = reply.documents.at(-1);
    if (last !== undefined) this.#last = Buffer.from(last);
    return documents;
  }

  /** As a copy reads (`copy-run.ts`): `min` goes on in the order of all BSON types. */
  #findCommand(after: ClusterTime | null): Document {
    const { collection, filter } = this.#expected.target;
    const from = this.#last === null ? {} : { min: { _id: idOf(this.#last) }, hint: { _id: 1 } };
    return {
      find: collection,
      filter: filter?.query ?? {},
      sort: { _id: 1 },
      ...from,
      batchSize: REPLY_DOCUMENTS_MAX,
      noCursorTimeout: false,
      readConcern: { level: "majority", ...(after === null ? {} : { afterClusterTime: timestampOf(after) }) },
    };
  }
}

function idOf(document: Buffer): unknown {
  return BSON.deserialize(document, { promoteValues: false, promoteBuffers: false })["_id"];
}
