import type { IncomingHttpHeaders } from "node:http";
import { EmcacheError, ERROR_CATALOGUE, type ErrorCode } from "@emcache/protocol";

/** Codes of statuses whose meaning doesn't need the body: what a proxy on the way may answer as well. */
const CODE_OF_STATUS: Readonly<Record<number, ErrorCode>> = {
  401: "server_refused",
  403: "server_refused",
  404: "not_found",
  409: "history_mismatch",
  410: "position_too_old",
  429: "overloaded",
};

/**
 * The error that an answer tells of: the problem document's code where it has one of the catalogue, else one by the
 * status. `details.retry_after_ms` is what the server asked for, and `details.status` the HTTP status.
 */
export function errorOfAnswer(answer: { status: number; headers: IncomingHttpHeaders }, body: string): EmcacheError {
  const { status, headers } = answer;
  const problem = parseProblem(body);
  const told = problem["code"];
  const code =
    typeof told === "string" && Object.hasOwn(ERROR_CATALOGUE, told)
      ? (told as ErrorCode)
      : (CODE_OF_STATUS[status] ?? (status >= 500 ? "server_unreachable" : "answer_invalid"));
  const { detail, hint } = problem;
  const seconds = Number(headers["retry-after"]);
  const details = { ...problem, status, retry_after_ms: seconds > 0 ? seconds * 1000 : 0 };
  const message = typeof detail === "string" ? detail : `the server answered ${status}`;
  return new EmcacheError(code, message, { details, ...(typeof hint === "string" ? { hint } : {}) });
}

/** What the server asked to be waited, in ms; 0 if nothing. */
export function retryAfterMs(error: unknown): number {
  const ms = error instanceof EmcacheError ? error.details["retry_after_ms"] : 0;
  return typeof ms === "number" ? ms : 0;
}

function parseProblem(body: string): Readonly<Record<string, unknown>> {
  try {
    const parsed: unknown = JSON.parse(body);
    return typeof parsed === "object" && parsed !== null ? (parsed as Record<string, unknown>) : {};
  } catch {
    return {};
  }
}
