import { decompress } from "./compression.ts";

/** Operation codes (MongoDB's wire protocol, "Opcodes"). */
const OPCODE = { reply: 1, query: 2004, compressed: 2012, message: 2013 } as const;

const HEADER_BYTES = 16;

/** Flags of OP_MSG. */
const FLAG = { checksumPresent: 1, moreToCome: 2 } as const;

/** CRC-32C at the end of a message that announces one; it isn't checked, TCP has its own. */
const CHECKSUM_BYTES = 4;

/** A command as it arrived. */
export interface RequestMessage {
  readonly requestId: number;
  /** The command document. */
  readonly body: Buffer;
  /** Document sequences by name (sections of kind 1): views of the message. */
  readonly sequences: ReadonlyMap<string, readonly Buffer[]>;
  /** Whether no answer is wanted (`moreToCome`). */
  readonly isSilent: boolean;
  /** How the answer is to be framed: old drivers greet by OP_QUERY. */
  readonly isLegacy: boolean;
  /** The compressor of the request, which its answer uses too; null for none. */
  readonly compressorId: number | null;
}

/** @throws RangeError for what is not a message of the protocol */
export function parseMessage(message: Buffer): RequestMessage {
  const requestId = message.readInt32LE(4);
  const opcode = message.readInt32LE(12);
  if (opcode !== OPCODE.compressed) return parsePlain(opcode, requestId, message.subarray(HEADER_BYTES), null);
  const originalOpcode = message.readInt32LE(16);
  const uncompressedBytes = message.readInt32LE(20);
  const compressorId = message[24] ?? 0;
  const body = decompress(compressorId, message.subarray(25), uncompressedBytes);
  return parsePlain(originalOpcode, requestId, body, compressorId);
}

function parsePlain(opcode: number, requestId: number, bytes: Buffer, compressorId: number | null): RequestMessage {
  if (opcode === OPCODE.message) return parseOpMsg(requestId, bytes, compressorId);
  if (opcode === OPCODE.query) return parseOpQuery(requestId, bytes, compressorId);
  throw new RangeError(`opcode ${opcode} is not served`);
}

function parseOpMsg(requestId: number, bytes: Buffer, compressorId: number | null): RequestMessage {
  const flags = bytes.readUInt32LE(0);
  const end = bytes.length - ((flags & FLAG.checksumPresent) === 0 ? 0 : CHECKSUM_BYTES);
  let body: Buffer | null = null;
  const sequences = new Map<string, Buffer[]>();
  for (let at = 4; at < end;) {
    const kind = bytes[at];
    const size = bytes.readInt32LE(at + 1);
    const sectionEnd = at + 1 + size;
    if (size < 5 || sectionEnd > end) throw new RangeError("a section is longer than its message");
    if (kind === 0) body = bytes.subarray(at + 1, sectionEnd);
    else if (kind === 1) {
      const nameEnd = bytes.indexOf(0, at + 5);
      sequences.set(bytes.toString("utf8", at + 5, nameEnd), documentsBetween(bytes, nameEnd + 1, sectionEnd));
    } else throw new RangeError(`section kind ${kind} is unknown`);
    at = sectionEnd;
  }
  if (body === null) throw new RangeError("a message has no body");
  const isSilent = (flags & FLAG.moreToCome) !== 0;
  return { requestId, body, sequences, isSilent, isLegacy: false, compressorId };
}

function documentsBetween(bytes: Buffer, start: number, end: number): Buffer[] {
  const documents: Buffer[] = [];
  for (let at = start; at < end;) {
    const size = bytes.readInt32LE(at);
    if (size < 5 || at + size > end) throw new RangeError("a document is longer than its section");
    documents.push(bytes.subarray(at, at + size));
    at += size;
  }
  return documents;
}

function parseOpQuery(requestId: number, bytes: Buffer, compressorId: number | null): RequestMessage {
  const nameEnd = bytes.indexOf(0, 4);
  const start = nameEnd + 1 + 8;
  const body = bytes.subarray(start, start + bytes.readInt32LE(start));
  return { requestId, body, sequences: new Map(), isSilent: false, isLegacy: true, compressorId };
}

/**
 * The parts of an answer on the socket, in order; large parts are not copied.
 *
 * @param parts the answer document's bytes, in pieces
 */
export function frameReply(request: RequestMessage, replyId: number, parts: readonly Buffer[]): Buffer[] {
  let size = 0;
  for (const part of parts) size += part.length;
  const head = request.isLegacy ? Buffer.alloc(HEADER_BYTES + 20) : Buffer.alloc(HEADER_BYTES + 5);
  head.writeInt32LE(head.length + size, 0);
  head.writeInt32LE(replyId, 4);
  head.writeInt32LE(request.requestId, 8);
  head.writeInt32LE(request.isLegacy ? OPCODE.reply : OPCODE.message, 12);
  if (request.isLegacy) {
    // responseFlags "AwaitCapable", and one document.
    head.writeInt32LE(8, 16);
    head.writeInt32LE(1, 32);
  }
  return [head, ...parts];
}

/** The same in OP_COMPRESSED; `payload` is what follows the plain header, compressed. */
export function frameCompressed(
  plainHead: Buffer,
  compressorId: number,
  payload: Buffer,
  plainBytes: number,
): Buffer[] {
  const head = Buffer.alloc(HEADER_BYTES + 9);
  head.writeInt32LE(head.length + payload.length, 0);
  plainHead.copy(head, 4, 4, 12);
  head.writeInt32LE(OPCODE.compressed, 12);
  plainHead.copy(head, 16, 12, 16);
  head.writeInt32LE(plainBytes, 20);
  head[24] = compressorId;
  return [head, payload];
}
