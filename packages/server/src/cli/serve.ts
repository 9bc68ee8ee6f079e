import { Command } from "commander";
import { type ConfigChanges, configChanges } from "../config/config-changes.ts";
import { type LoadedConfig, loadConfigWithPlaces } from "../config/load-config.ts";
import { redactConfig } from "../config/redact-config.ts";
import { createLogger } from "../runtime/logger.ts";
import type { CommandContext } from "./command-context.ts";
import { withHelp } from "./command-help.ts";
import { addConfigFlags } from "./config-flags.ts";
import { packageVersion } from "./package-version.ts";
import { runApp } from "./run-app.ts";

/** `emcache serve`: capture, replicate and serve until a signal ends it. */
export function serveCommand({ args, exitWith }: CommandContext): Command {
  const command = new Command("serve").description(
    "Capture the sources, keep the caches and serve the API, until SIGTERM or SIGINT.",
  );
  withHelp(command, {
    examples: [
      "emcache serve",
      "emcache serve --config /etc/emcache/config.toml --port 9090",
      "emcache serve --sources.main.uri mongodb://localhost:27017/shop",
    ],
    exitCodes: {
      0: "stopped by a signal, in order",
      1: "it could not start or stop, or failed while running",
      2: "the configuration is wrong",
    },
  });
  const configInput = addConfigFlags(command, args);
  return command.action(async () => {
    const input = configInput();
    let loaded = loadConfigWithPlaces(input);
    const { config } = loaded;
    const logger = createLogger({ level: config.logging.level });
    logger.debug({ event: "configured", config: redactConfig(config) }, "configuration in force");
    if (Object.keys(config.sources).length === 0) {
      logger.warn(
        { event: "no_sources" },
        "no source is configured, so there is nothing to capture; add [sources.NAME] with a uri to config.toml",
      );
    }
    // Loaded where it is wanted: all other commands begin in half the time.
    const { createApp } = await import("../app.ts");
    const app = createApp(config, { logger });
    const shutdownTimeoutMs = config.server.shutdownTimeoutS * 1_000;
    const onReload = (): void => {
      try {
        const read = loadConfigWithPlaces(input);
        const changes = configChanges(loaded, read);
        app.reload(read.config);
        // What waits for a restart is not in force: it is named again at the next SIGHUP.
        loaded = { ...loaded, values: valuesInForce(loaded, read, changes) };
        logger.info({ event: "config_reloaded", ...changes }, "the configuration was read again");
      } catch (error) {
        logger.error({ event: "config_reload_failed", err: error }, "the configuration stays as it was");
      }
    };
    exitWith(await runApp(app, { logger, shutdownTimeoutMs, version: packageVersion(), onReload }));
  });
}

function valuesInForce(before: LoadedConfig, read: LoadedConfig, changes: ConfigChanges): LoadedConfig["values"] {
  return new Map([...before.values, ...changes.reloadable.map((key) => [key, read.values.get(key)] as const)]);
}
