import type { CommandError } from "../command-error.ts";

/** Codes after which a write with a number may be sent again (drivers' specification "Retryable Writes"). */
const RETRYABLE_WRITE: ReadonlySet<number> = new Set([6, 7, 89, 91, 189, 262, 9001, 10107, 11600, 11602, 13435, 13436]);

/** Codes after which a change stream may be resumed (drivers' specification "Change Streams", resumable errors). */
const RESUMABLE_STREAM: ReadonlySet<number> = new Set([
  6, 7, 43, 63, 89, 91, 133, 150, 189, 234, 262, 9001, 10107, 11600, 11602, 13388, 13435, 13436,
]);

/** The labels that an error answer carries: a server says itself what may be repeated. */
export function errorLabels(error: CommandError, command: string, isNumberedWrite: boolean): string[] {
  const labels = new Set(error.labels);
  if (isNumberedWrite && RETRYABLE_WRITE.has(error.code)) labels.add("RetryableWriteError");
  if (command === "getMore" && RESUMABLE_STREAM.has(error.code)) labels.add("ResumableChangeStreamError");
  return [...labels];
}
