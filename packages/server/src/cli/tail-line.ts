import { jsonArraySlices, jsonObjectSlices } from "@emcache/cache-file";
import type { OplogEntry, Shape } from "@emcache/protocol";

/**
 * An entry of the log as a person reads it: when, position, entity, what, key and the columns that have a value.
 *
 * @param text the entry's JSON; every digit of its numbers is shown
 * @param shapeOf of a version; null where it is not known any more
 */
export function tailLine(text: string, shapeOf: (version: number) => Shape | null): string {
  const slices = jsonObjectSlices(text);
  const { id, operation, doc_id: docId, entity, version, origin, created_at: at } = JSON.parse(text) as OplogEntry;
  const what = operation === "upsert" && origin === "copy" ? "copy" : operation;
  const head = `${at}  ${id}  ${entity}  ${what}`;
  if (operation === "sync_start" || operation === "sync_end") return head;
  const data = slices.get("data") ?? "null";
  return `${head}  ${JSON.stringify(docId)}${data === "null" ? "" : `  ${valuesText(data, shapeOf(version))}`}`;
}

function valuesText(data: string, shape: Shape | null): string {
  if (shape === null) return data;
  return jsonArraySlices(data)
    .flatMap((value, index) => (value === "null" ? [] : [`${shape.columns[index]?.name ?? index}=${value}`]))
    .join(" ");
}
