import { BSON_TYPE } from "./bson-type.ts";
import { BsonError, cstringEnd, doubleAt, int32At, valueEnd } from "./bson-value.ts";
import { isPlain, jsonString } from "./json-string.ts";
import { decimal128Text, doubleText, int64Text, realText } from "./number-text.ts";
import { dateMs, isoText, YEAR_10000_MS } from "./plain-text.ts";

/** MongoDB nests at most 180 levels; the bound keeps hostile bytes from exhausting the stack. */
const DEPTH_MAX = 250;
/** A slice keeps the text that it was cut from alive: not worth it for large values. */
const SLICED_BYTES_MAX = 65_536;

export interface RelaxedJsonOptions {
  /** Stop once the text is longer than this; it is then an incomplete beginning. */
  readonly charsMax?: number;
  /** Put U+FFFD in place of invalid UTF-8 instead of throwing. For samples that people read. */
  readonly lossy?: boolean;
  /** Print integral doubles as integers (`1`, not `1.0`), so that documents that MongoDB holds equal print the same. */
  readonly integralDoublesPlain?: boolean;
}

/** Why writing stopped early; private to this file. */
class TextFull extends Error {}

class RelaxedJsonWriter {
  text = "";
  readonly #bytes: Buffer;
  /** All bytes of the value as characters, so that its many short strings are slices and not calls into native code. */
  readonly #ascii: string | null;
  readonly #asciiStart: number;
  readonly #charsMax: number;
  readonly #lossy: boolean;
  readonly #integralDoublesPlain: boolean;

  constructor(bytes: Buffer, start: number, end: number, options: RelaxedJsonOptions) {
    this.#bytes = bytes;
    this.#ascii = end - start <= SLICED_BYTES_MAX ? bytes.toString("latin1", start, end) : null;
    this.#asciiStart = start;
    this.#charsMax = options.charsMax ?? Infinity;
    this.#lossy = options.lossy ?? false;
    this.#integralDoublesPlain = options.integralDoublesPlain ?? false;
  }

  value(type: number, start: number, end: number, depth: number): void {
    if (this.text.length > this.#charsMax) throw new TextFull();
    const bytes = this.#bytes;
    switch (type) {
      case BSON_TYPE.string:
        this.text += this.#sizedString(start);
        break;
      case BSON_TYPE.document:
        this.#container(start, end, depth, "{", "}");
        break;
      case BSON_TYPE.array:
        this.#container(start, end, depth, "[", "]");
        break;
      case BSON_TYPE.int32:
        this.text += int32At(bytes, start);
        break;
      case BSON_TYPE.int64:
        this.text += int64Text(bytes, start);
        break;
      case BSON_TYPE.double:
        this.text += this.#double(doubleAt(bytes, start));
        break;
      case BSON_TYPE.bool:
        this.text += bytes[start] === 0 ? "false" : "true";
        break;
      case BSON_TYPE.null:
        this.text += "null";
        break;
      case BSON_TYPE.objectId:
        this.text += `{"$oid":"${bytes.toString("hex", start, start + 12)}"}`;
        break;
      case BSON_TYPE.date:
        this.text += `{"$date":${this.#date(start)}}`;
        break;
      default:
        this.#rareValue(type, start, end, depth);
    }
  }

  #rareValue(type: number, start: number, end: number, depth: number): void {
    const bytes = this.#bytes;
    switch (type) {
      case BSON_TYPE.decimal128:
        this.text += `{"$numberDecimal":"${decimal128Text(bytes, start)}"}`;
        break;
      case BSON_TYPE.binary:
        this.text += `{"$binary":${this.#binary(start)}}`;
        break;
      case BSON_TYPE.undefined:
        this.text += `{"$undefined":true}`;
        break;
      case BSON_TYPE.minKey:
        this.text += `{"$minKey":1}`;
        break;
      case BSON_TYPE.maxKey:
        this.text += `{"$maxKey":1}`;
        break;
      case BSON_TYPE.timestamp:
        this.text += `{"$timestamp":{"t":${int32At(bytes, start + 4) >>> 0},"i":${int32At(bytes, start) >>> 0}}}`;
        break;
      case BSON_TYPE.regex: {
        const optionsStart = cstringEnd(bytes, start, end);
        const pattern = this.#string(start, optionsStart - 1);
        this.text += `{"$regularExpression":{"pattern":${pattern},"options":${this.#string(optionsStart, end - 1)}}}`;
        break;
      }
      case BSON_TYPE.dbPointer: {
        const id = bytes.toString("hex", end - 12, end);
        this.text += `{"$dbPointer":{"$ref":${this.#sizedString(start)},"$id":{"$oid":"${id}"}}}`;
        break;
      }
      case BSON_TYPE.code:
        this.text += `{"$code":${this.#sizedString(start)}}`;
        break;
      case BSON_TYPE.symbol:
        this.text += `{"$symbol":${this.#sizedString(start)}}`;
        break;
      case BSON_TYPE.codeWithScope: {
        const scopeStart = valueEnd(bytes, BSON_TYPE.string, start + 4, end);
        this.text += `{"$code":${this.#sizedString(start + 4)},"$scope":`;
        this.value(BSON_TYPE.document, scopeStart, end, depth + 1);
        this.text += "}";
        break;
      }
      default:
        throw new BsonError(`malformed BSON: unknown type 0x${type.toString(16)}`);
    }
  }

  #container(start: number, limit: number, depth: number, open: string, close: string): void {
    if (depth >= DEPTH_MAX) throw new BsonError(`nested deeper than ${DEPTH_MAX} levels`);
    const bytes = this.#bytes;
    const last = valueEnd(bytes, BSON_TYPE.document, start, limit) - 1;
    let offset = start + 4;
    let separator = open;
    while (offset < last) {
      const type = bytes[offset]!;
      const nameStart = offset + 1;
      const valueStart = cstringEnd(bytes, nameStart, last);
      offset = valueEnd(bytes, type, valueStart, last);
      this.text += open === "{" ? `${separator}${this.#string(nameStart, valueStart - 1)}:` : separator;
      this.value(type, valueStart, offset, depth + 1);
      separator = ",";
    }
    this.text += separator === open ? open + close : close;
  }

  #sizedString(start: number): string {
    return this.#string(start + 4, start + 3 + int32At(this.#bytes, start));
  }

  #string(start: number, end: number): string {
    if (this.#ascii !== null && isPlain(this.#bytes, start, end)) {
      return `"${this.#ascii.slice(start - this.#asciiStart, end - this.#asciiStart)}"`;
    }
    if (!this.#lossy) return jsonString(this.#bytes, start, end);
    // A sample needs no more than its beginning; 4 bytes a character at most.
    return JSON.stringify(this.#bytes.toString("utf8", start, Math.min(end, start + 4 * this.#charsMax)));
  }

  #double(value: number): string {
    if (!Number.isFinite(value)) return `{"$numberDouble":"${value}"}`;
    return this.#integralDoublesPlain ? doubleText(value === 0 ? 0 : value) : realText(value);
  }

  /** The years 1970 to 9999 as ISO 8601 without a fraction of zero, others as milliseconds. */
  #date(start: number): string {
    const ms = dateMs(this.#bytes, start);
    if (ms === null || ms < 0 || ms >= YEAR_10000_MS) return `{"$numberLong":"${int64Text(this.#bytes, start)}"}`;
    const text = isoText(ms);
    return ms % 1000 === 0 ? `"${text.slice(0, 19)}Z"` : `"${text}"`;
  }

  #binary(start: number): string {
    const bytes = this.#bytes;
    const subType = bytes[start + 4]!;
    let dataStart = start + 5;
    const dataEnd = dataStart + int32At(bytes, start);
    // Subtype 2 repeats the length inside; Extended JSON shows what follows it.
    if (subType === 2 && dataEnd - dataStart >= 4) dataStart += 4;
    const shownEnd = Math.min(dataEnd, dataStart + this.#charsMax);
    const hex = subType.toString(16).padStart(2, "0");
    return `{"base64":"${bytes.toString("base64", dataStart, shownEnd)}","subType":"${hex}"}`;
  }
}

/**
 * Relaxed Extended JSON (v2) of the BSON value of `type` in [start, end), written straight from its bytes: keys in the
 * document's order with repeated ones kept, all 64 bits of integers, doubles always recognisable (`1.0`), which the
 * bson library's EJSON loses. https://github.com/mongodb/specifications/blob/master/source/extended-json/extended-json.md
 *
 * Throws `BsonError` where the bytes are malformed, nested too deep, or (unless `lossy`) text is not UTF-8.
 */
export function relaxedJson(
  bytes: Buffer,
  type: number,
  start: number,
  end: number,
  options: RelaxedJsonOptions = {},
): string {
  const writer = new RelaxedJsonWriter(bytes, start, end, options);
  try {
    writer.value(type, start, end, 0);
  } catch (error) {
    if (!(error instanceof TextFull)) throw error;
  }
  return writer.text;
}
