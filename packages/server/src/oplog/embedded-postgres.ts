import { type ChildProcess, spawn } from "node:child_process";
import { chmod, chown, lstat, mkdir, readFile, symlink } from "node:fs/promises";
import { join, resolve } from "node:path";
import { createInterface } from "node:readline";
import { EmcacheError, type EntityDefinition } from "@emcache/protocol";
import pg from "pg";
import { messageOf } from "../runtime/error-message.ts";
import type { Logger } from "../runtime/logger.ts";
import { sleep } from "../runtime/sleep.ts";
import { type ClusterHome, clusterHome } from "./cluster-home.ts";
import { DataDirectoryLock } from "./data-directory-lock.ts";
import { type EmbeddedBinaries, embeddedBinaries } from "./embedded-binaries.ts";
import { keepDefinitions } from "./definitions-to-restore.ts";
import { embeddedSettings } from "./embedded-settings.ts";
import { clearLeftServer } from "./postmaster-process.ts";
import { settleCluster } from "./settle-cluster.ts";
import { type ServerUser, barredDirectory, serverUser } from "./server-user.ts";

/** The port only names the socket's file; nothing listens on the network. */
const PORT = 5432;

const LOG_LINES_KEPT = 20;

export interface EmbeddedPostgresOptions {
  /** The process's data directory; the server's files are in `postgres` below it. */
  readonly dataDir: string;
  /** Connections that our own pool may open. */
  readonly connectionsMax: number;
  readonly logger: Logger;
  /** The entities as far as they are known without the database, for one that has to be set aside. */
  readonly definitions?: () => readonly EntityDefinition[];
}

/**
 * A private PostgreSQL server in the data directory, run as a child process and reached through a Unix socket. It stops
 * with us; one that outlived an earlier process of ours is stopped before the start. One process at a time uses a data
 * directory: a second one is told so.
 */
export class EmbeddedPostgres {
  readonly #options: EmbeddedPostgresOptions;
  readonly #dataDir: string;
  readonly #home: ClusterHome;
  #lock: DataDirectoryLock | null = null;
  #process: ChildProcess | null = null;
  #exited: Promise<void> = Promise.resolve();
  #lastLines: string[] = [];

  constructor(options: EmbeddedPostgresOptions) {
    this.#options = options;
    this.#dataDir = resolve(options.dataDir);
    this.#home = clusterHome(this.#dataDir);
  }

  /** How to connect; known before the start. */
  get connection(): { readonly host: string; readonly port: number; readonly user: string; readonly database: string } {
    return { host: this.#home.socketDir, port: PORT, user: "postgres", database: "emcache" };
  }

  /** Resolves when the server process that was started last has ended. */
  get exited(): Promise<void> {
    return this.#exited;
  }

  get isRunning(): boolean {
    return this.#process !== null;
  }

  /**
   * Starts the server unless it runs; the first time, its data directory is made. Resolves when it takes connections
   * and the database is there. However long recovery after a crash takes: until `signal` aborts.
   *
   * @throws embedded_postgres_failed, with the server's last words.
   */
  async start(signal: AbortSignal): Promise<void> {
    if (this.#process !== null) return;
    try {
      this.#lock ??= DataDirectoryLock.acquire(this.#dataDir);
      const user = await serverUser();
      await this.#makeHome(user);
      const own = await embeddedBinaries(this.#home.programsDir, user);
      await this.#makeSocketDirectory(user);
      const left = await clearLeftServer(this.#home.clusterDir, signal);
      if (left !== "nothing") {
        this.#options.logger.warn(
          { event: "embedded_postgres_left", left },
          "an earlier embedded PostgreSQL was cleared",
        );
      }
      const { clusterDir, programsDir } = this.#home;
      const { logger, definitions } = this.#options;
      const beforeSetAside = () => keepDefinitions(this.#dataDir, definitions?.() ?? []);
      const binaries = await settleCluster({ clusterDir, programsDir, own, user, logger, beforeSetAside });
      this.#spawn(binaries, user);
      await this.#untilConnectable(signal);
      await this.#makeDatabase();
    } catch (error) {
      signal.throwIfAborted();
      if (error instanceof EmcacheError) throw error;
      throw this.#failed(messageOf(error), error);
    }
  }

  /** Stops the server: in order until `signal` aborts, then at once (its log is replayed at the next start). */
  async stop(signal: AbortSignal): Promise<void> {
    const child = this.#process;
    if (child !== null) {
      const stopNow = (): void => {
        child.kill("SIGQUIT");
      };
      if (signal.aborted) stopNow();
      else child.kill("SIGINT");
      signal.addEventListener("abort", stopNow, { once: true });
      await this.#exited;
      signal.removeEventListener("abort", stopNow);
    }
    this.#lock?.release();
    this.#lock = null;
  }

  /** Makes the directory that holds the server's files, and sees that the server's user can enter it. */
  async #makeHome(user: ServerUser | null): Promise<void> {
    const { programsDir, clusterDir, isElsewhere } = this.#home;
    // Whatever our umask: the server's user must be able to pass.
    if ((await mkdir(programsDir, { recursive: true })) !== undefined) await chmod(programsDir, 0o755);
    if (isElsewhere) {
      this.#options.logger.warn(
        { event: "embedded_postgres_elsewhere", clusterDir, dataDir: this.#dataDir },
        `PostgreSQL can't run as root and its user may not enter ${this.#dataDir}: its files are in ${clusterDir}`,
      );
      // For whoever looks for it, or makes a backup.
      await symlink(clusterDir, join(this.#dataDir, "postgres")).catch(() => undefined);
    }
    const barred = await barredDirectory(programsDir, user);
    if (barred === null) return;
    throw new EmcacheError(
      "embedded_postgres_failed",
      user === null
        ? `the directory ${barred} can't be entered`
        : `PostgreSQL can't run as root, and its user "postgres" may not enter ${barred}`,
      {
        hint: `Set \`data_dir\` to a place outside of it (for example /var/lib/emcache), or run \`chmod o+x ${barred}\`.`,
      },
    );
  }

  async #makeSocketDirectory(user: ServerUser | null): Promise<void> {
    await makePrivateDirectory(this.#home.socketDir, user);
    const found = await lstat(this.#home.socketDir);
    // Under a shared directory for temporary files another user may have been first.
    if (
      !found.isDirectory() ||
      found.uid !== (user?.uid ?? process.getuid?.() ?? found.uid) ||
      (found.mode & 0o077) !== 0
    ) {
      throw new EmcacheError("embedded_postgres_failed", `${this.#home.socketDir} belongs to another user`, {
        hint: "Set `data_dir` to a shorter path, so that the socket can lie inside it.",
      });
    }
  }

  #spawn({ postgres, majorVersion }: EmbeddedBinaries, user: ServerUser | null): void {
    const settings = embeddedSettings(this.#home.socketDir, this.#options.connectionsMax, Number(majorVersion));
    const flags = Object.entries(settings).flatMap(([name, value]) => ["-c", `${name}=${value}`]);
    const child = spawn(postgres, ["-D", this.#home.clusterDir, "-p", String(PORT), ...flags], {
      ...user,
      cwd: this.#home.clusterDir,
      // A process group of its own: Ctrl+C in the terminal is for us, who stop it when our work is done.
      detached: true,
      stdio: ["ignore", "ignore", "pipe"],
    });
    this.#lastLines = [];
    this.#process = child;
    createInterface({ input: child.stderr }).on("line", (line) => {
      this.#lastLines = [...this.#lastLines, line].slice(-LOG_LINES_KEPT);
      // Errors of statements and ended connections are told by those who meet them.
      const level = /^(?:WARNING|PANIC)/.test(line) ? "warn" : "debug";
      this.#options.logger[level]({ event: "embedded_postgres_log" }, line);
    });
    this.#exited = new Promise((resolveExit) => {
      const end = (): void => {
        this.#process = null;
        resolveExit();
      };
      child.once("exit", end);
      child.once("error", (error) => {
        this.#lastLines.push(messageOf(error));
        end();
      });
    });
  }

  async #untilConnectable(signal: AbortSignal): Promise<void> {
    for (;;) {
      if (this.#process === null) throw this.#failed("it ended at once");
      const client = new pg.Client({ ...this.connection, database: "postgres" });
      client.on("error", () => undefined);
      try {
        await client.connect();
        await client.end();
        if (await this.#isOurs()) return;
      } catch {
        // Not yet: no socket, or it still recovers. Only its end or ours ends the waiting.
        await client.end().catch(() => undefined);
      }
      await sleep(20, signal);
    }
  }

  /** Whether the server that answers is the one that was started, and not one that was there before. */
  async #isOurs(): Promise<boolean> {
    const text = await readFile(join(this.#home.clusterDir, "postmaster.pid"), "utf8").catch(() => "");
    return Number.parseInt(text, 10) === this.#process?.pid;
  }

  async #makeDatabase(): Promise<void> {
    const client = new pg.Client({ ...this.connection, database: "postgres" });
    await client.connect();
    try {
      const found = await client.query("SELECT 1 FROM pg_database WHERE datname = 'emcache'");
      if (found.rowCount === 0) await client.query("CREATE DATABASE emcache");
    } finally {
      await client.end();
    }
  }

  #failed(words: string, cause?: unknown): EmcacheError {
    const lines = this.#lastLines.length > 0 ? `; its last words: ${this.#lastLines.join(" | ")}` : "";
    return new EmcacheError("embedded_postgres_failed", `the embedded PostgreSQL did not start: ${words}${lines}`, {
      cause,
    });
  }
}

async function makePrivateDirectory(path: string, user: ServerUser | null): Promise<void> {
  const made = await mkdir(path, { recursive: true, mode: 0o700 });
  if (made !== undefined && user !== null) await chown(path, user.uid, user.gid);
}
