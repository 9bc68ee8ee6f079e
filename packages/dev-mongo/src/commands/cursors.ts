import { Long } from "bson";
import { CommandError } from "../command-error.ts";
import type { CommandContext, CommandDefinition, Reply } from "./command.ts";
import { numberArgument } from "./command.ts";
import { countReturned, cursorReply } from "./cursor-reply.ts";

/** How long a cursor that waits for news waits where the command does not say (MongoDB: one second). */
const AWAIT_MS = 1_000;

async function getMore(context: CommandContext): Promise<Reply> {
  const { body, database, server, listener, sessionKey, signal } = context;
  const id = cursorId(body["getMore"]);
  const open = server.cursors.get(id, listener, sessionKey);
  const { cursor } = open;
  const namespace = `${database}.${String(body["collection"])}`;
  if (cursor.namespace !== namespace) {
    throw new CommandError(
      13,
      `Requested getMore on namespace '${namespace}', but cursor belongs to '${cursor.namespace}'`,
    );
  }
  const documentsMax = numberArgument(body, "batchSize", 0) || Infinity;
  const waitMs = cursor.isAwaiting ? numberArgument(body, "maxTimeMS", AWAIT_MS) : 0;
  try {
    const batch = await cursor.next({ documentsMax, waitMs, signal });
    if (open.killedBy !== null) throw open.killedBy;
    countReturned(context, cursor, batch);
    if (cursor.isExhausted) server.cursors.remove(id);
    return cursorReply("nextBatch", batch, cursor.isExhausted ? 0n : id, namespace);
  } catch (error) {
    // A failed cursor is of no further use.
    server.cursors.remove(id);
    throw error;
  }
}

function killCursors({ body, server }: CommandContext): Reply {
  const ids = Array.isArray(body["cursors"]) ? body["cursors"].map(cursorId) : [];
  const killed = ids.filter((id) => server.cursors.remove(id, new CommandError(237, "cursor was killed")));
  const notFound = ids.filter((id) => !killed.includes(id));
  const asLongs = (list: readonly bigint[]): Long[] => list.map((id) => Long.fromBigInt(id));
  return { cursorsKilled: asLongs(killed), cursorsNotFound: asLongs(notFound), cursorsAlive: [], cursorsUnknown: [] };
}

function cursorId(value: unknown): bigint {
  if (value instanceof Long) return value.toBigInt();
  if (typeof value === "bigint") return value;
  throw new CommandError(14, "a cursor id must be of type long");
}

export const cursorCommands: Readonly<Record<string, CommandDefinition>> = {
  getMore: { run: getMore },
  killCursors: { run: killCursors, isAlwaysServed: true },
};
