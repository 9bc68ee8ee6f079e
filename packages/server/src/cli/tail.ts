import { jsonArraySlices, jsonObjectSlices } from "@emcache/cache-file";
import { EmcacheError, ERROR_CATALOGUE, type Shape } from "@emcache/protocol";
import { Command, InvalidArgumentError, Option } from "commander";
import type { EntityStatus } from "../api/entity-status.ts";
import { sleep } from "../runtime/sleep.ts";
import type { CommandContext } from "./command-context.ts";
import { withHelp } from "./command-help.ts";
import type { CommandOutput } from "./command-output.ts";
import { describeError } from "./describe-error.ts";
import { serverEvents } from "./event-source.ts";
import { addServerFlags, type ServerFlags, serverPlace } from "./server-flags.ts";
import { problemOf, type ServerPlace, serverJson, serverRequest } from "./server-request.ts";
import { stopSignal } from "./stop-signal.ts";
import { tailLine } from "./tail-line.ts";

/** Before it asks again after a lost connection. */
const RETRY_MS = 1_000;

interface TailFlags extends ServerFlags {
  readonly from: "now" | "start" | number;
  readonly limit: number;
  readonly json?: boolean;
}

/** `emcache tail`: what happens, as it happens. */
export function tailCommand({ output }: CommandContext): Command {
  const command = new Command("tail")
    .description("Follow the log: each change of some entities, or of all, as it is committed.")
    .argument("[entity...]", "names of entities; default: all")
    .addOption(
      new Option("--from <position>", "where to begin: now, start (of what the log holds), or after a position")
        .default("now")
        .argParser(fromOf),
    )
    .addOption(new Option("--limit <entries>", "end after so many").default(Infinity, "none").argParser(limitOf))
    .option("--json", "each entry as JSON on a line of its own, as the API has it");
  withHelp(addServerFlags(command), {
    examples: ["emcache tail", "emcache tail orders --from start --json | jq .doc_id", "emcache tail users --limit 1"],
    exitCodes: {
      0: "ended by Ctrl+C, SIGTERM or --limit",
      1: "the log can't be followed from there",
      2: "there is no server, or it refuses",
    },
  });
  return command.action(async (names: readonly string[], flags: TailFlags) => {
    const end = stopSignal();
    try {
      await new Tail(serverPlace(flags), names, flags, output).run(end.signal);
    } catch (error) {
      if (!end.signal.aborted) throw error;
    } finally {
      end.release();
    }
  });
}

/** One following of the log, over lost connections and changed entities. */
class Tail {
  readonly #place: ServerPlace;
  readonly #names: readonly string[];
  readonly #flags: TailFlags;
  readonly #output: CommandOutput;
  /** By version. */
  readonly #shapes = new Map<number, Shape>();
  #lastEventId: string | null = null;
  #after: number | null;
  #left: number;

  constructor(place: ServerPlace, names: readonly string[], flags: TailFlags, output: CommandOutput) {
    this.#place = place;
    this.#names = names;
    this.#flags = flags;
    this.#output = output;
    this.#after = flags.from === "now" ? null : flags.from === "start" ? 0 : flags.from;
    this.#left = flags.limit;
  }

  async run(signal: AbortSignal): Promise<void> {
    let isConnected = false;
    while (this.#left > 0) {
      try {
        const response = await this.#open(signal);
        isConnected = true;
        if (response.body === null) throw new EmcacheError("answer_invalid", "The server sent nothing");
        for await (const { event, id, data } of serverEvents(response.body)) {
          if (event === "error") throw problemOf(data, 500);
          // A changed entity: what it is now is asked for and followed from here.
          if (event === "reset") break;
          this.#lastEventId = id ?? this.#lastEventId;
          if (event === "entries") this.#print(data);
          if (this.#left <= 0) return;
        }
      } catch (error) {
        signal.throwIfAborted();
        if (this.#beginsAtFloor(error)) continue;
        const isLost = !(error instanceof EmcacheError) || ERROR_CATALOGUE[error.code].retryable;
        if (!isConnected || !isLost) throw error;
        const words = error instanceof EmcacheError ? describeError(error) : "emcache: the connection was lost";
        this.#output.printError(`${words}\n`);
      }
      await sleep(RETRY_MS, signal);
    }
  }

  async #open(signal: AbortSignal): Promise<Response> {
    const entities = await serverJson<EntityStatus[]>(this.#place, "GET", "/api/entities", { signal });
    for (const entity of entities) {
      for (const { id, shape } of entity.pending === null ? [entity] : [entity, entity.pending]) {
        this.#shapes.set(id, shape);
      }
    }
    const names = this.#names.length > 0 ? this.#names : entities.map(({ name }) => name);
    if (names.length === 0) {
      throw new EmcacheError("entity_not_found", "There is no entity yet", {
        hint: "See `emcache entity create --help`.",
      });
    }
    const query = new URLSearchParams(names.map((name): [string, string] => ["entities", name]));
    if (this.#after !== null) query.set("after", String(this.#after));
    const headers = this.#lastEventId === null ? {} : { "last-event-id": this.#lastEventId };
    return serverRequest(this.#place, "GET", `/api/oplogs/stream?${query.toString()}`, { signal, headers });
  }

  /** The log's start is where retention has left it; the server's refusal of an older place names it. */
  #beginsAtFloor(error: unknown): boolean {
    if (this.#flags.from !== "start" || this.#lastEventId !== null) return false;
    if (!(error instanceof EmcacheError) || error.code !== "position_too_old") return false;
    const floor = Number(error.details["floor"]);
    if (!(floor - 1 > (this.#after ?? 0))) return false;
    this.#after = floor - 1;
    return true;
  }

  #print(page: string): void {
    for (const text of jsonArraySlices(jsonObjectSlices(page).get("entries") ?? "[]")) {
      if (this.#left <= 0) return;
      this.#left -= 1;
      const line = this.#flags.json === true ? text : tailLine(text, (version) => this.#shapes.get(version) ?? null);
      this.#output.print(`${line}\n`);
    }
  }
}

function fromOf(text: string): TailFlags["from"] {
  if (text === "now" || text === "start") return text;
  const position = Number(text);
  if (/^\d+$/.test(text) && Number.isSafeInteger(position)) return position;
  throw new InvalidArgumentError("Give now, start or a position.");
}

function limitOf(text: string): number {
  const limit = Number(text);
  if (Number.isInteger(limit) && limit > 0) return limit;
  throw new InvalidArgumentError("Give a whole number above 0.");
}
