import { ACCESS_SCOPES, type AccessScope, type AccessTokenInfo, EmcacheError } from "@emcache/protocol";
import { Command, InvalidArgumentError, Option } from "commander";
import { namePatterns } from "../api/name-pattern.ts";
import { loadConfig } from "../config/load-config.ts";
import { openTokenStore } from "../oplog/open-token-store.ts";
import type { TokensPort } from "../api/api-dependencies.ts";
import type { NewToken } from "../oplog/token-store.ts";
import { messageOf } from "../runtime/error-message.ts";
import { createLogger } from "../runtime/logger.ts";
import type { CommandContext } from "./command-context.ts";
import { withHelp } from "./command-help.ts";
import { serverJson } from "./server-request.ts";

interface TokenFlags {
  readonly url?: string;
  readonly token?: string;
  readonly config?: string;
  readonly json?: boolean;
}

interface CreateFlags extends TokenFlags {
  readonly scope: AccessScope;
  readonly entities: readonly string[];
  readonly expires?: string;
}

/** What each letter of a duration means, in seconds. */
const UNITS: Readonly<Record<string, number>> = { s: 1, m: 60, h: 3_600, d: 86_400 };

/** `emcache token`: make, list and revoke bearer tokens, in PostgreSQL itself or through a server's API. */
export function tokenCommand({ output }: CommandContext): Command {
  const create = withFlags(new Command("create"))
    .description("Make a bearer token and print it; it is shown this once.")
    .argument("<name>", "what the token is called in lists and in the log", tokenName)
    .addOption(
      new Option("--scope <scope>", "what it allows: write includes read, admin both")
        .choices(ACCESS_SCOPES)
        .makeOptionMandatory(),
    )
    .option(
      "--entities <patterns>",
      "names of entities with commas between, * for any characters; default: all",
      entityPatterns,
      ["*"],
    )
    .option("--expires <when>", "a duration such as 90d or 12h, or a time (RFC 3339); default: never", expiryOf)
    .action(async (name: string, flags: CreateFlags) => {
      const { scope, entities, expires } = flags;
      const asked = { name, scope, entities, expiresAt: expires ?? null };
      const { token, info } = await withTokens(flags, (tokens) => tokens.create(asked, never()));
      if (flags.json === true) output.print(`${JSON.stringify({ ...info, token })}\n`);
      else {
        output.print(`${token}\n`);
        output.printError(`${lineOf(info)}\nIt is shown this once: keep it where only its user reads it.\n`);
      }
    });
  const list = withFlags(new Command("list"))
    .description("List all tokens, without themselves.")
    .action(async (flags: TokenFlags) => {
      const found = await withTokens(flags, (tokens) => tokens.list(never()));
      const infos = found.map(({ name, scope, entities, created_at, expires_at }) => {
        return { name, scope, entities, created_at, expires_at };
      });
      if (flags.json === true) output.print(`${JSON.stringify(infos, null, 2)}\n`);
      else for (const info of infos) output.print(`${lineOf(info)}\n`);
    });
  const revoke = withFlags(new Command("revoke"))
    .description("Revoke a token: within seconds no process takes it any more.")
    .argument("<name>")
    .action(async (name: string, flags: TokenFlags) => {
      const existed = await withTokens(flags, (tokens) => tokens.revoke(name, never()));
      if (!existed) throw new EmcacheError("token_not_found", `there is no token ${JSON.stringify(name)}`);
      output.print(flags.json === true ? `${JSON.stringify({ revoked: name })}\n` : `revoked ${name}\n`);
    });
  const command = withHelp(new Command("token"), {
    examples: [
      "emcache token create operator --scope admin",
      "emcache token create billing --scope read --entities 'users,orders_*' --expires 90d",
      "emcache token revoke billing",
    ],
  }).description('Make, list and revoke bearer tokens (server.auth = "token").');
  for (const child of [create, list, revoke]) command.addCommand(child);
  return command;
}

function withFlags(command: Command): Command {
  return command
    .addOption(
      new Option(
        "--url <url>",
        "a server, asked with a token of the scope admin; default: the configuration's PostgreSQL itself",
      ),
    )
    .addOption(new Option("--token <token>", "that token").env("EMCACHE_TOKEN"))
    .addOption(new Option("--config <file>", "TOML file; default: EMCACHE_CONFIG, else config.toml if there is one"))
    .option("--json", "as JSON");
}

/** Does something with the tokens, wherever they are reached. */
async function withTokens<T>(flags: TokenFlags, work: (tokens: TokensPort) => Promise<T>): Promise<T> {
  if (flags.url !== undefined) return work(tokensOfServer(flags.url, flags.token ?? null));
  const { config: file } = flags;
  const config = loadConfig({
    env: process.env,
    flags: {},
    cwd: process.cwd(),
    ...(file === undefined ? {} : { file }),
  });
  // What is wrong is thrown, and shown as every command shows it.
  const logger = createLogger({ level: "silent" });
  const opened = await openTokenStore({ ...config.database.postgres, dataDir: config.dataDir, logger });
  try {
    return await work(opened.store);
  } finally {
    await opened.close();
  }
}

function tokensOfServer(url: string, token: string | null): TokensPort {
  const place = { url, token };
  return {
    async create({ name, scope, entities, expiresAt }: NewToken) {
      const body = { name, scope, entities, expires_at: expiresAt };
      const { token: made, ...info } = await serverJson<AccessTokenInfo & { readonly token: string }>(
        place,
        "POST",
        "/api/tokens",
        { body },
      );
      return { token: made, info };
    },
    list: () => serverJson<AccessTokenInfo[]>(place, "GET", "/api/tokens"),
    async revoke(name) {
      await serverJson(place, "DELETE", `/api/tokens/${encodeURIComponent(name)}`);
      return true;
    },
  };
}

function entityPatterns(text: string): string[] {
  try {
    return namePatterns(text);
  } catch (error) {
    throw new InvalidArgumentError(messageOf(error));
  }
}

function tokenName(text: string): string {
  if (!/^[A-Za-z0-9._@-]{1,100}$/.test(text))
    throw new InvalidArgumentError("Give 1 to 100 letters, digits and . _ @ -");
  return text;
}

/** RFC 3339, UTC. */
function expiryOf(text: string): string {
  const duration = /^(\d{1,6})([smhd])$/.exec(text);
  const ms =
    duration === null ? Date.parse(text) : Date.now() + Number(duration[1]) * (UNITS[duration[2] ?? ""] ?? 0) * 1000;
  if (!Number.isFinite(ms) || ms <= Date.now()) {
    throw new InvalidArgumentError(
      "Give a duration such as 90d or 12h, or a time to come such as 2027-01-31T00:00:00Z.",
    );
  }
  return new Date(ms).toISOString();
}

function lineOf({ name, scope, entities, created_at, expires_at }: AccessTokenInfo): string {
  const expired = expires_at !== null && Date.parse(expires_at) <= Date.now();
  const end = expires_at === null ? "does not expire" : `${expired ? "EXPIRED" : "expires"} ${expires_at}`;
  return `${name}  ${scope}  ${entities.join(",")}  made ${created_at}  ${end}`;
}

function never(): AbortSignal {
  return new AbortController().signal;
}
