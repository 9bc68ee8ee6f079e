import { join } from "node:path";
import { MongoClient } from "mongodb";
import { ChildProcessGroup, lastLines } from "./child-process-group.ts";
import { eventually } from "./eventually.ts";
import { freePort } from "./free-port.ts";
import { secantusProgram } from "./secantus-venv.ts";

/** After a SIGKILL it replays its log first; a loaded machine takes this long at most. */
const START_DEADLINE_MS = 60_000;

export interface SecantusOptions {
  /** Where its data and its log file lie. */
  readonly folder: string;
  /** Default: a free one. */
  readonly port?: number;
  /** As a server without a replica set, which has no change streams as far as drivers can tell. */
  readonly standalone?: boolean;
  /** Entries of its oplog at most; a small number makes it lose history. */
  readonly oplogEntriesMax?: number;
  /** Without it, commits are flushed lazily: faster, but a SIGKILL may lose acknowledged writes. Default true. */
  readonly syncOnCommit?: boolean;
}

/** An independent MongoDB-compatible server (SecantusDB) in a process of its own. */
export class SecantusServer {
  readonly port: number;
  readonly uri: string;
  readonly #options: SecantusOptions;
  readonly #program: string;
  #process: ChildProcessGroup | null = null;

  private constructor(program: string, port: number, options: SecantusOptions) {
    this.#program = program;
    this.#options = options;
    this.port = port;
    this.uri = `mongodb://127.0.0.1:${port}/${options.standalone === true ? "?directConnection=true" : "?replicaSet=secantus"}`;
  }

  /** Starts one and waits until it answers. */
  static async start(options: SecantusOptions): Promise<SecantusServer> {
    const server = await SecantusServer.prepare(options);
    await server.restart();
    return server;
  }

  /** One that is not running yet; `restart` starts it. Its address is known already. */
  static async prepare(options: SecantusOptions): Promise<SecantusServer> {
    return new SecantusServer(await secantusProgram(), options.port ?? (await freePort()), options);
  }

  get isRunning(): boolean {
    return this.#process !== null && this.#process.exit === null;
  }

  /** Starts it (again) on the same port and data, and waits until it answers. */
  async restart(): Promise<void> {
    if (this.isRunning) throw new Error("SecantusDB is running");
    const process = new ChildProcessGroup("SecantusDB", this.#program, this.#arguments(), {
      logFile: join(this.#options.folder, `secantus-${this.port}.log`),
    });
    this.#process = process;
    await eventually(
      async () => {
        if (process.exit !== null) return "ended";
        await ping(this.uri);
        return "answers";
      },
      START_DEADLINE_MS,
      () => `SecantusDB answers on port ${this.port}; its log: ${lastLines(process.logs())}`,
    );
    if (process.exit !== null) throw new Error(`SecantusDB ended while starting: ${lastLines(process.logs())}`);
  }

  /** Ends it in good order. */
  async stop(): Promise<void> {
    const process = this.#process;
    if (process === null) return;
    process.signal("SIGTERM");
    const ended = await process.waitForExit(10_000).catch(() => null);
    // It waits for open connections without end; its data is safe either way, with --sync-on-commit.
    if (ended === null) await this.kill();
    this.#process = null;
  }

  /** SIGKILL: as if the machine had lost it. */
  async kill(): Promise<void> {
    const process = this.#process;
    if (process === null) return;
    process.signalGroup("SIGKILL");
    await process.exited;
    this.#process = null;
  }

  /** SIGSTOP or SIGCONT, to make it hang. */
  signal(signal: NodeJS.Signals): void {
    this.#process?.signal(signal);
  }

  #arguments(): string[] {
    const { folder, standalone, oplogEntriesMax, syncOnCommit } = this.#options;
    return [
      "--host",
      "127.0.0.1",
      "--port",
      String(this.port),
      "--storage-path",
      join(folder, `secantus-${this.port}`),
      ...((syncOnCommit ?? true) ? ["--sync-on-commit"] : []),
      "--oplog-max-entries",
      String(oplogEntriesMax ?? 100_000_000),
      "--oplog-retention-seconds",
      "864000",
      // So that the tokens of a quiet stream move on, as they do in MongoDB (there every 10 s).
      "--noop-heartbeat-seconds",
      "1",
      ...(standalone === true ? ["--standalone"] : []),
    ];
  }
}

async function ping(uri: string): Promise<void> {
  const client = new MongoClient(uri, { serverSelectionTimeoutMS: 2_000, connectTimeoutMS: 2_000, maxPoolSize: 1 });
  try {
    await client.db("admin").command({ ping: 1 });
  } finally {
    await client.close();
  }
}
