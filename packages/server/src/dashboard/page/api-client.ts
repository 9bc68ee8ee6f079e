import type { Problem } from "@emcache/protocol";
import { fetchWithToken } from "./fetch-with-token.ts";

/** A server that says nothing for so long counts as unreachable; making a snapshot may take longer. */
const TIMEOUT_MS = 10_000;

/** What the API refused, with its problem document; or that it could not be reached. */
export class ApiError extends Error {
  /** Null where the server could not be reached, or answered something that is not ours. */
  readonly problem: Problem | null;

  constructor(message: string, problem: Problem | null) {
    super(message);
    this.name = "ApiError";
    this.problem = problem;
  }
}

/** The answer of a GET, parsed. Integers beyond 2^53 become bigints, so that every digit is shown. @throws ApiError */
export function getJson<T>(path: string, signal: AbortSignal): Promise<T> {
  return request<T>(path, { signal: AbortSignal.any([signal, AbortSignal.timeout(TIMEOUT_MS)]) });
}

/** Sends a request with a body of JSON text, or without one. @throws ApiError */
export function sendJson<T>(method: "POST" | "PUT" | "DELETE", path: string, body: string | null = null): Promise<T> {
  const headers: Record<string, string> = body === null ? {} : { "content-type": "application/json" };
  return request<T>(path, { method, headers, body });
}

async function request<T>(path: string, init: RequestInit): Promise<T> {
  let response: Response;
  let text: string;
  try {
    response = await fetchWithToken(path, init);
    text = await response.text();
  } catch (error) {
    throw new ApiError(`The server does not answer (${error instanceof Error ? error.message : String(error)})`, null);
  }
  const answer = parseJson(text);
  if (response.ok) return answer as T;
  if (response.headers.get("content-type")?.startsWith("application/problem+json") !== true) {
    throw new ApiError(`The server answered ${response.status}`, null);
  }
  const problem = answer as Problem;
  throw new ApiError(problem.detail, problem);
}

function parseJson(text: string): unknown {
  try {
    return JSON.parse(text, keepDigits);
  } catch {
    return null;
  }
}

/** A reviver: browsers that tell a number's source text (all since 2025) lose no digit. */
function keepDigits(_key: string, value: unknown, context?: { readonly source?: string }): unknown {
  if (typeof value !== "number" || Number.isSafeInteger(value) || !Number.isInteger(value)) return value;
  return context?.source !== undefined && /^-?\d+$/.test(context.source) ? BigInt(context.source) : value;
}
