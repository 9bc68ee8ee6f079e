import { EmcacheError } from "@emcache/protocol";
import { Command, Option } from "commander";
import { messageOf } from "../runtime/error-message.ts";
import type { CommandContext } from "./command-context.ts";
import type { CommandOutput } from "./command-output.ts";
import { withHelp } from "./command-help.ts";
import { describeError } from "./describe-error.ts";
import { addServerFlags, type ServerFlags, serverPlace } from "./server-flags.ts";
import { type ServerPlace, serverJson, serverRequest } from "./server-request.ts";
import { verifyLineText } from "./verify-line.ts";

/** Exit codes are as `diff` has them: 0 equal, 1 different, 2 not compared. */
const EXIT_TROUBLE = 2;

interface VerifyFlags extends ServerFlags {
  readonly repair?: boolean;
  readonly json?: boolean;
  readonly limit: string;
}

/** `emcache verify [ENTITY]`: asks a running server to compare source and cache. */
export function verifyCommand({ output, exitWith }: CommandContext): Command {
  const command = new Command("verify")
    .description("Compare an entity's source with its cache, or all entities, while both are live.")
    .argument("[entity]", "name of an entity; default: all")
    .addOption(new Option("--repair", "log the state of each differing document once more"))
    .addOption(new Option("--json", "write each line as the server sends it, as JSON"))
    .addOption(new Option("--limit <count>", "differences that are named; all are counted").default("100"));
  withHelp(addServerFlags(command), {
    examples: ["emcache verify", "emcache verify users --repair"],
    exitCodes: { 0: "equal", 1: "a difference was found, repaired or not", 2: "not compared" },
  });
  return command.action(async (entity: string | undefined, flags: VerifyFlags) => {
    const end = new AbortController();
    const onSignal = (): void => end.abort();
    process.once("SIGINT", onSignal).once("SIGTERM", onSignal);
    try {
      const server = serverPlace(flags);
      const names = entity === undefined ? await entityNames(server, end.signal) : [entity];
      if (names.length === 0) output.printError("There is no entity.\n");
      let exitCode = 0;
      for (const name of names) {
        const outcome = await verifyEntity(name, flags, server, { output, signal: end.signal }).catch(
          (error: unknown) => {
            end.signal.throwIfAborted();
            // The other entities may be well.
            output.printError(`${describeError(error)}\n`);
            return EXIT_TROUBLE;
          },
        );
        exitCode = Math.max(exitCode, outcome);
      }
      exitWith(exitCode);
    } catch (error) {
      output.printError(end.signal.aborted ? "\nemcache: ended before it was done\n" : `${describeError(error)}\n`);
      exitWith(EXIT_TROUBLE);
    } finally {
      process.off("SIGINT", onSignal).off("SIGTERM", onSignal);
    }
  });
}

async function entityNames(server: ServerPlace, signal: AbortSignal): Promise<string[]> {
  const entities = await serverJson<readonly { readonly name: string }[]>(server, "GET", "/api/entities", { signal });
  return entities.map(({ name }) => name);
}

async function verifyEntity(
  name: string,
  { repair = false, json = false, limit }: VerifyFlags,
  server: ServerPlace,
  { output, signal }: { readonly output: CommandOutput; readonly signal: AbortSignal },
): Promise<number> {
  const query = new URLSearchParams({ repair: String(repair), limit }).toString();
  const path = `/api/entities/${encodeURIComponent(name)}/verify?${query}`;
  const isTerminal = process.stderr.isTTY;
  let exitCode: number | null = null;
  for await (const line of linesOf(await serverRequest(server, "POST", path, { signal }), server)) {
    const shown = verifyLineText(name, line);
    exitCode = shown.exitCode ?? exitCode;
    if (json) output.print(`${line}\n`);
    else if (shown.isProgress && isTerminal) output.printError(`\r\u001b[2K${shown.text}`);
    else if (!shown.isProgress) {
      if (isTerminal) output.printError("\r\u001b[2K");
      if (shown.exitCode === EXIT_TROUBLE) output.printError(`${shown.text}\n`);
      else output.print(`${shown.text}\n`);
    }
  }
  if (exitCode !== null) return exitCode;
  throw new EmcacheError("server_unreachable", `${server.url} ended its answer before the result`);
}

/** The lines of an answer, as they come. */
async function* linesOf(response: Response, { url }: ServerPlace): AsyncGenerator<string> {
  const decoder = new TextDecoder();
  let rest = "";
  try {
    for await (const bytes of response.body ?? []) {
      const lines = (rest + decoder.decode(bytes, { stream: true })).split("\n");
      rest = lines.pop() ?? "";
      yield* lines;
    }
  } catch (error) {
    if (error instanceof Error && error.name === "AbortError") throw error;
    throw new EmcacheError("server_unreachable", `${url}: ${messageOf(error)}`, { cause: error });
  }
}
