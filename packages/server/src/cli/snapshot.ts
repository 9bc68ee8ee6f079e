import type { SnapshotManifest } from "@emcache/protocol";
import { Command, Option } from "commander";
import type { CommandContext } from "./command-context.ts";
import { downloadSnapshot } from "./download-snapshot.ts";
import { type ServerPlace, serverRequest } from "./server-request.ts";

interface ServerOptions {
  readonly url: string;
  readonly token?: string;
}

interface FileOptions extends ServerOptions {
  readonly out?: string;
  readonly force?: boolean;
}

/** `emcache snapshot`: make, list, fetch, restore and delete snapshots of a running server. */
export function snapshotCommand({ output }: CommandContext): Command {
  const create = onServer("create", "Make a snapshot now and show it.")
    .argument("<entity>")
    .action(async (entity: string, options: ServerOptions) => {
      const response = await serverRequest(placeOf(options), "POST", pathOf(entity));
      output.print(`${lineOf((await response.json()) as SnapshotManifest)}\n`);
    });
  const list = onServer("list", "List all snapshots, or those of an entity, newest first.")
    .argument("[entity]")
    .option("--json", "as JSON")
    .action(async (entity: string | undefined, options: ServerOptions & { readonly json?: boolean }) => {
      const query = entity === undefined ? "" : `?entity=${encodeURIComponent(entity)}`;
      const response = await serverRequest(placeOf(options), "GET", `/api/snapshots${query}`);
      const manifests = (await response.json()) as SnapshotManifest[];
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
    .action(async (entity: string, id: string, options: ServerOptions) => {
      await serverRequest(placeOf(options), "DELETE", `${pathOf(entity)}/${encodeURIComponent(id)}`);
      output.print(`deleted ${id}\n`);
    });
  async function download(entity: string, options: FileOptions, query: string): Promise<void> {
    const out = options.out ?? `${entity}.db`;
    const { rows, position, version, bytes } = await downloadSnapshot(
      placeOf(options),
      pathOf(entity) + query,
      out,
      options.force === true,
    );
    output.print(`${out}: ${rows} rows of ${entity} (version ${version}) at position ${position}, ${bytes} bytes\n`);
  }
  const command = new Command("snapshot").description(
    "Make, list, fetch, restore and delete snapshots of a running server.",
  );
  for (const child of [create, list, get, restore, remove]) command.addCommand(child);
  return command;
}

function onServer(name: string, description: string): Command {
  return new Command(name)
    .description(description)
    .addOption(new Option("--url <url>", "the server").env("EMCACHE_URL").default("http://127.0.0.1:8080"))
    .addOption(new Option("--token <token>", "what the server wants as bearer token").env("EMCACHE_TOKEN"));
}

function withFile(command: Command): Command {
  return command
    .argument("<entity>")
    .option("--out <file>", "file to write; default: ENTITY.db")
    .option("--force", "replace the file if it exists");
}

function placeOf({ url, token }: ServerOptions): ServerPlace {
  return { url, token: token ?? null };
}

function pathOf(entity: string): string {
  return `/api/snapshots/${encodeURIComponent(entity)}`;
}

function lineOf(manifest: SnapshotManifest): string {
  const { id, entity, version, position, rows, size_bytes, cluster_time_s: timeS, created_at } = manifest;
  const time = timeS === null ? "" : `, ${new Date(timeS * 1000).toISOString()}`;
  return `${id}  ${entity} v${version}  position ${position}${time}  ${rows} rows  ${size_bytes} bytes  made ${created_at}`;
}
