import { type Command, Option } from "commander";
import type { Config } from "../config/config.ts";
import { loadConfig } from "../config/load-config.ts";
import type { ServerPlace } from "./server-request.ts";

/** What was given of them. */
export interface ServerFlags {
  readonly url?: string;
  readonly token?: string;
  readonly config?: string;
}

/**
 * Gives a command the flags of all commands that talk to a running server; `serverPlace` reads them. Without `--url` the
 * server is where the configuration says, on this machine.
 */
export function addServerFlags(command: Command): Command {
  return command
    .addOption(
      new Option("--url <url>", "the server; default: server.host and server.port of the configuration").env(
        "EMCACHE_URL",
      ),
    )
    .addOption(new Option("--token <token>", "what the server wants as bearer token").env("EMCACHE_TOKEN"))
    .addOption(new Option("--config <file>", "TOML file; default: EMCACHE_CONFIG, else config.toml if there is one"));
}

/** Where the command's server is. @throws EmcacheError `config_invalid` */
export function serverPlace({ url, token, config: file }: ServerFlags): ServerPlace {
  const input = { env: process.env, flags: {}, cwd: process.cwd(), ...(file === undefined ? {} : { file }) };
  return { url: url ?? localUrl(loadConfig(input).server), token: token ?? null };
}

/** A server that listens on all addresses is asked on this machine's own. */
export function localUrl({ host, port, tls }: Pick<Config["server"], "host" | "port" | "tls">): string {
  const local = host === "0.0.0.0" ? "127.0.0.1" : host === "::" ? "::1" : host;
  return `${tls === null ? "http" : "https"}://${local.includes(":") ? `[${local}]` : local}:${port}`;
}
