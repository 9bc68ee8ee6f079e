import { isUtf8 } from "node:buffer";
import { BsonError } from "./bson-value.ts";

/**
 * Up to this many bytes a loop that looks for characters in need of an escape is faster than decoding UTF-8 and
 * `JSON.stringify`; well beyond, native code wins.
 */
const SCANNED_BYTES_MAX = 128;

/** Text of the UTF-8 bytes [start, end). Throws `BsonError` where they are not valid UTF-8. */
export function utf8Text(bytes: Buffer, start: number, end: number): string {
  const text = bytes.toString("utf8", start, end);
  // Decoding puts U+FFFD in place of what is invalid; the bytes are looked at again only where one is seen.
  if (text.includes("\ufffd") && !isUtf8(bytes.subarray(start, end)))
    throw new BsonError("text that is not valid UTF-8");
  return text;
}

/** Whether the bytes [start, end) are few and all of them ASCII that JSON needs no escape for. */
export function isPlain(bytes: Buffer, start: number, end: number): boolean {
  if (end - start > SCANNED_BYTES_MAX) return false;
  for (let offset = start; offset < end; offset++) {
    const byte = bytes[offset]!;
    if (byte < 0x20 || byte === 0x22 || byte === 0x5c || byte > 0x7e) return false;
  }
  return true;
}

/** JSON string, quotes included, of the UTF-8 bytes [start, end). Throws `BsonError` where they are not valid UTF-8. */
export function jsonString(bytes: Buffer, start: number, end: number): string {
  if (isPlain(bytes, start, end)) return `"${bytes.toString("latin1", start, end)}"`;
  return JSON.stringify(utf8Text(bytes, start, end));
}
