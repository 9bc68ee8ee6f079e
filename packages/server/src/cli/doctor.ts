import { Command } from "commander";
import { EMBEDDED } from "../config/option-table.ts";
import { type LoadedConfig, loadConfigWithPlaces } from "../config/load-config.ts";
import type { CommandContext } from "./command-context.ts";
import { withHelp } from "./command-help.ts";
import { addConfigFlags } from "./config-flags.ts";
import { checkDirectory } from "./doctor-disk.ts";
import { checkEmbeddedPostgres } from "./doctor-embedded.ts";
import { checkSource } from "./doctor-mongo.ts";
import { checkPort } from "./doctor-port.ts";
import { checkPostgres } from "./doctor-postgres.ts";
import { type DoctorLine, type DoctorStatus, doctorLines } from "./doctor-report.ts";
import { type Paint, paintFor } from "./paint.ts";

/** Each question has a limit of its own below it. */
const PART_TIMEOUT_MS = 30_000;
/** Making a cluster and starting a server takes seconds, more on a machine that is busy. */
const EMBEDDED_TIMEOUT_MS = 90_000;

/** `emcache doctor`: whether `emcache serve` would work with this configuration, and what to do where not. */
export function doctorCommand({ args, output, exitWith }: CommandContext): Command {
  const command = withHelp(
    new Command("doctor").description(
      "Check what `emcache serve` needs: sources, PostgreSQL, rights, disks, clocks. Changes nothing, and tells a fix for all that is wrong.",
    ),
    {
      examples: ["emcache doctor", "emcache doctor --config /etc/emcache/config.toml", "emcache doctor --json"],
      exitCodes: { 0: "it would work, perhaps with warnings", 1: "a check failed", 2: "the configuration is wrong" },
    },
  ).option("--json", "one JSON object with all checks");
  const configInput = addConfigFlags(command, args);
  return command.action(async ({ json = false }: { readonly json?: boolean }) => {
    const loaded = loadConfigWithPlaces(configInput());
    const lines: DoctorLine[] = [];
    const paint = paintFor(process.stdout);
    for (const part of partsOf(loaded)) {
      const found = await part;
      lines.push(...found);
      if (!json) output.print(found.map((line) => textOf(line, paint)).join(""));
    }
    const counts = { ok: 0, warn: 0, fail: 0 };
    for (const { status } of lines) counts[status] += 1;
    if (json) output.print(`${JSON.stringify({ ok: counts.fail === 0, counts, checks: lines }, null, 2)}\n`);
    else output.print(`\n${summaryOf(counts)}\n`);
    exitWith(counts.fail === 0 ? 0 : 1);
  });
}

/** All parts are checked at once, and told in this order. */
function partsOf({ config, places }: LoadedConfig): readonly Promise<DoctorLine[]>[] {
  const files = new Set([...places.values()].flatMap((place) => /^(.+):\d+: /.exec(place)?.[1] ?? []));
  const from = files.size === 0 ? "no file" : [...files].join(", ");
  const configuration = doctorLines("configuration", PART_TIMEOUT_MS, async (report) => {
    report.ok("settings", `${from}; ${places.size} set, the rest at its default`);
  });
  const sources = Object.entries(config.sources).map(([name, source]) =>
    doctorLines(`source ${name}`, PART_TIMEOUT_MS, (report, signal) => checkSource(name, source, report, signal)),
  );
  const none = doctorLines("sources", PART_TIMEOUT_MS, async (report) => {
    const fix = 'Add to config.toml: [sources.main] and uri = "mongodb://HOST:27017/DATABASE"';
    report.warn("configuration", "none is configured, so there is nothing to cache", fix);
  });
  const isEmbedded = config.database.postgres.uri === EMBEDDED;
  const postgres = doctorLines("PostgreSQL", isEmbedded ? EMBEDDED_TIMEOUT_MS : PART_TIMEOUT_MS, (report, signal) =>
    (isEmbedded ? checkEmbeddedPostgres : checkPostgres)(config, report, signal),
  );
  const directories = [
    ["cache.base_dir", config.cache.baseDir],
    ["data_dir", config.dataDir],
  ] as const;
  const disks = directories.map(([key, path]) =>
    doctorLines(key, PART_TIMEOUT_MS, async (report) => checkDirectory(key, path, report)),
  );
  const api = config.roles.includes("api")
    ? [doctorLines("API", PART_TIMEOUT_MS, (report, signal) => checkPort(config, report, signal))]
    : [];
  return [configuration, ...(sources.length === 0 ? [none] : sources), postgres, ...disks, ...api];
}

const COLOURS = { ok: "green", warn: "yellow", fail: "red" } as const satisfies Record<DoctorStatus, keyof Paint>;

function textOf({ part, check, status, message, fix }: DoctorLine, paint: Paint): string {
  const line = `${paint[COLOURS[status]](status.padEnd(4))}  ${paint.bold(`${part}: ${check}`)}: ${message}\n`;
  return fix === null ? line : `${line}      Fix: ${fix}\n`;
}

function summaryOf({ ok, warn, fail }: Readonly<Record<DoctorStatus, number>>): string {
  const warnings = warn === 0 ? "" : `, ${warn} ${warn === 1 ? "warning" : "warnings"}`;
  if (fail > 0) return `${fail} failed${warnings}, ${ok} ok: emcache serve would not do all of its work.`;
  return `${ok} ok${warnings}: emcache serve can start.`;
}
