import { once } from "node:events";
import { connect, type Socket } from "node:net";
import { deflateSync, inflateSync, zstdCompressSync, zstdDecompressSync } from "node:zlib";
import { BSON, MongoClient } from "mongodb";
import { afterAll, beforeAll, beforeEach, expect, test } from "vitest";
import { DevMongo } from "../dev-mongo.ts";

const OP_REPLY = 1;
const OP_QUERY = 2004;
const OP_COMPRESSED = 2012;
const OP_MSG = 2013;

let server: DevMongo;
let socket: Socket;

beforeAll(async () => {
  server = await DevMongo.start();
});
afterAll(() => server.stop());

beforeEach(async () => {
  socket = connect(Number(new URL(server.uri.replace("mongodb:", "http:")).port), "127.0.0.1");
  await once(socket, "connect");
  return () => socket.destroy();
});

function message(opcode: number, ...parts: readonly Uint8Array[]): Buffer {
  const body = Buffer.concat(parts);
  const head = Buffer.alloc(16);
  head.writeInt32LE(16 + body.length, 0);
  head.writeInt32LE(77, 4);
  head.writeInt32LE(opcode, 12);
  return Buffer.concat([head, body]);
}

function int32(value: number): Buffer {
  const bytes = Buffer.alloc(4);
  bytes.writeInt32LE(value);
  return bytes;
}

/** Flags, and one section of kind 0. */
function plainBody(command: BSON.Document): Buffer {
  return Buffer.concat([int32(0), Buffer.from([0]), BSON.serialize(command)]);
}

async function answer(): Promise<{ opcode: number; responseTo: number; body: Buffer }> {
  const chunks: Buffer[] = [];
  for await (const chunk of socket.iterator({ destroyOnReturn: false })) {
    chunks.push(chunk as Buffer);
    const all = Buffer.concat(chunks);
    if (all.length >= 4 && all.length >= all.readInt32LE(0)) {
      return { opcode: all.readInt32LE(12), responseTo: all.readInt32LE(8), body: all.subarray(16) };
    }
  }
  throw new Error("the connection was closed");
}

function documentIn(body: Buffer): BSON.Document {
  return BSON.deserialize(body.subarray(5));
}

test("a legacy hello by OP_QUERY is answered by OP_REPLY", async () => {
  const query = [
    int32(0),
    Buffer.from("admin.$cmd\0"),
    int32(0),
    int32(-1),
    BSON.serialize({ ismaster: 1, helloOk: true }),
  ];
  socket.write(message(OP_QUERY, ...query));
  const { opcode, responseTo, body } = await answer();
  expect([opcode, responseTo]).toEqual([OP_REPLY, 77]);
  expect(BSON.deserialize(body.subarray(20))).toMatchObject({ ismaster: true, setName: "dev", helloOk: true });
});

test.each([
  ["zlib", 2, deflateSync, inflateSync],
  ["zstd", 3, zstdCompressSync, zstdDecompressSync],
] as const)("a message compressed by %s gets an answer of its kind", async (name, id, compress, decompress) => {
  const plain = plainBody({ hello: 1, $db: "admin", compression: [name] });
  socket.write(message(OP_COMPRESSED, int32(OP_MSG), int32(plain.length), Buffer.from([id]), compress(plain)));
  const { opcode, body } = await answer();
  expect([opcode, body.readInt32LE(0), body[8]]).toEqual([OP_COMPRESSED, OP_MSG, id]);
  const payload = decompress(body.subarray(9));
  expect(payload.length).toBe(body.readInt32LE(4));
  expect(documentIn(payload)).toMatchObject({ ok: 1, compression: [name] });
});

test("documents may come as a section of their own, and the checksum is passed over", async () => {
  const documents = [1, 2].map((_id) => BSON.serialize({ _id }));
  const sequence = Buffer.concat([Buffer.from("documents\0"), ...documents]);
  const body = plainBody({ insert: "sequences", $db: "wire" });
  body.writeInt32LE(1, 0);
  socket.write(message(OP_MSG, body, Buffer.from([1]), int32(4 + sequence.length), sequence, int32(0)));
  expect(documentIn((await answer()).body)).toMatchObject({ ok: 1, n: 2 });
});

test("a message may arrive in pieces, and several at once", async () => {
  const ping = message(OP_MSG, plainBody({ ping: 1, $db: "admin" }));
  socket.write(ping.subarray(0, 3));
  await new Promise((resolve) => setImmediate(resolve));
  socket.write(ping.subarray(3, 20));
  await new Promise((resolve) => setImmediate(resolve));
  socket.write(Buffer.concat([ping.subarray(20), message(OP_MSG, plainBody({ nosuch: 1, $db: "admin" }))]));
  const chunks: Buffer[] = [];
  for await (const chunk of socket.iterator({ destroyOnReturn: false })) {
    chunks.push(chunk as Buffer);
    if (Buffer.concat(chunks).includes("no such command")) break;
  }
  const all = Buffer.concat(chunks);
  expect(documentIn(all.subarray(16, all.readInt32LE(0)))).toMatchObject({ ok: 1 });
  expect(documentIn(all.subarray(all.readInt32LE(0) + 16))).toMatchObject({ ok: 0, code: 59 });
});

test.each([
  ["a length that no message has", int32(3)],
  ["an opcode that is not served", message(2001, Buffer.alloc(8))],
  ["a section that is longer than its message", message(OP_MSG, int32(0), Buffer.from([0]), int32(999))],
  [
    "a compressor that was not offered",
    message(OP_COMPRESSED, int32(OP_MSG), int32(5), Buffer.from([1]), Buffer.alloc(5)),
  ],
])("%s closes the connection, and only that", async (_what, bytes) => {
  socket.write(bytes);
  await once(socket, "close");
  const client = await MongoClient.connect(server.uri);
  expect((await client.db("admin").command({ ping: 1 }))["ok"]).toBe(1);
  await client.close();
});
