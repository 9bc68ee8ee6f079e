import { createHash } from "node:crypto";
import { Binary, Long } from "bson";
import { type BsonDocument, decodeArgument, encode, isDocument, isTruthy } from "../bson/codec.ts";
import { DocumentWriter } from "../bson/document-writer.ts";
import { BSON_TYPE, bodyOf, documentsOf, findElement } from "../bson/raw-document.ts";
import { CommandError } from "../command-error.ts";
import { type CommandFault, errorOf } from "../faults/fault-injector.ts";
import type { ServerState } from "../server-state.ts";
import type { RequestMessage } from "../wire/message.ts";
import { commandNamed } from "./all-commands.ts";
import type { CommandContext, CommandDefinition, Reply } from "./command.ts";
import { errorLabels } from "./error-labels.ts";
import { awaitReadConcern } from "./read-concern.ts";
import { sessionKeyOf } from "./sessions.ts";

/** Fields that hold many documents: they are used as BSON, whichever way they came. */
const SEQUENCE_FIELDS = ["documents", "updates", "deletes", "ops", "nsInfo"] as const;

/** Of whoever is not authenticated: the hash of an empty user name. */
const NOBODY = new Binary(createHash("sha256").update("").digest(), 0);

/** `$clusterTime.signature` of a server without authentication. */
const NO_SIGNATURE = encode({ hash: new Binary(Buffer.alloc(20), 0), keyId: Long.ZERO });

/** Where a command came from. */
export interface Caller {
  readonly server: ServerState;
  readonly listener: number;
  /** Aborts when the connection closes. */
  readonly signal: AbortSignal;
}

/** Carries a command out and returns its answer as BSON, in pieces; null where the connection is to be closed instead. */
export async function runCommand(request: RequestMessage, caller: Caller): Promise<Buffer[] | null> {
  const { server } = caller;
  const body = decodeArgument(request.body);
  const name = Object.keys(body)[0] ?? "";
  const collection = typeof body[name] === "string" ? body[name] : null;
  const fault = server.faults.take({ name, collection });
  await server.faults.untilThawed();
  try {
    const reply = await runWithFault(request, body, name, caller, fault);
    return reply === null ? null : withTimes(reply, 1, server);
  } catch (error) {
    const failure = error instanceof CommandError ? error : internalError(error, name, server);
    if (fault?.closesConnection === true) return null;
    const isNumberedWrite = body["txnNumber"] !== undefined && body["autocommit"] === undefined;
    const labels = errorLabels(failure, name, isNumberedWrite);
    const { message: errmsg, code, codeName, details } = failure;
    return withTimes(
      { ...details, errmsg, code, codeName, ...(labels.length > 0 ? { errorLabels: labels } : {}) },
      0,
      server,
    );
  }
}

async function runWithFault(
  request: RequestMessage,
  body: BsonDocument,
  name: string,
  caller: Caller,
  fault: CommandFault | null,
): Promise<Reply | null> {
  if (fault?.delayMs !== undefined) await delay(fault.delayMs, caller.signal);
  const failure = fault === null ? null : errorOf(fault);
  const mustRun = fault === null || fault.isExecuted === true || (failure === null && fault.closesConnection !== true);
  const reply = mustRun ? await execute(request, body, name, caller) : null;
  if (fault?.closesConnection === true) return null;
  if (failure !== null) throw failure;
  const concern = fault?.writeConcernError;
  if (concern === undefined || reply === null || Buffer.isBuffer(reply)) return reply;
  return { ...reply, writeConcernError: { code: concern.code, errmsg: concern.message } };
}

async function execute(request: RequestMessage, body: BsonDocument, name: string, caller: Caller): Promise<Reply> {
  const { server, listener, signal } = caller;
  const definition = commandNamed(name);
  if (definition === null) throw new CommandError(59, `no such command: '${name}'`);
  refuseWithoutPrimary(definition, body, server);
  const sessionKey = sessionKeyOf(body["lsid"]);
  const session = sessionKey === null ? null : server.session(sessionKey, eventLsid(body["lsid"]));
  const txnNumber = body["txnNumber"] instanceof Long ? body["txnNumber"].toBigInt() : null;
  const isTransaction = body["autocommit"] === false;
  const isEnding = name === "commitTransaction" || name === "abortTransaction";
  const startTransaction = isTruthy(body["startTransaction"]);
  const transaction =
    isTransaction && !isEnding && session !== null && txnNumber !== null
      ? session.transactionOf({ txnNumber, startTransaction, isTransaction })
      : null;
  const context: CommandContext = {
    server,
    name,
    database: typeof body["$db"] === "string" ? body["$db"] : "test",
    body,
    sequences: sequencesOf(request, body),
    listener,
    sessionKey,
    session,
    transaction,
    readTime: await awaitReadConcern(body, server, signal),
    signal,
  };
  const run = async (): Promise<Reply> => definition.run(context);
  if (session !== null && txnNumber !== null && !isTransaction && definition.isWrite === true) {
    return session.retryable(txnNumber, run);
  }
  return abortingOnFailure(context, run);
}

/** A command that fails in a transaction ends it (MongoDB manual, "Transactions": errors abort). */
async function abortingOnFailure({ transaction }: CommandContext, run: () => Promise<Reply>): Promise<Reply> {
  try {
    return await run();
  } catch (error) {
    if (transaction?.state === "open") transaction.abort();
    throw error;
  }
}

function refuseWithoutPrimary(definition: CommandDefinition, body: BsonDocument, server: ServerState): void {
  if (server.isPrimary || definition.isAlwaysServed === true) return;
  if (definition.isWrite === true) throw new CommandError(10107, "not primary");
  const preference = body["$readPreference"];
  const mode = isDocument(preference) ? preference["mode"] : undefined;
  if (mode === undefined || mode === "primary") throw new CommandError(13435, "not primary and secondaryOk=false");
}

function eventLsid(lsid: unknown): Buffer {
  return encode({ id: isDocument(lsid) ? lsid["id"] : undefined, uid: NOBODY });
}

function sequencesOf(request: RequestMessage, body: BsonDocument): ReadonlyMap<string, readonly Buffer[]> {
  const sequences = new Map(request.sequences);
  for (const field of SEQUENCE_FIELDS) {
    if (!Array.isArray(body[field]) || sequences.has(field)) continue;
    const element = findElement(request.body, field);
    if (element?.type === BSON_TYPE.array) sequences.set(field, documentsOf(request.body, element));
  }
  return sequences;
}

/**
 * The answer with what every reply of a replica set has (MongoDB manual, "Database Commands: Response"), in pieces, so
 * that a batch of documents is not copied again.
 */
function withTimes(reply: Reply, ok: 0 | 1, { store, topologyCounter, processId }: ServerState): Buffer[] {
  const time = store.clock.last;
  const elements = Buffer.isBuffer(reply) ? reply : bodyOf(encode(reply));
  const writer = new DocumentWriter();
  // Tells a driver which of two errors is about the newer topology.
  if (ok === 0) writer.document("topologyVersion", encode({ processId, counter: Long.fromBigInt(topologyCounter) }));
  writer.begin("$clusterTime").timestamp("clusterTime", time).document("signature", NO_SIGNATURE).end();
  const tail = writer.timestamp("operationTime", time).double("ok", ok).finish().subarray(4);
  const size = Buffer.alloc(4);
  size.writeInt32LE(4 + elements.length + tail.length);
  return [size, elements, tail];
}

function internalError(error: unknown, name: string, server: ServerState): CommandError {
  const message = error instanceof Error ? error.message : String(error);
  server.logger.warn({ event: "command_failed", command: name, reason: message }, "a command failed unexpectedly");
  return new CommandError(1, message);
}

function delay(ms: number, signal: AbortSignal): Promise<void> {
  const { promise, resolve } = Promise.withResolvers<void>();
  const timer = setTimeout(resolve, ms);
  signal.addEventListener("abort", () => resolve(), { once: true });
  return promise.finally(() => clearTimeout(timer));
}
