import { Command } from "commander";
import type { Config } from "../config/config.ts";
import { renderConfigReference } from "../config/config-reference.ts";
import { type LoadedConfig, loadConfigWithPlaces } from "../config/load-config.ts";
import { redactConfig } from "../config/redact-config.ts";
import { renderConfigSchema } from "../config/config-schema.ts";
import type { CommandContext } from "./command-context.ts";
import { withHelp } from "./command-help.ts";
import { addConfigFlags } from "./config-flags.ts";

/** `emcache config`: check the configuration, or print its reference. */
export function configCommand({ args, output }: CommandContext): Command {
  const check = new Command("check").description(
    "Tell every mistake in the configuration, or show what is in force and where it was set, without passwords.",
  );
  withHelp(check, {
    examples: ["emcache config check", "EMCACHE_SERVER__PORT=9090 emcache config check --json"],
    exitCodes: { 0: "the configuration is right", 2: "it has mistakes, each of which is told" },
  }).option("--json", "as JSON, with where each value was set");
  const configInput = addConfigFlags(check, args);
  check.action(({ json = false }: { readonly json?: boolean }) => {
    const loaded = loadConfigWithPlaces(configInput());
    output.print(json ? jsonOf(loaded) : renderLoadedConfig(loaded));
  });
  const reference = new Command("reference")
    .description("Print every option with its type, default and reason, as Markdown.")
    .option("--json", "the JSON Schema of config.toml instead")
    .action(({ json = false }: { readonly json?: boolean }) =>
      output.print(json ? renderConfigSchema() : renderConfigReference()),
    );
  return new Command("config")
    .description("Check the configuration, or print its reference.")
    .addCommand(check)
    .addCommand(reference);
}

function renderLoadedConfig({ config, places }: LoadedConfig): string {
  const written = [...places.values()].toSorted().map((place) => `  ${place}\n`);
  const origin =
    written.length === 0 ? "Everything is at its default.\n" : `Set, the rest is at its default:\n${written.join("")}`;
  return `The configuration is right. In force:\n${renderConfig(redactConfig(config))}\n${origin}`;
}

function jsonOf({ config, places }: LoadedConfig): string {
  const written = { config: redactConfig(config), places: Object.fromEntries(places) };
  return `${JSON.stringify(written, null, 2)}\n`;
}

function renderConfig(config: Config): string {
  return JSON.stringify(config, null, 2);
}
