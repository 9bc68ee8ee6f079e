import { encode } from "../bson/codec.ts";
import { keyOfElement, writeIdDocumentKeyHex } from "../bson/key-string.ts";
import { elementAt, idElementOf } from "../bson/raw-document.ts";
import { CommandError } from "../command-error.ts";
import type { ClusterTime } from "./cluster-clock.ts";
import { type EntryNamespace, type OplogEntry, documentIn, isDocumentEntry } from "./oplog-entry.ts";

/**
 * Resume tokens in the form of MongoDB 7 and 8 (resume_token.cpp): the key string of cluster time, version, token
 * type, place in the transaction, "from invalidate", collection UUID and event identifier, as upper-case hex. They
 * sort as strings in the order of the stream. Clients must hold them opaque; their first nine bytes are 0x82 and the
 * cluster time.
 */

/** What a token says. */
export interface TokenPosition {
  readonly time: ClusterTime;
  /** A high-water mark stands before all events of its time. */
  readonly isHighWaterMark: boolean;
  readonly operationIndex: number;
  /** Whether it is of the invalidate event that followed the event of this place. */
  readonly isInvalidate: boolean;
  /** The whole token, upper-case. */
  readonly data: string;
}

/** Version 2 (key 2B 04), event (type 128: 2C 01 00). */
const EVENT_PREFIX = "2B042C0100";

/** Version 2, high-water mark (type 0: 29), place 0, not invalidated, no UUID, end. */
const HIGH_WATER_SUFFIX = "2B0429296E1404";

/** The token that stands before all events of this time. */
export function highWaterMark(time: ClusterTime): string {
  return `82${hexOfTime(time)}${HIGH_WATER_SUFFIX}`;
}

/** The token of an entry's event. */
export function tokenOf(entry: OplogEntry): string {
  return eventToken(entry, false);
}

/** Where the digits of an event's token begin: after lengths, types and the names `_id` and `_data`. */
const DIGITS_START = 24;

/** The token of a made event, whose first field it always is. */
export function tokenIn(event: Buffer): string {
  return event.toString("latin1", DIGITS_START, DIGITS_START - 1 + event.readInt32LE(DIGITS_START - 4));
}

/** The token of one fragment, from 0, of an entry's event: the whole event's, and the fragment's number. */
export function fragmentTokenOf(entry: OplogEntry, fragment: number): string {
  return `${tokenOf(entry).slice(0, -2)}${hexOfInteger(fragment)}04`;
}

/** Which fragment of the entry's event this token is of; null for none. */
export function fragmentOf(entry: OplogEntry, data: string): number | null {
  const whole = tokenOf(entry).slice(0, -2);
  if (!data.startsWith(whole) || data.length <= whole.length + 2) return null;
  const key = data.slice(whole.length, -2);
  return key === "29" ? 0 : Number.parseInt(key.slice(2), 16) / 2;
}

/** The token of the invalidate event that follows an entry's. */
export function invalidateTokenOf(entry: OplogEntry): string {
  return eventToken(entry, true);
}

function eventToken(entry: OplogEntry, isInvalidate: boolean): string {
  const digits = Buffer.allocUnsafe(tokenBytesMax(entry));
  return digits.toString("latin1", 0, writeToken(digits, 0, entry, isInvalidate));
}

/** Digits of a token beside its `_id`'s; a number's exact decimal has some 800 digits at most. */
const TOKEN_FIXED_BYTES = 4_096;

/** Room that a token needs: fixed parts, and twice the `_id`'s key, which is a little more than its BSON. */
export function tokenBytesMax(entry: OplogEntry): number {
  if (!isDocumentEntry(entry)) return TOKEN_FIXED_BYTES;
  const id = idElementOf(documentIn(entry));
  return TOKEN_FIXED_BYTES + 4 * (id === null ? 0 : id.valueEnd - id.valueStart);
}

/** What a token has between its time and the document's key, made once for each namespace and operation. */
const middles = new WeakMap<EntryNamespace, Map<string, Buffer>>();

/** Writes the token of an entry's event as ASCII into `target`; returns where it ended. */
export function writeToken(target: Buffer, start: number, entry: OplogEntry, isInvalidate = false): number {
  target[start] = 0x38; // "8"
  target[start + 1] = 0x32; // "2"
  let at = writeTimeHex(target, start + 2, entry.time);
  if (entry.operationIndex === 0 && !isInvalidate) {
    const middle = middleOf(entry);
    target.set(middle, at);
    at += middle.length;
  } else at += target.write(middleDigits(entry, isInvalidate), at, "latin1");
  if (isDocumentEntry(entry)) {
    const document = documentIn(entry);
    const id = idElementOf(document);
    if (id !== null) at = writeIdDocumentKeyHex(document, id, target, at);
    target[at++] = 0x30;
    target[at++] = 0x30;
  }
  target[at] = 0x30; // "0"
  target[at + 1] = 0x34; // "4"
  return at + 2;
}

function middleOf(entry: OplogEntry): Buffer {
  let ofNamespace = middles.get(entry.namespace);
  if (ofNamespace === undefined) {
    ofNamespace = new Map();
    middles.set(entry.namespace, ofNamespace);
  }
  let middle = ofNamespace.get(entry.operation);
  if (middle === undefined) {
    middle = Buffer.from(middleDigits(entry, false), "latin1");
    ofNamespace.set(entry.operation, middle);
  }
  return middle;
}

/**
 * Version, type and place, then `{operationType, documentKey}` as a key string up to where the key begins; for changes
 * of collections the whole of `{operationType, operationDescription: {}}`.
 */
function middleDigits(entry: OplogEntry, isInvalidate: boolean): string {
  const { operation, namespace, operationIndex } = entry;
  const uuid = namespace.uuid === null ? "14" : `5A1004${namespace.uuid.toString("hex").toUpperCase()}`;
  const identifier = isDocumentEntry(entry)
    ? `463C6F7065726174696F6E54797065003C${latin1Hex(`${operation}\0`)}46646F63756D656E744B657900`
    : keyHex({ operationType: operation, operationDescription: {} });
  return EVENT_PREFIX + hexOfInteger(operationIndex) + (isInvalidate ? "6F" : "6E") + uuid + identifier;
}

function keyHex(document: Parameters<typeof encode>[0]): string {
  const bytes = encode({ "": document });
  return latin1Hex(keyOfElement(bytes, elementAt(bytes, 4)));
}

function latin1Hex(key: string): string {
  return Buffer.from(key, "latin1").toString("hex").toUpperCase();
}

function hexOfTime(time: ClusterTime): string {
  return time.toString(16).toUpperCase().padStart(16, "0");
}

const HEX_DIGITS = Buffer.from("0123456789ABCDEF", "latin1");

function writeTimeHex(target: Buffer, start: number, time: ClusterTime): number {
  const high = Number(time >> 32n);
  const low = Number(BigInt.asUintN(32, time));
  for (let index = 0; index < 8; index++) {
    const shift = 28 - index * 4;
    target[start + index] = HEX_DIGITS[(high >>> shift) & 15] ?? 0;
    target[start + 8 + index] = HEX_DIGITS[(low >>> shift) & 15] ?? 0;
  }
  return start + 16;
}

/** A non-negative integer below 2^31 as a key string. */
function hexOfInteger(value: number): string {
  if (value === 0) return "29";
  const hex = (value * 2).toString(16).toUpperCase();
  const padded = hex.length % 2 === 0 ? hex : `0${hex}`;
  return (0x2a + padded.length / 2).toString(16).toUpperCase() + padded;
}

/**
 * Reads a token.
 *
 * @throws CommandError 260 for one that is not of this server's form, 50811 and 9 as MongoDB answers malformed ones
 */
export function parseToken(token: unknown): TokenPosition {
  const fields = typeof token === "object" && token !== null ? (token as Record<string, unknown>) : {};
  const data = fields["_data"];
  if (typeof data !== "string") {
    throw new CommandError(40649, `resume token must contain a string field '_data', found: ${typeof data}`);
  }
  if (!/^(?:[0-9A-Fa-f]{2})+$/.test(data)) throw new CommandError(9, "resume token string was not a valid hex string");
  const upper = data.toUpperCase();
  const match = /^82([0-9A-F]{16})2B0[24](29|2C0100)(29|2B[0-9A-F]{2}|2C[0-9A-F]{4}|2D[0-9A-F]{6})(6E|6F)/.exec(upper);
  if (match === null) {
    // Not a timestamp at the beginning, or cut off: KeyString's decoder and ResumeToken's parser say so.
    throw upper.startsWith("82")
      ? new CommandError(50811, "KeyString format error: Unexpected end of input stream.")
      : new CommandError(260, `Invalid resume token: ${data.slice(0, 64)}`);
  }
  const [, time = "", type, index = "29", invalidated] = match;
  return {
    time: BigInt(`0x${time}`),
    isHighWaterMark: type === "29",
    operationIndex: index === "29" ? 0 : Number.parseInt(index.slice(2), 16) / 2,
    isInvalidate: invalidated === "6F",
    data: upper,
  };
}
