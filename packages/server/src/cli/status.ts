import { Command, InvalidArgumentError, Option } from "commander";
import { sleep } from "../runtime/sleep.ts";
import type { CommandContext } from "./command-context.ts";
import { withHelp } from "./command-help.ts";
import type { CommandOutput } from "./command-output.ts";
import { describeError } from "./describe-error.ts";
import { paintFor } from "./paint.ts";
import { addServerFlags, type ServerFlags, serverPlace } from "./server-flags.ts";
import type { ServerPlace } from "./server-request.ts";
import { StatusRates, type StatusReading, type VersionRates, readStatus } from "./status-reading.ts";
import { statusLines } from "./status-table.ts";
import { stopSignal } from "./stop-signal.ts";
import { TerminalScreen } from "./terminal-screen.ts";

/** Two readings so far apart tell rates, and whoever asks once still has the answer at once. */
const ONCE_APART_MS = 1_000;

interface StatusFlags extends ServerFlags {
  readonly once?: boolean;
  readonly json?: boolean;
  readonly interval: number;
}

/** `emcache status`: all entities of a running server, like `top`. */
export function statusCommand({ output, exitWith }: CommandContext): Command {
  const command = new Command("status")
    .description("Show a server's entities: rows, lag, copies with their time left, rejects, and what is wrong.")
    .option("--once", "print once instead of redrawing; the default where the output is no terminal")
    .option("--json", "print once, as one JSON object")
    .addOption(new Option("--interval <seconds>", "time between two looks").default(1).argParser(intervalOf));
  withHelp(addServerFlags(command), {
    examples: ["emcache status", "emcache status --once", "emcache status --json | jq '.entities[].lag_ms'"],
    exitCodes: {
      0: "every part of the server is healthy and every entity is live",
      1: "one is not",
      2: "there is no server, or it refuses",
    },
  });
  return command.action(async (flags: StatusFlags) => {
    const place = serverPlace(flags);
    const end = stopSignal();
    try {
      const isOnce = flags.once === true || flags.json === true || !process.stdout.isTTY;
      if (!isOnce) return await redraw(place, flags.interval * 1000, output, end.signal);
      const { reading, rates } = await readTwice(place, end.signal);
      if (flags.json === true) output.print(`${JSON.stringify(jsonOf(reading, rates), null, 2)}\n`);
      else output.print(`${statusLines(reading, rates, paintFor(process.stdout)).join("\n")}\n`);
      exitWith(isWell(reading) ? 0 : 1);
    } finally {
      end.release();
    }
  });
}

interface RatedReading {
  readonly reading: StatusReading;
  readonly rates: ReadonlyMap<number, VersionRates>;
}

async function readTwice(place: ServerPlace, signal: AbortSignal): Promise<RatedReading> {
  const rates = new StatusRates();
  const first = await readStatus(place, signal);
  rates.take(first);
  if (first.entities.length > 0) await sleep(ONCE_APART_MS, signal);
  const reading = await readStatus(place, signal);
  return { reading, rates: rates.take(reading) };
}

/** Until `signal` aborts; a server that is away is waited for. */
async function redraw(
  place: ServerPlace,
  intervalMs: number,
  output: CommandOutput,
  signal: AbortSignal,
): Promise<void> {
  const screen = new TerminalScreen((text) => output.print(text));
  const rates = new StatusRates();
  const paint = paintFor(process.stdout);
  while (!signal.aborted) {
    const time = new Date().toTimeString().slice(0, 8);
    const heading = paint.dim(`emcache status  ${place.url}  ${time}  (Ctrl+C ends it)`);
    try {
      const reading = await readStatus(place, signal);
      screen.draw([heading, "", ...statusLines(reading, rates.take(reading), paint)]);
    } catch (error) {
      if (signal.aborted) return;
      screen.draw([heading, "", ...describeError(error).split("\n")]);
    }
    await sleep(intervalMs, signal).catch(() => "it ends");
  }
}

function isWell({ health, entities }: StatusReading): boolean {
  return (
    health.status === "healthy" && entities.every(({ state, last_error: error }) => state === "live" && error === null)
  );
}

function jsonOf({ health, entities }: StatusReading, rates: ReadonlyMap<number, VersionRates>): unknown {
  const rated = <T extends { readonly id: number }>(version: T): T & object => {
    const { entriesPerS = null, etaS = null } = rates.get(version.id) ?? {};
    return { ...version, entries_per_s: entriesPerS, copy_eta_s: etaS };
  };
  return {
    health,
    entities: entities.map((entity) => ({
      ...rated(entity),
      pending: entity.pending === null ? null : rated(entity.pending),
    })),
  };
}

function intervalOf(text: string): number {
  const seconds = Number(text);
  if (!(seconds >= 0.1 && seconds <= 3600)) throw new InvalidArgumentError("Give seconds from 0.1 to 3600.");
  return seconds;
}
