import type { BsonDocument } from "../bson/codec.ts";
import { isDocument, numberOf } from "../bson/codec.ts";
import { CommandError } from "../command-error.ts";
import type { ClusterTime } from "../oplog/cluster-clock.ts";
import type { ServerState } from "../server-state.ts";
import type { Session } from "../sessions/session.ts";
import type { Transaction } from "../sessions/transaction.ts";

/** An answer without `ok`, `operationTime` and `$clusterTime`: an object, or the elements of a document as BSON. */
export type Reply = BsonDocument | Buffer;

/** One command and what it is part of. */
export interface CommandContext {
  readonly server: ServerState;
  readonly name: string;
  /** `$db`. */
  readonly database: string;
  /** The command document, decoded with `decodeArgument`; without the arrays that are in `sequences`. */
  readonly body: BsonDocument;
  /** `documents`, `updates`, `deletes` and `ops`, as BSON, whether they came as arrays or as sections of their own. */
  readonly sequences: ReadonlyMap<string, readonly Buffer[]>;
  /** Which listener the connection is on. */
  readonly listener: number;
  /** Hex of the session's id; null for none. */
  readonly sessionKey: string | null;
  readonly session: Session<Reply> | null;
  /** The transaction that the command is part of. */
  readonly transaction: Transaction | null;
  /** Reads see the state at this time; null for the present. */
  readonly readTime: ClusterTime | null;
  /** Aborts when the connection closes. */
  readonly signal: AbortSignal;
}

/** What a command does. */
export type CommandHandler = (context: CommandContext) => Reply | Promise<Reply>;

/** What the server knows of a command. */
export interface CommandDefinition {
  readonly run: CommandHandler;
  /** Whether it needs a primary. */
  readonly isWrite?: boolean;
  /** Whether it may be served while there is no primary, without `secondaryOk`. */
  readonly isAlwaysServed?: boolean;
}

/** The collection that a command names by its first field. @throws CommandError 73 */
export function collectionName(context: CommandContext): string {
  const name = context.body[context.name];
  if (typeof name === "string" && name !== "") return name;
  throw new CommandError(73, `collection name has invalid type for ${context.name}`);
}

/** A document argument; `{}` where it is left out. @throws CommandError 14 */
export function documentArgument(body: BsonDocument, name: string): BsonDocument {
  const value = body[name];
  if (value === undefined || value === null) return {};
  if (isDocument(value)) return value;
  throw new CommandError(14, `BSON field '${name}' is the wrong type, expected type 'object'`);
}

/** A whole number; `otherwise` where it is left out. @throws CommandError 14 */
export function numberArgument(body: BsonDocument, name: string, otherwise: number): number {
  const value = body[name];
  if (value === undefined || value === null) return otherwise;
  const number = numberOf(value);
  if (number === null) throw new CommandError(14, `BSON field '${name}' is the wrong type, expected a number`);
  return Math.trunc(number);
}
