import { EmcacheError } from "@emcache/protocol";
import type { TokenDirectory } from "../oplog/token-directory.ts";
import { Access, OPEN_ACCESS } from "./access.ts";

/** Tells who sends a request. */
export interface Authenticator {
  /** Whether requests need a token at all. */
  readonly isRequired: boolean;
  /**
   * @param token what follows `Bearer` in the header `authorization`; null where there is none
   * @throws EmcacheError `unauthorized`; `postgres_unavailable` where it can't be known yet
   */
  authenticate(token: string | null): Promise<Access>;
}

/** `server.auth = "none"`: whoever reaches the API may use it. */
export const openAuthenticator: Authenticator = {
  isRequired: false,
  authenticate: async () => OPEN_ACCESS,
};

/** `server.auth = "token"`. */
export function tokenAuthenticator(tokens: Pick<TokenDirectory, "find">): Authenticator {
  return {
    isRequired: true,
    async authenticate(token) {
      if (token === null) throw new EmcacheError("unauthorized", "The request carries no token");
      const found = tokens.find(token);
      if (found === null) throw new EmcacheError("unauthorized", "The token is unknown, revoked or expired");
      const { name, scope, entities } = found;
      return new Access({ name, scope, entities, isCurrent: () => tokens.find(token) !== null });
    },
  };
}
