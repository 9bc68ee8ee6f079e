import { Command, InvalidArgumentError } from "commander";
import type { CommandContext } from "./command-context.ts";
import { withHelp } from "./command-help.ts";
import { renderRows } from "./render-rows.ts";
import { addServerFlags, type ServerFlags, serverPlace } from "./server-flags.ts";
import { serverRequest } from "./server-request.ts";

interface SqlFlags extends ServerFlags {
  readonly param: readonly string[];
  readonly limit?: number;
  readonly json?: boolean;
}

/** `emcache sql ENTITY "select …"`: a query over an entity's cache on a running server. */
export function sqlCommand({ output }: CommandContext): Command {
  const command = withHelp(new Command("sql"), {
    examples: [
      'emcache sql users "select count(*) from users"',
      'emcache sql orders "select status, sum(total) from orders where day >= ? group by status" --param 2026-11-01',
      'emcache sql users "select * from users limit 10" --json',
    ],
  })
    .description("Run a SELECT over an entity's cache on a running server; nothing can be written.")
    .argument("<entity>", "the entity; its rows are in the view of its name")
    .argument("<sql>", "one SELECT in SQLite's SQL")
    .option(
      "--param <value>",
      "value of the next ?; repeat it for several",
      (value, before: string[]) => [...before, value],
      [],
    )
    .option("--limit <rows>", "rows at most (up to 10,000)", rowsOf)
    .option("--json", "print the server's answer: {columns, rows, truncated}");
  return addServerFlags(command).action(async (entity: string, sql: string, flags: SqlFlags) => {
    const { param: params, limit } = flags;
    const path = `/api/entities/${encodeURIComponent(entity)}/query`;
    const body = { sql, params, ...(limit === undefined ? {} : { limit }) };
    const response = await serverRequest(serverPlace(flags), "POST", path, { body });
    const text = await response.text();
    if (flags.json === true) return output.print(`${text}\n`);
    const { table, note } = renderRows(text);
    output.print(table);
    if (note !== null) output.printError(`${note}\n`);
  });
}

function rowsOf(text: string): number {
  const rows = Number(text);
  if (!Number.isInteger(rows) || rows < 1) throw new InvalidArgumentError("Give a whole number from 1 to 10000.");
  return rows;
}
