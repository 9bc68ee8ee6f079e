import type { ApiDependencies } from "./api/api-dependencies.ts";
import { authenticatorOf } from "./api/authenticator-of.ts";
import { QueryRunner } from "./cache/query-runner.ts";
import type { Config } from "./config/config.ts";
import type { CommitSignal } from "./oplog/commit-signal.ts";
import { TokenDirectory } from "./oplog/token-directory.ts";
import type { TokenStore } from "./oplog/token-store.ts";
import { type Logger, moduleLogger } from "./runtime/logger.ts";
import type { Service } from "./runtime/service.ts";

interface AccessParts {
  /** What runs for it, in a process that serves the API. */
  readonly services: readonly Service[];
  readonly dependencies: Pick<ApiDependencies, "authenticator" | "tokens" | "queries">;
}

/** Who may use the API, and what runs their queries. */
export function accessParts(
  { server }: Config,
  { tokenStore, commitSignal }: { readonly tokenStore: TokenStore; readonly commitSignal: CommitSignal },
  rootLogger: Logger,
): AccessParts {
  const logger = moduleLogger(rootLogger, "api");
  const tokens = new TokenDirectory({ store: tokenStore, logger });
  commitSignal.onRegistryChange(() => void tokens.refresh().catch(() => "the poll sees it"));
  const { isEnabled, timeoutS } = server.query;
  const queries = isEnabled ? new QueryRunner({ timeoutMs: timeoutS * 1000, logger }) : null;
  return {
    services: [...(server.auth === "none" ? [] : [tokens]), ...(queries === null ? [] : [queries])],
    dependencies: { authenticator: authenticatorOf(server, tokens), tokens: tokenStore, queries },
  };
}
