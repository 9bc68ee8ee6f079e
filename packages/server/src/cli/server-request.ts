import { EmcacheError, ERROR_CATALOGUE, type ErrorCode } from "@emcache/protocol";
import { messageOf } from "../runtime/error-message.ts";

/** A server that a command talks to. */
export interface ServerPlace {
  /** Such as `http://127.0.0.1:8080`. */
  readonly url: string;
  /** Null: none is sent. */
  readonly token: string | null;
}

interface RequestOptions {
  readonly signal?: AbortSignal;
  /** Sent as JSON. */
  readonly body?: unknown;
  readonly headers?: Readonly<Record<string, string>>;
}

/** An answer from memory takes milliseconds; one that waits for PostgreSQL is given up by the server before this. */
const JSON_TIMEOUT_MS = 30_000;

/**
 * One request to a server's REST API. Redirects are not followed: see `location`.
 *
 * @throws EmcacheError as the server told it; `server_unreachable`
 */
export async function serverRequest(
  { url, token }: ServerPlace,
  method: "GET" | "POST" | "PUT" | "DELETE",
  path: string,
  { signal, body, headers = {} }: RequestOptions = {},
): Promise<Response> {
  const target = targetOf(url, path);
  const response = await fetch(target, {
    method,
    headers: {
      ...(token === null ? {} : { authorization: `Bearer ${token}` }),
      ...(body === undefined ? {} : { "content-type": "application/json" }),
      ...headers,
    },
    redirect: "manual",
    ...(body === undefined ? {} : { body: JSON.stringify(body) }),
    ...(signal === undefined ? {} : { signal }),
  }).catch((error: unknown) => {
    signal?.throwIfAborted();
    throw unreachable(target, error);
  });
  if (response.status < 400) return response;
  throw problemOf(await response.text(), response.status);
}

/**
 * A request whose answer is JSON, with a time limit.
 *
 * @throws EmcacheError as the server told it; `server_unreachable`, `answer_invalid`
 */
export async function serverJson<T>(
  place: ServerPlace,
  method: "GET" | "POST" | "PUT" | "DELETE",
  path: string,
  options: RequestOptions = {},
): Promise<T> {
  const timeout = AbortSignal.timeout(JSON_TIMEOUT_MS);
  const signal = options.signal === undefined ? timeout : AbortSignal.any([timeout, options.signal]);
  try {
    const response = await serverRequest(place, method, path, { ...options, signal });
    return (await response.json()) as T;
  } catch (error) {
    options.signal?.throwIfAborted();
    if (error instanceof EmcacheError) throw error;
    if (timeout.aborted) throw unreachable(targetOf(place.url, path), `no answer within ${JSON_TIMEOUT_MS / 1000} s`);
    throw new EmcacheError("answer_invalid", `${place.url} did not answer with JSON: ${messageOf(error)}`);
  }
}

function targetOf(url: string, path: string): URL {
  const base = `${url.replace(/\/+$/, "")}/`;
  if (URL.canParse(base) && /^https?:/.test(base)) return new URL(path.replace(/^\//, ""), base);
  throw new EmcacheError("bad_request", `${url} is no address of a server`, {
    hint: "Write it as http://HOST:PORT.",
  });
}

function unreachable(target: URL, error: unknown): EmcacheError {
  const cause = error instanceof Error && error.cause !== undefined ? error.cause : error;
  return new EmcacheError("server_unreachable", `${target.origin}: ${messageOf(cause)}`, {
    hint: "Is `emcache serve` running there? --url names another address.",
    cause: error,
  });
}

/** The error that a problem document (RFC 9457) tells of; what else it holds becomes `details`. */
export function problemOf(body: string, status: number): EmcacheError {
  try {
    const problem = JSON.parse(body) as Readonly<Record<string, unknown>> & {
      readonly code?: string;
      readonly detail?: string;
      readonly hint?: string;
      readonly errors?: string[];
    };
    const { code = "", detail = body, hint, errors, ...details } = problem;
    if (Object.hasOwn(ERROR_CATALOGUE, code)) {
      return new EmcacheError(code as ErrorCode, detail, {
        ...(hint === undefined ? {} : { hint }),
        ...(errors === undefined ? {} : { errors }),
        details,
      });
    }
  } catch {
    // Not of EMCache: what was said follows as it is.
  }
  if (status === 401 || status === 403) return new EmcacheError("server_refused", `The server answered ${status}`);
  return new EmcacheError("answer_invalid", `The server answered ${status}: ${body.slice(0, 200)}`);
}
