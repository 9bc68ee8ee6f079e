import { DocumentWriter } from "../bson/document-writer.ts";
import { elementBytes, elementsOf, nameOf } from "../bson/raw-document.ts";

/** Room in a fragment for its token and its number. */
const FRAGMENT_OVERHEAD_BYTES = 1024;

/**
 * Splits an event that is too large for one reply into fragments of whole top-level fields (MongoDB manual,
 * "$changeStreamSplitLargeEvent"): each carries a token of its own and `splitEvent: {fragment, of}`.
 *
 * @param tokenOfFragment the token of fragment `index`, from 0
 * @returns null where a single field is too large
 */
export function splitEvent(
  event: Buffer,
  bytesMax: number,
  tokenOfFragment: (index: number) => string,
): Buffer[] | null {
  const fields = [...elementsOf(event)]
    .filter((element) => nameOf(event, element) !== "_id")
    .map((element) => elementBytes(event, element))
    .sort((a, b) => a.length - b.length);
  const groups: Buffer[][] = [[]];
  let size = FRAGMENT_OVERHEAD_BYTES;
  for (const field of fields) {
    if (field.length + FRAGMENT_OVERHEAD_BYTES > bytesMax) return null;
    if (size + field.length > bytesMax) {
      groups.push([]);
      size = FRAGMENT_OVERHEAD_BYTES;
    }
    groups.at(-1)?.push(field);
    size += field.length;
  }
  return groups.map((group, index) => {
    const writer = new DocumentWriter();
    writer.begin("_id").string("_data", tokenOfFragment(index)).end();
    writer
      .begin("splitEvent")
      .int32("fragment", index + 1)
      .int32("of", groups.length)
      .end();
    for (const field of group) writer.elements(field);
    return writer.finish();
  });
}
