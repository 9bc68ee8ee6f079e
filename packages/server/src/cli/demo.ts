import { randomBytes } from "node:crypto";
import { readFileSync } from "node:fs";
import { Command, InvalidArgumentError, Option } from "commander";
import { destination } from "pino";
import { freePort } from "../runtime/free-port.ts";
import { createLogger, type Logger } from "../runtime/logger.ts";
import { redactUri } from "../runtime/redact-uri.ts";
import { EmbeddedSource } from "../source/embedded-source.ts";
import type { CommandContext } from "./command-context.ts";
import { withHelp } from "./command-help.ts";
import type { DemoMongo } from "./demo-app.ts";
import { DemoFolder, visitOtherDemos } from "./demo-folder.ts";
import { packageVersion } from "./package-version.ts";
import { runApp } from "./run-app.ts";

const HOST = "127.0.0.1";
const PORT_DEFAULT = 8080;
/** Lively on the screen, and nothing for the machine. */
const RATE_DEFAULT = 40;
const RATE_MAX = 20_000;
const SHUTDOWN_TIMEOUT_MS = 10_000;
/** Lines of the log that are shown where the demo could not begin. */
const LOG_LINES_SHOWN = 5;

interface DemoFlags {
  readonly mongo?: string;
  readonly rate: number;
  readonly port: number;
  readonly dataDir?: string;
  readonly seed: number;
  readonly open: boolean;
}

/** `emcache demo`: from nothing to live data. */
export function demoCommand({ output, exitWith }: CommandContext): Command {
  return withHelp(new Command("demo"), {
    examples: [
      "emcache demo",
      "emcache demo --rate 2000 --open",
      "emcache demo --mongo mongodb://localhost:27017/?replicaSet=rs0",
    ],
  })
    .description("Show live data at once: a small shop that keeps changing, cached by EMCache, with the web page.")
    .addOption(new Option("--mongo <uri>", "replica set to use instead of the embedded development server"))
    .addOption(numberOption("--rate <changes>", "changes a second", RATE_DEFAULT, 0, RATE_MAX))
    .addOption(
      numberOption("--port <port>", "port of the web page; the next free one is taken", PORT_DEFAULT, 0, 65_535),
    )
    .addOption(new Option("--data-dir <folder>", "folder that stays; default: a temporary one that is removed"))
    .addOption(numberOption("--seed <number>", "the same seed gives the same shop", 1, 0, 2 ** 32 - 1))
    .addOption(new Option("--open", "open the web page in a browser").default(false))
    .action(async (flags: DemoFlags) => exitWith(await runDemo(flags, (text) => output.print(text))));
}

async function runDemo(flags: DemoFlags, printOut: (text: string) => void): Promise<number> {
  let isMuted = false;
  const print = (text: string): void => {
    if (!isMuted) printOut(text);
  };
  print(`\n  EMCache ${packageVersion()} demo\n\n`);
  const folder = DemoFolder.make(flags.dataDir ?? null);
  const logger = createLogger({ level: "info", destination: destination({ dest: folder.logFile, sync: true }) });
  try {
    const { running, removed } = await visitOtherDemos(folder);
    for (const other of running)
      print(`  note       another demo is running: process ${other.pid}, ${other.address}\n`);
    if (removed > 0)
      print(`  note       removed what ${removed === 1 ? "a demo" : `${removed} demos`} that was killed had left\n`);
    const port = await freePort(HOST, flags.port);
    if (port !== flags.port) print(`  note       port ${flags.port} is taken; using ${port}\n`);
    // Loaded where it is wanted: all other commands begin in half the time.
    const { DemoApp } = await import("./demo-app.ts");
    const app = new DemoApp({
      folder,
      host: HOST,
      port,
      mongo: mongoOf(flags, logger),
      database: folder.isTemporary ? `emcache_demo_${randomBytes(3).toString("hex")}` : "emcache_demo",
      rate: flags.rate,
      seed: flags.seed,
      opensBrowser: flags.open,
      isTerminal: process.stdout.isTTY,
      logger,
      print,
    });
    const exitCode = await runApp(app, {
      logger,
      shutdownTimeoutMs: SHUTDOWN_TIMEOUT_MS,
      version: packageVersion(),
      endsWithTerminal: true,
      onStopping: (signal) => {
        // A terminal that is gone can't be written to.
        if (signal === "SIGHUP") isMuted = true;
        print("\n  stopping …\n");
      },
    });
    if (exitCode !== 0) print(lastWords(folder.logFile));
    return exitCode;
  } finally {
    await folder.close();
    print(folder.isTemporary ? "  stopped; everything is removed.\n" : `  stopped; ${folder.path} stays.\n`);
  }
}

function mongoOf(flags: DemoFlags, logger: Logger): DemoMongo {
  const { mongo: uri } = flags;
  if (uri === undefined) return new EmbeddedSource(logger);
  return {
    name: "mongo",
    uri,
    description: redactUri(uri),
    start: async () => {},
    stop: async () => {},
  };
}

function numberOption(flags: string, description: string, byDefault: number, min: number, max: number): Option {
  return new Option(flags, description).default(byDefault).argParser((text) => {
    const value = Number(text);
    if (text.trim() !== "" && value >= min && value <= max) return value;
    throw new InvalidArgumentError(`Expected a number from ${min} to ${max}.`);
  });
}

/** The log goes with its folder, so what it said last is told. */
function lastWords(logFile: string): string {
  const lines = readFileSync(logFile, "utf8").trimEnd().split("\n");
  const bad = lines.filter((line) => /"level":"(?:warn|error|fatal)"/.test(line));
  return bad.length === 0 ? "" : `  Its log said:\n${bad.slice(-LOG_LINES_SHOWN).join("\n")}\n`;
}
