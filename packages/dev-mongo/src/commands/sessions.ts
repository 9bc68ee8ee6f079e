import { Binary, Long } from "bson";
import { randomUUID } from "node:crypto";
import { isDocument } from "../bson/codec.ts";
import { CommandError } from "../command-error.ts";
import type { CommandContext, CommandDefinition, Reply } from "./command.ts";

/** Hex of a session's id. */
export function sessionKeyOf(lsid: unknown): string | null {
  const id = isDocument(lsid) ? lsid["id"] : undefined;
  return id instanceof Binary ? Buffer.from(id.buffer.subarray(0, id.position)).toString("hex") : null;
}

function startSession(): Reply {
  const id = Buffer.from(randomUUID().replaceAll("-", ""), "hex");
  return { id: { id: new Binary(id, 4) }, timeoutMinutes: 30 };
}

function endSessions({ body, server, name }: CommandContext): Reply {
  const sessions: unknown[] = Array.isArray(body[name]) ? body[name] : [];
  for (const lsid of sessions) {
    const key = sessionKeyOf(lsid);
    if (key !== null) server.endSession(key);
  }
  return {};
}

function txnNumberOf({ body }: CommandContext): bigint {
  const number = body["txnNumber"];
  if (number instanceof Long) return number.toBigInt();
  throw new CommandError(125, "a transaction's command must have a txnNumber of type long");
}

function commitTransaction(context: CommandContext): Reply {
  const { session } = context;
  if (session === null) throw new CommandError(125, "commitTransaction must be run within a session");
  session.transactionToEnd(txnNumberOf(context)).commit();
  return {};
}

function abortTransaction(context: CommandContext): Reply {
  const { session } = context;
  if (session === null) throw new CommandError(125, "abortTransaction must be run within a session");
  const transaction = session.transactionToEnd(txnNumberOf(context));
  if (transaction.state === "committed") throw new CommandError(256, "the transaction has been committed");
  transaction.abort();
  return {};
}

export const sessionCommands: Readonly<Record<string, CommandDefinition>> = {
  startSession: { run: startSession, isAlwaysServed: true },
  endSessions: { run: endSessions, isAlwaysServed: true },
  killSessions: { run: endSessions, isAlwaysServed: true },
  refreshSessions: { run: () => ({}), isAlwaysServed: true },
  commitTransaction: { run: commitTransaction, isWrite: true },
  abortTransaction: { run: abortTransaction, isWrite: true },
};
