import { execFileSync } from "node:child_process";
import { mkdirSync, readFileSync, rmSync } from "node:fs";
import { join } from "node:path";
import pg from "pg";
import { EmbeddedPostgres } from "../../packages/server/src/oplog/embedded-postgres.ts";
import { type TcpProxy, startTcpProxy } from "../../packages/server/src/oplog/testing/tcp-proxy.ts";
import { createLogger } from "../../packages/server/src/runtime/logger.ts";
import { processes } from "./child-process-group.ts";
import { eventually } from "./eventually.ts";

const START_DEADLINE_MS = 60_000;

/** Room for ten processes' pools. */
const CONNECTIONS_MAX = 200;

/**
 * A PostgreSQL of the test's own, reached through a proxy: it can be killed at a chosen message, started again, and
 * set back to a copy of its data directory.
 */
export class FaultyPostgres {
  /** Through the proxy. */
  readonly uri: string;
  /** Called with each piece that a client sends, before the server has it. */
  onMessage: (piece: Buffer) => void = () => undefined;
  readonly #server: EmbeddedPostgres;
  readonly #proxy: TcpProxy;
  readonly #clusterDir: string;
  readonly #directUri: string;

  private constructor(server: EmbeddedPostgres, proxy: TcpProxy, clusterDir: string, directUri: string) {
    this.#server = server;
    this.#proxy = proxy;
    this.uri = proxy.uri;
    this.#clusterDir = clusterDir;
    this.#directUri = directUri;
    proxy.decide = (piece) => {
      this.onMessage(piece);
      return "forward";
    };
  }

  /**
   * @param folder holds its data; made if missing
   * @param preload path of a library that the server's processes load first (LD_PRELOAD)
   */
  static async start(folder: string, preload: string | null = null): Promise<FaultyPostgres> {
    mkdirSync(folder, { recursive: true });
    const logger = createLogger({ level: "error" });
    const server = new EmbeddedPostgres({ dataDir: folder, connectionsMax: CONNECTIONS_MAX, logger });
    if (preload !== null) process.env["LD_PRELOAD"] = preload;
    try {
      await server.start(AbortSignal.timeout(START_DEADLINE_MS));
    } finally {
      delete process.env["LD_PRELOAD"];
    }
    const { host, port, user, database } = server.connection;
    const direct = `postgres://${user}@localhost:${port}/${database}?host=${encodeURIComponent(host)}`;
    return new FaultyPostgres(server, await startTcpProxy(direct), join(folder, "postgres"), direct);
  }

  /** A further way to it, with a proxy of its own; whoever asks for it stops it. */
  newProxy(): Promise<TcpProxy> {
    return startTcpProxy(this.#directUri);
  }

  /** The postmaster and its children. */
  pids(): number[] {
    const postmaster = Number(readFileSync(join(this.#clusterDir, "postmaster.pid"), "utf8").split("\n")[0]);
    const children = processes().filter((one) => one.parent === postmaster && one.state !== "Z");
    return [postmaster, ...children.map((one) => one.pid)];
  }

  /** SIGKILL for all of it at this very moment. */
  kill(): void {
    for (const pid of this.pids()) {
      try {
        process.kill(pid, "SIGKILL");
      } catch {
        // A child ends with its postmaster.
      }
    }
  }

  /** Starts it again once it has ended. */
  async restart(): Promise<void> {
    await eventually(() => !this.#server.isRunning, START_DEADLINE_MS, "PostgreSQL has ended");
    await this.#server.start(AbortSignal.timeout(START_DEADLINE_MS));
  }

  /** Ends it in order. */
  async stop(): Promise<void> {
    await this.#server.stop(AbortSignal.timeout(START_DEADLINE_MS));
  }

  /** Copies the data directory of the stopped server: a backup. */
  backUp(target: string): void {
    copyAll(this.#clusterDir, target);
  }

  /** Puts a backup in the place of the stopped server's data. */
  restore(backup: string): void {
    rmSync(this.#clusterDir, { recursive: true, force: true });
    copyAll(backup, this.#clusterDir);
  }

  /** Runs SQL, past the proxy. */
  async query<Row extends pg.QueryResultRow>(text: string, values: readonly unknown[] = []): Promise<Row[]> {
    // Whatever a test made the default.
    const options = "-c default_transaction_read_only=off";
    const client = new pg.Client({ connectionString: this.#directUri, options });
    await client.connect();
    try {
      return (await client.query<Row>(text, [...values])).rows;
    } finally {
      await client.end();
    }
  }

  async dispose(): Promise<void> {
    await this.#proxy.stop();
    await this.#server.stop(AbortSignal.abort());
  }
}

/** With owners and rights, which PostgreSQL insists on. */
function copyAll(source: string, target: string): void {
  execFileSync("cp", ["-a", source, target]);
}
