import { EmcacheError, ERROR_CATALOGUE, type ErrorCode } from "@emcache/protocol";
import { messageOf } from "../runtime/error-message.ts";

/** A server that a command talks to. */
export interface ServerPlace {
  /** Such as `http://127.0.0.1:8080`. */
  readonly url: string;
  /** Null: none is sent. */
  readonly token: string | null;
}

/**
 * One request to a server's REST API. Redirects are not followed: see `location`.
 *
 * @throws EmcacheError as the server told it; `server_unreachable`
 */
export async function serverRequest(
  { url, token }: ServerPlace,
  method: "GET" | "POST" | "DELETE",
  path: string,
  signal?: AbortSignal,
): Promise<Response> {
  const target = new URL(path, `${url.replace(/\/+$/, "")}/`);
  const headers = token === null ? {} : { authorization: `Bearer ${token}` };
  const init = { method, headers, redirect: "manual", ...(signal === undefined ? {} : { signal }) } as const;
  const response = await fetch(target, init).catch((error: unknown) => {
    signal?.throwIfAborted();
    const cause = error instanceof Error && error.cause !== undefined ? error.cause : error;
    throw new EmcacheError("server_unreachable", `${target.origin}: ${messageOf(cause)}`, {
      hint: "Is `emcache serve` running there? --url names another address.",
      cause: error,
    });
  });
  if (response.status < 400) return response;
  throw problemOf(await response.text(), response.status);
}

/** The error that a problem document (RFC 9457) tells of. */
function problemOf(body: string, status: number): EmcacheError {
  try {
    const problem = JSON.parse(body) as { code?: string; detail?: string; hint?: string; errors?: string[] };
    const { code = "", detail = body, hint, errors } = problem;
    if (Object.hasOwn(ERROR_CATALOGUE, code)) {
      return new EmcacheError(code as ErrorCode, detail, {
        ...(hint === undefined ? {} : { hint }),
        ...(errors === undefined ? {} : { errors }),
      });
    }
  } catch {
    // Not of EMCache: what was said follows as it is.
  }
  return new EmcacheError("answer_invalid", `The server answered ${status}: ${body.slice(0, 200)}`);
}
