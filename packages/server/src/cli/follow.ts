import { type EntityStatus, Follower } from "@emcache/client";
import { Command, InvalidArgumentError, Option } from "commander";
import type { CommandContext } from "./command-context.ts";
import { withHelp } from "./command-help.ts";

interface FollowFlags {
  readonly url: string;
  readonly token?: string;
  readonly entity: readonly string[];
  readonly dir: string;
  readonly consumer?: string;
  readonly json?: boolean;
  readonly healthInterval: number;
}

/** A signal that ends it in order; a second one at once. */
const STOP_SIGNALS = ["SIGTERM", "SIGINT"] as const;

/** Ctrl+C under `npm run` arrives twice, from the terminal and from npm, which passes it on: that is one wish. */
const SAME_SIGNAL_MS = 250;

/**
 * `emcache follow`: keeps entities' files in a folder until a signal ends it, for programs in any language.
 * Exit codes: 0 after a signal, 1 where it can't run (the folder is in use or can't be written), 2 for a wrong call.
 */
export function followCommand({ output, exitWith }: CommandContext): Command {
  const url = new Option("--url <url>", "the EMCache server").env("EMCACHE_URL").argParser(urlOf).makeOptionMandatory();
  const command = new Command("follow").description(
    "Keep entities of an EMCache server in local SQLite files, until SIGTERM or SIGINT.",
  );
  return withHelp(command, {
    examples: [
      "emcache follow --url http://emcache:8080 --entity users orders --dir caches",
      "emcache follow --url http://emcache:8080 --entity users --dir caches --consumer web-1 --json",
    ],
    exitCodes: { 0: "ended by a signal", 1: "the folder is in use or can't be written", 2: "a wrong call" },
  })
    .addOption(url)
    .requiredOption("--entity <name...>", "an entity to keep; repeat it for several")
    .requiredOption("--dir <folder>", "where the files are kept: NAME.db is always the served one")
    .addOption(new Option("--token <token>", "what the server wants as bearer token").env("EMCACHE_TOKEN"))
    .option("--consumer <name>", "a name under which the server keeps the log for this process while it is away")
    .option("--json", "one JSON object a line instead of text")
    .option("--health-interval <seconds>", "how often all entities' states are told again", secondsOf, 60)
    .action(async (flags: FollowFlags) => exitWith(await follow(flags, (line) => output.print(`${line}\n`))));
}

async function follow(flags: FollowFlags, print: (line: string) => void): Promise<number> {
  const { url, entity: entities, dir, consumer, token } = flags;
  const tell = (event: string, statuses: readonly EntityStatus[]): void => {
    if (flags.json === true) print(JSON.stringify({ event, time: new Date().toISOString(), entities: statuses }));
    else for (const status of statuses) print(`${event} ${textOf(status)}`);
  };
  const told = new Map<string, string>();
  const follower = new Follower(
    { url, token, consumer, dir, entities },
    {
      status: (status) => {
        // Positions move all the time: told are states, files and errors.
        const shown = JSON.stringify([status.state, status.path, status.error?.code]);
        if (told.get(status.name) === shown) return;
        told.set(status.name, shown);
        tell("state", [status]);
      },
      rowsChanged: () => undefined,
      changes: () => Promise.resolve(),
    },
  );
  const end = new AbortController();
  const release = onStopSignal(() => end.abort());
  const health = setInterval(() => tell("health", follower.status()), flags.healthInterval * 1000);
  try {
    await follower.run(end.signal);
  } finally {
    clearInterval(health);
    release();
  }
  return 0;
}

/** `users live at 1234 (3 behind), file users.v1.0a1b2c3d.db` */
function textOf({ name, state, position, behind, path, error }: EntityStatus): string {
  const file = path === null ? "" : `, file ${path}`;
  const trouble = error === null ? "" : `: ${error.detail} (${error.code})`;
  return `${name} ${state} at ${position} (${behind} behind)${file}${trouble}`;
}

/** Calls `stop` at the first signal and ends the process at a second one; returns what takes the listeners away. */
function onStopSignal(stop: () => void): () => void {
  let firstMs = -Infinity;
  const onSignal = (): void => {
    const sinceMs = performance.now() - firstMs;
    if (sinceMs < SAME_SIGNAL_MS) return;
    if (sinceMs < Infinity) process.exit(1);
    firstMs = performance.now();
    stop();
  };
  for (const name of STOP_SIGNALS) process.on(name, onSignal);
  return () => {
    for (const name of STOP_SIGNALS) process.off(name, onSignal);
  };
}

function urlOf(text: string): string {
  if (!URL.canParse(text) || !/^https?:/.test(text)) throw new InvalidArgumentError("Give a URL with http or https.");
  return text;
}

function secondsOf(text: string): number {
  const seconds = Number(text);
  if (!(seconds > 0 && seconds < 1_000_000)) throw new InvalidArgumentError("Give a number of seconds above 0.");
  return seconds;
}
