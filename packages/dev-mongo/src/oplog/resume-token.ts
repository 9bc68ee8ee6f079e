import { encode } from "../bson/codec.ts";
import { keyOfElement } from "../bson/key-string.ts";
import { elementAt } from "../bson/raw-document.ts";
import { CommandError } from "../command-error.ts";
import type { ClusterTime } from "./cluster-clock.ts";
import { type OplogEntry, isDocumentEntry } from "./oplog-entry.ts";

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
  entry.token ??= eventToken(entry, "6E");
  return entry.token;
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
  return eventToken(entry, "6F");
}

function eventToken(entry: OplogEntry, fromInvalidate: string): string {
  const { namespace, operation } = entry;
  const uuid = namespace.uuid === null ? "14" : `5A1004${namespace.uuid.toString("hex").toUpperCase()}`;
  const place = EVENT_PREFIX + hexOfInteger(entry.operationIndex) + fromInvalidate + uuid;
  const identifier = isDocumentEntry(entry)
    ? documentIdentifier(operation, entry.documentKey)
    : keyHex({ operationType: operation, operationDescription: {} });
  return `82${hexOfTime(entry.time)}${place}${identifier}04`;
}

/** `{operationType, documentKey}` as a key string, its constant beginning made once for each operation. */
function documentIdentifier(operation: string, documentKey: Buffer): string {
  const key = keyOfElement(documentKey, { type: 0x03, valueStart: 0, valueEnd: documentKey.length });
  const operationText = Buffer.from(`${operation}\0`, "latin1").toString("hex").toUpperCase();
  return `463C6F7065726174696F6E54797065003C${operationText}46646F63756D656E744B657900${latin1Hex(key)}00`;
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
