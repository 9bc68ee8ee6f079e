import { connect } from "node:net";
import { BSON } from "mongodb";

const OP_MSG = 2013;

/** The last request number used; a server answers with the one that it answers to. */
let lastRequestId = 0;

/**
 * Inserts documents given as BSON bytes, each in a command of its own, over MongoDB's wire protocol: the driver can't
 * write every type (undefined, DBPointer), nor two fields of one name.
 *
 * @returns for each document null, or why the server refused it
 */
export async function rawInsert(
  uri: string,
  database: string,
  collection: string,
  documents: readonly Uint8Array[],
): Promise<(string | null)[]> {
  const address = new URL(uri.replace(/^mongodb:/, "http:"));
  const socket = connect(Number(address.port === "" ? 27017 : address.port), address.hostname);
  const replies: AsyncIterator<Buffer> = socket[Symbol.asyncIterator]() as AsyncIterator<Buffer>;
  const outcomes: (string | null)[] = [];
  let received = Buffer.alloc(0);
  try {
    for (const document of documents) {
      socket.write(insertMessage(database, collection, document));
      while (received.length < 4 || received.length < received.readInt32LE(0)) {
        const next = await replies.next();
        if (next.done === true) throw new Error("the server closed the connection");
        received = Buffer.concat([received, next.value]);
      }
      const length = received.readInt32LE(0);
      // 16 bytes of header, 4 of flags, 1 for the kind of section.
      outcomes.push(failureIn(BSON.deserialize(received.subarray(21, length))));
      received = received.subarray(length);
    }
  } finally {
    socket.destroy();
  }
  return outcomes;
}

function insertMessage(database: string, collection: string, document: Uint8Array): Buffer {
  const command = BSON.serialize({ insert: collection, $db: database, writeConcern: { w: "majority" } });
  const identifier = Buffer.from("documents\0");
  const sectionLength = Buffer.alloc(4);
  sectionLength.writeInt32LE(4 + identifier.length + document.length);
  const parts = [Buffer.alloc(4), Buffer.from([0]), command, Buffer.from([1]), sectionLength, identifier, document];
  const header = Buffer.alloc(16);
  lastRequestId += 1;
  header.writeInt32LE(16 + parts.reduce((sum, part) => sum + part.length, 0), 0);
  header.writeInt32LE(lastRequestId, 4);
  header.writeInt32LE(OP_MSG, 12);
  return Buffer.concat([header, ...parts]);
}

function failureIn(reply: BSON.Document): string | null {
  if (reply["ok"] !== 1) return String(reply["errmsg"]);
  const errors = reply["writeErrors"] as { errmsg: string }[] | undefined;
  return errors?.[0]?.errmsg ?? null;
}
