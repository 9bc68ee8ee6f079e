import { Timestamp } from "bson";
import { type BsonDocument, isDocument } from "../bson/codec.ts";
import { CommandError } from "../command-error.ts";
import type { ClusterTime } from "../oplog/cluster-clock.ts";
import type { ServerState } from "../server-state.ts";
import { numberArgument } from "./command.ts";

/** How often the clock is looked at; no write may come, but the no-op writer's tick does. */
const POLL_MS = 10;

/**
 * Waits until the server has reached `readConcern.afterClusterTime` (MongoDB manual, "Read Concern", causal
 * consistency), and tells at which time the command reads.
 *
 * @returns the majority's time while streams are held and the command asks for majority reads; null for the present
 * @throws CommandError 50 where `maxTimeMS` passes first
 */
export async function awaitReadConcern(
  body: BsonDocument,
  server: ServerState,
  signal: AbortSignal,
): Promise<ClusterTime | null> {
  const concern = body["readConcern"];
  if (!isDocument(concern)) return null;
  const after = concern["afterClusterTime"];
  if (after instanceof Timestamp) await untilReached(after.toBigInt(), body, server, signal);
  return concern["level"] === "majority" ? server.heldTime : null;
}

async function untilReached(
  time: ClusterTime,
  body: BsonDocument,
  { store }: ServerState,
  signal: AbortSignal,
): Promise<void> {
  const maxTimeMs = numberArgument(body, "maxTimeMS", 0);
  const deadlineMs = performance.now() + (maxTimeMs === 0 ? Infinity : maxTimeMs);
  while (store.clock.last < time && !signal.aborted) {
    if (performance.now() > deadlineMs) throw new CommandError(50, "operation exceeded time limit");
    await new Promise((resolve) => setTimeout(resolve, POLL_MS));
  }
}
