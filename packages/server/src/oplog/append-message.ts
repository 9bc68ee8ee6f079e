import { createHash } from "node:crypto";
import type { CaptureBatch } from "../source/capture-log.ts";
import type { LogRow, Reject } from "../source/log-row.ts";
import { OPERATION_CODES, ORIGIN_CODES } from "./row-codes.ts";
import { copyField, sqlLiteral } from "./sql-text.ts";
import { toStoredText } from "./stored-text.ts";

/** What identifies one append: repeated with the same values it can't happen twice. */
export interface AppendIdentity {
  readonly source: string;
  readonly epoch: number;
  /** One more than the source's last append. */
  readonly number: number;
  /** Random. */
  readonly tag: string;
}

/** Rejects of a version that one append tells one by one: a few appends fill what is kept of them. */
const APPEND_REJECTS_MAX = 200;

const ROW_COLUMNS = "batch_id, number, version, id_type, operation, origin, transaction_end, doc_id, transaction, data";

/** Text of the COPY that takes the chunks of `copyChunks`. */
export const COPY_ROWS = `COPY emcache.oplog (${ROW_COLUMNS}) FROM STDIN`;

/** A string this long is sent as one chunk: large enough to be few, small enough not to be noticed in memory. */
const COPY_CHUNK_LENGTH = 256 * 1024;

/** The batch's rows in COPY's text format. */
export function* copyChunks(batchId: string, rows: readonly LogRow[]): Generator<Buffer> {
  let text = "";
  for (const [number, row] of rows.entries()) {
    text +=
      `${batchId}\t${number}\t${row.version}\t${row.idType}\t${OPERATION_CODES[row.operation]}\t` +
      `${ORIGIN_CODES[row.origin]}\t${row.transactionEnd ? "t" : "f"}\t${copyField(toStoredText(row.docId))}\t` +
      `${copyField(row.transaction === null ? null : toStoredText(row.transaction))}\t${copyField(row.data)}\n`;
    if (text.length >= COPY_CHUNK_LENGTH) {
      yield Buffer.from(text);
      text = "";
    }
  }
  if (text !== "") yield Buffer.from(text);
}

/** One statement that takes a fresh batch id and inserts the rows; to be followed by `sealStatement(null, …)`. */
export function insertStatement(rows: readonly LogRow[]): string {
  const values = rows.map(
    (row, number) =>
      `(${number},${row.version},${row.idType},'${OPERATION_CODES[row.operation]}','${ORIGIN_CODES[row.origin]}',` +
      `${row.transactionEnd ? "true" : "false"},${sqlLiteral(toStoredText(row.docId))},` +
      `${row.transaction === null ? "NULL" : sqlLiteral(toStoredText(row.transaction))},` +
      `${row.data === null ? "NULL" : sqlLiteral(row.data)})`,
  );
  return (
    // Materialized: the sequence is asked once, not once a row.
    `WITH b AS MATERIALIZED (SELECT nextval('emcache.batch_id') AS id) ` +
    `INSERT INTO emcache.oplog (${ROW_COLUMNS}) SELECT b.id, v.number, v.version, v.id_type, v.operation::"char", v.origin::"char", v.transaction_end, ` +
    `v.doc_id, v.transaction::text, v.data::text ` +
    `FROM b, (VALUES ${values.join(",")}) AS v(number, version, id_type, operation, origin, transaction_end, doc_id, transaction, data)`
  );
}

/** The statement that gives the rows their positions. `batchId` null: the one that this session took last. */
export function sealStatement(batchId: string | null, identity: AppendIdentity, batch: CaptureBatch): string {
  const id = batchId ?? (batch.rows.length > 0 ? "currval('emcache.batch_id')" : "0");
  return `SELECT sealed_position AS first_position, previous_tag, sealed_log_id AS log_id, sealed_at AS created_at FROM emcache.seal(${id}, ${sqlLiteral(JSON.stringify(sealArgument(identity, batch)))})`;
}

/** What `emcache.seal` reads. A field that is absent changes nothing. */
function sealArgument(identity: AppendIdentity, batch: CaptureBatch): Record<string, unknown> {
  const versions = new Set<number>();
  const starts = new Map<number, number>();
  const ends = new Map<number, number>();
  for (const [number, row] of batch.rows.entries()) {
    versions.add(row.version);
    if (row.operation === "sync_start") starts.set(row.version, number);
    else if (row.operation === "sync_end") ends.set(row.version, number);
  }
  const { checkpoint, copies, rejects } = batch;
  return {
    ...identity,
    rowCount: batch.rows.length,
    versions: [...versions],
    ...(starts.size > 0 ? { syncStarts: bracketList(starts) } : {}),
    ...(ends.size > 0 ? { syncEnds: bracketList(ends) } : {}),
    ...(checkpoint === null
      ? {}
      : {
          checkpoint: {
            resumeToken: hexOf(checkpoint.resumeToken),
            clusterTime: signedText(checkpoint.clusterTime),
            lookupHorizon: signedText(checkpoint.lookupHorizon),
          },
        }),
    // A version has one copy: the last state given counts.
    ...(copies.length > 0
      ? {
          copies: [...new Map(copies.map((copy) => [copy.version, copy])).values()].map((copy) => ({
            ...copy,
            copyId: toStoredText(copy.copyId),
            lastId: hexOf(copy.lastId),
          })),
        }
      : {}),
    ...(rejects.length > 0 ? { rejects: rejectList(rejects, APPEND_REJECTS_MAX) } : {}),
  };
}

/** Rejects as `emcache.add_rejects` reads them: of each version the first `oneByOneMax`, and how many more there are. */
export function rejectList(rejects: readonly Reject[], oneByOneMax: number): Record<string, unknown>[] {
  const list: Record<string, unknown>[] = [];
  for (const [version, group] of Map.groupBy(rejects, (reject) => reject.version)) {
    // One a document and column, the last of each.
    const distinct = new Map(group.map((reject) => [rejectKey(reject), reject]));
    for (const [key, reject] of [...distinct].slice(0, oneByOneMax)) {
      list.push({
        version,
        key: createHash("sha256").update(key).digest("base64"),
        doc_id: toStoredText(reject.docId),
        column_name: reject.column === null ? null : toStoredText(reject.column),
        reason: toStoredText(reject.reason),
        sample: toStoredText(reject.sample),
      });
    }
    if (distinct.size > oneByOneMax) list.push({ version, more: distinct.size - oneByOneMax });
  }
  return list;
}

/** Documents whose key can't be mapped have no id to tell them apart; what was seen of each does. */
function rejectKey({ docId, column, sample }: Reject): string {
  return JSON.stringify([docId, column, docId === "" ? sample : null]);
}

function bracketList(brackets: ReadonlyMap<number, number>): { version: number; number: number }[] {
  return [...brackets].map(([version, number]) => ({ version, number }));
}

function hexOf(bytes: Uint8Array | null): string | null {
  return bytes === null ? null : Buffer.from(bytes).toString("hex");
}

/** PostgreSQL has no unsigned 64-bit integer: the same bits, signed. */
function signedText(time: bigint | null): string | null {
  return time === null ? null : BigInt.asIntN(64, time).toString();
}

/** The unsigned number whose bits `signedText` stored. */
export function unsignedTime(stored: string | null): bigint | null {
  return stored === null ? null : BigInt.asUintN(64, BigInt(stored));
}
