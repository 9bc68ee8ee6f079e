import type { SnapshotManifest } from "@emcache/protocol";
import { Command, Option } from "commander";
import type { CommandContext } from "./command-context.ts";
import { withHelp } from "./command-help.ts";
import { downloadSnapshot } from "./download-snapshot.ts";
import { addServerFlags, type ServerFlags, serverPlace } from "./server-flags.ts";
import { serverJson, serverRequest } from "./server-request.ts";

interface JsonOptions extends ServerFlags {
  readonly json?: boolean;
}

interface FileOptions extends JsonOptions {
  readonly out?: string;
  readonly force?: boolean;
}

/** `emcache snapshot`: make, list, fetch, restore and delete snapshots of a running server. */
export function snapshotCommand({ output }: CommandContext): Command {
  const create = onServer("create", "Make a snapshot now and show it.")
    .argument("<entity>")
    .action(async (entity: string, options: JsonOptions) => {
      // As long as it takes: a large one is built and checked first.
      const response = await serverRequest(serverPlace(options), "POST", pathOf(entity));
      const manifest = (await response.json()) as SnapshotManifest;
      output.print(options.json === true ? `${JSON.stringify(manifest, null, 2)}\n` : `${lineOf(manifest)}\n`);
    });
  const list = onServer("list", "List all snapshots, or those of an entity, newest first.")
    .argument("[entity]")
    .action(async (entity: string | undefined, options: JsonOptions) => {
      const query = entity === undefined ? "" : `?entity=${encodeURIComponent(entity)}`;
      const manifests = await serverJson<SnapshotManifest[]>(serverPlace(options), "GET", `/api/snapshots${query}`);
      if (options.json === true) output.print(`${JSON.stringify(manifests, null, 2)}\n`);
      else for (const manifest of manifests) output.print(`${lineOf(manifest)}\n`);
    });
  const get = withFile(onServer("get", "Download the newest snapshot of an entity, or the one of an id."))
    .option("--id <id>", "this one instead of the newest")
    .action(async (entity: string, options: FileOptions & { readonly id?: string }) => {
      await download(entity, options, options.id === undefined ? "" : `?id=${encodeURIComponent(options.id)}`);
    });
  const restore = withFile(onServer("restore", "Download an entity as it was at a point in time."))
    .addOption(new Option("--time <time>", "time of the source: RFC 3339, or seconds since 1970").conflicts("position"))
    .option("--position <position>", "position of the log")
    .action(
      async (
        entity: string,
        options: FileOptions & { readonly time?: string; readonly position?: string },
        command,
      ) => {
        const { time, position } = options;
        if (time === undefined && position === undefined) {
          (command as Command).error("error: give --time or --position");
        }
        const query =
          time === undefined ? `position=${encodeURIComponent(position ?? "")}` : `time=${encodeURIComponent(time)}`;
        await download(entity, options, `?${query}`);
      },
    );
  const remove = onServer("delete", "Delete a snapshot.")
    .argument("<entity>")
    .argument("<id>")
    .action(async (entity: string, id: string, options: JsonOptions) => {
      await serverRequest(serverPlace(options), "DELETE", `${pathOf(entity)}/${encodeURIComponent(id)}`);
      output.print(options.json === true ? `${JSON.stringify({ deleted: id })}\n` : `deleted ${id}\n`);
    });
  async function download(entity: string, options: FileOptions, query: string): Promise<void> {
    const out = options.out ?? `${entity}.db`;
    const downloaded = await downloadSnapshot(
      serverPlace(options),
      pathOf(entity) + query,
      out,
      options.force === true,
    );
    const { rows, position, version, bytes } = downloaded;
    if (options.json === true) return output.print(`${JSON.stringify({ file: out, entity, ...downloaded })}\n`);
    output.print(`${out}: ${rows} rows of ${entity} (version ${version}) at position ${position}, ${bytes} bytes\n`);
  }
  const command = withHelp(new Command("snapshot"), {
    examples: [
      "emcache snapshot create users",
      "emcache snapshot get users --out users.db",
      "emcache snapshot restore users --time 2026-11-24T06:00:00Z --out yesterday.db",
    ],
  }).description("Make, list, fetch, restore and delete snapshots of a running server.");
  for (const child of [create, list, get, restore, remove]) command.addCommand(child);
  return command;
}

function onServer(name: string, description: string): Command {
  return addServerFlags(new Command(name).description(description)).option("--json", "as JSON");
}

function withFile(command: Command): Command {
  return command
    .argument("<entity>")
    .option("--out <file>", "file to write; default: ENTITY.db")
    .option("--force", "replace the file if it exists");
}

function pathOf(entity: string): string {
  return `/api/snapshots/${encodeURIComponent(entity)}`;
}

function lineOf(manifest: SnapshotManifest): string {
  const { id, entity, version, position, rows, size_bytes, cluster_time_s: timeS, created_at } = manifest;
  const time = timeS === null ? "" : `, ${new Date(timeS * 1000).toISOString()}`;
  return `${id}  ${entity} v${version}  position ${position}${time}  ${rows} rows  ${size_bytes} bytes  made ${created_at}`;
}
