import type { Config } from "../config/config.ts";
import type { TokenDirectory } from "../oplog/token-directory.ts";
import { type Authenticator, openAuthenticator, tokenAuthenticator } from "./authenticator.ts";
import { jwtAuthenticator } from "./jwt-authenticator.ts";

/** What `server.auth` says. */
export function authenticatorOf(
  { auth, jwt }: Pick<Config["server"], "auth" | "jwt">,
  tokens: Pick<TokenDirectory, "find">,
): Authenticator {
  if (auth === "none") return openAuthenticator;
  return jwt === null ? tokenAuthenticator(tokens) : jwtAuthenticator(jwt, tokenAuthenticator(tokens));
}
