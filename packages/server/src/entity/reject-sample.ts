import { BSON_TYPE, BSON_TYPE_MISSING } from "./bson-type.ts";
import { BsonError, valueEnd } from "./bson-value.ts";
import { relaxedJson } from "./relaxed-json.ts";

/** Enough to recognise a value, little enough to keep thousands of rejects. */
const SAMPLE_CHARS_MAX = 200;
/** How much of bytes that can't be read is shown, as hex. */
const SAMPLE_BYTES_MAX = 64;

function cut(text: string): string {
  if (text.length <= SAMPLE_CHARS_MAX) return text;
  // Not in the middle of a surrogate pair: PostgreSQL refuses half of one.
  return text.slice(0, SAMPLE_CHARS_MAX).replace(/[\ud800-\udbff]$/, "");
}

/** What an operator sees of a value that was rejected: its relaxed Extended JSON, cut; "" where there was none. */
export function rejectSample(bytes: Buffer, type: number, start: number): string {
  if (type === BSON_TYPE_MISSING) return "";
  try {
    const end = valueEnd(bytes, type, start, bytes.length);
    return cut(relaxedJson(bytes, type, start, end, { charsMax: SAMPLE_CHARS_MAX, lossy: true }));
  } catch (error) {
    if (!(error instanceof BsonError)) throw error;
    return unreadableSample(bytes.subarray(start));
  }
}

/** What an operator sees of a whole document. */
export function documentSample(bytes: Buffer): string {
  return bytes.length < 5 ? unreadableSample(bytes) : rejectSample(bytes, BSON_TYPE.document, 0);
}

function unreadableSample(bytes: Buffer): string {
  const more = bytes.length > SAMPLE_BYTES_MAX ? "…" : "";
  return `bytes ${bytes.toString("hex", 0, SAMPLE_BYTES_MAX)}${more}`;
}
