import { Command } from "commander";
import pg from "pg";
import { EmcacheError } from "@emcache/protocol";
import { EMBEDDED } from "../config/option-table.ts";
import { loadConfig } from "../config/load-config.ts";
import { EmbeddedPostgres } from "../oplog/embedded-postgres.ts";
import { migrate } from "../oplog/migrate.ts";
import { type SchemaState, schemaState } from "../oplog/schema-state.ts";
import { withClient } from "../oplog/with-client.ts";
import { createLogger } from "../runtime/logger.ts";
import type { CommandContext } from "./command-context.ts";
import { withHelp } from "./command-help.ts";
import { addConfigFlags } from "./config-flags.ts";
import { stopSignal } from "./stop-signal.ts";

/** A step of the schema waits for those of another process. */
const TIMEOUT_MS = 120_000;
const STOP_TIMEOUT_MS = 10_000;

interface MigrateFlags {
  readonly check?: boolean;
  readonly json?: boolean;
}

/** `emcache migrate`: the schema in PostgreSQL, for those who want it changed at a time of their own. */
export function migrateCommand({ args, output, exitWith }: CommandContext): Command {
  const command = withHelp(
    new Command("migrate")
      .description(
        "Bring the schema emcache in PostgreSQL to this version, and end. `emcache serve` does it by itself at its start.",
      )
      .option("--check", "change nothing: say what is pending")
      .option("--json", "as JSON"),
    {
      examples: ["emcache migrate --check", "emcache migrate"],
      exitCodes: {
        0: "the schema is up to date",
        1: "--check: steps are pending; else: it failed",
        2: "the configuration is wrong",
      },
    },
  );
  const configInput = addConfigFlags(command, args);
  return command.action(async ({ check = false, json = false }: MigrateFlags) => {
    const { dataDir, database } = loadConfig(configInput());
    const end = stopSignal();
    const embedded =
      database.postgres.uri === EMBEDDED
        ? new EmbeddedPostgres({ dataDir, connectionsMax: 5, logger: createLogger({ level: "silent" }) })
        : null;
    try {
      await embedded?.start(end.signal).catch((error: unknown) => {
        throw explained(error);
      });
      const pool = new pg.Pool({
        ...(embedded === null ? { connectionString: database.postgres.uri } : embedded.connection),
        application_name: "emcache migrate",
        connectionTimeoutMillis: database.postgres.connectionTimeoutS * 1000,
        max: 1,
      });
      pool.on("error", () => undefined);
      const options = { signal: end.signal, timeoutMs: TIMEOUT_MS };
      const before = await withClient(pool, options, schemaState);
      if (!check) await migrate(pool, options);
      await pool.end();
      output.print(json ? `${JSON.stringify({ ...before, migrated: !check })}\n` : textOf(before, check));
      exitWith(check && before.pending.length > 0 ? 1 : 0);
    } finally {
      end.release();
      await embedded?.stop(AbortSignal.timeout(STOP_TIMEOUT_MS));
    }
  });
}

function explained(error: unknown): unknown {
  if (!(error instanceof EmcacheError) || !/another EMCache process/.test(error.message)) return error;
  return new EmcacheError(error.code, error.message, {
    hint: "That process has brought its schema to its version when it started; stop it to do it from here.",
    cause: error,
  });
}

function textOf({ version, pending }: SchemaState, isCheck: boolean): string {
  if (pending.length === 0) return `The schema is up to date (version ${version}).\n`;
  const word = isCheck ? "pending" : "done";
  const steps = pending.map((step) => `  ${step.version}  ${step.name}\n`).join("");
  return `The schema ${isCheck ? "has" : "had"} version ${version}; ${word}:\n${steps}`;
}
