import { mkdirSync, readFileSync, readdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { ChildProcessGroup, lastLines, processes } from "./child-process-group.ts";
import { eventually } from "./eventually.ts";
import { type OplogDatabase, makeOplogDatabase } from "./oplog-database.ts";

/** A first start initialises a PostgreSQL, on a machine that may be busy with other suites. */
const START_DEADLINE_MS = 60_000;

/** The command line as `npm install` links it. */
export const emcacheProgram = fileURLToPath(new URL("../../node_modules/.bin/emcache", import.meta.url));

/** One line of the program's log. */
export interface LogLine {
  readonly level: string;
  readonly event?: string;
  readonly msg?: string;
  readonly [field: string]: unknown;
}

/** Processes whose embedded PostgreSQL may run: it has a group of its own, which no group's signal reaches. */
const launched = new Set<EmcacheProcess>();

/** What a test sets; everything else is the program's default. */
export interface EmcacheOptions {
  /** Holds the configuration, the data, the caches and the log. */
  readonly folder: string;
  /** By name. */
  readonly sources: Readonly<Record<string, { readonly uri: string; readonly database: string }>>;
  /** Further settings by key of config.toml, such as `{"copy.rows_per_s_max": 500}`; they win. */
  readonly settings?: Readonly<Record<string, string | number | readonly string[]>>;
  /** A PostgreSQL of the test's own; default is embedded, or a new database on `EMCACHE_TEST_POSTGRES_URI`. */
  readonly postgresUri?: string;
  readonly environment?: Readonly<Record<string, string>>;
}

/** The program as a user runs it, `emcache serve --config FILE`, in a process group of its own. */
export class EmcacheProcess {
  readonly folder: string;
  readonly configFile: string;
  readonly cacheFolder: string;
  readonly #oplogDatabase: OplogDatabase | null;
  readonly #environment: NodeJS.ProcessEnv;
  /** Null: embedded. */
  readonly #postgresUri: string | null;
  #process: ChildProcessGroup | null = null;
  #address: string | null = null;
  #starts = 0;

  private constructor(options: EmcacheOptions, oplogDatabase: OplogDatabase | null) {
    this.folder = options.folder;
    this.configFile = join(options.folder, "config.toml");
    this.cacheFolder = join(options.folder, "caches");
    this.#oplogDatabase = oplogDatabase;
    this.#environment = { ...process.env, ...options.environment };
    this.#postgresUri = options.postgresUri ?? oplogDatabase?.uri ?? null;
    this.configure(options);
  }

  /** Starts one and waits until it says that it has started. */
  static async start(options: EmcacheOptions): Promise<EmcacheProcess> {
    const emcache = await EmcacheProcess.prepare(options);
    try {
      await emcache.restart();
    } catch (error) {
      await emcache.dispose();
      throw error;
    }
    return emcache;
  }

  /** One with its configuration written, not running yet. */
  static async prepare(options: EmcacheOptions): Promise<EmcacheProcess> {
    mkdirSync(options.folder, { recursive: true });
    return new EmcacheProcess(options, options.postgresUri === undefined ? await makeOplogDatabase() : null);
  }

  /** Writes the configuration anew; it counts from the next start. */
  configure(options: Pick<EmcacheOptions, "sources" | "settings">): void {
    const settings: Record<string, string | number | readonly string[]> = {
      data_dir: join(this.folder, "data"),
      "server.port": 0,
      "logging.level": "debug",
      "database.postgres.uri": this.#postgresUri ?? "embedded",
      "cache.base_dir": this.cacheFolder,
      ...Object.fromEntries(
        Object.entries(options.sources).flatMap(([name, source]) => [
          [`sources.${name}.uri`, source.uri],
          [`sources.${name}.database`, source.database],
        ]),
      ),
      ...options.settings,
    };
    // Dotted keys at the top level are TOML for tables.
    const lines = Object.entries(settings).map(([key, value]) => `${key} = ${JSON.stringify(value)}`);
    writeFileSync(this.configFile, `${lines.join("\n")}\n`);
  }

  /** Starts it (again) on the same folder and waits until it says that it has started. */
  async restart(): Promise<void> {
    const child = this.launch();
    const line: LogLine = await eventually(
      (): LogLine | null => {
        if (child.exit !== null) return { event: "ended", level: "fatal" };
        return this.logLines().find((one) => one.event === "started") ?? null;
      },
      START_DEADLINE_MS,
      () => `emcache starts; its log ends: ${lastLines(child.logs())}`,
    );
    if (line.event === "ended") throw new Error(`emcache ended while starting: ${lastLines(child.logs())}`);
    this.#address = addressIn(line);
  }

  /** Starts it without waiting for anything. */
  launch(): ChildProcessGroup {
    if (this.isRunning) throw new Error("emcache is running");
    killLeftPostgresAtExit(this);
    this.#starts += 1;
    this.#address = null;
    this.#process = new ChildProcessGroup("emcache", emcacheProgram, ["serve", "--config", this.configFile], {
      logFile: join(this.folder, `emcache-${this.#starts}.log`),
      env: this.#environment,
      cwd: this.folder,
    });
    return this.#process;
  }

  get isRunning(): boolean {
    return this.#process !== null && this.#process.exit === null;
  }

  /** The group that it started last. */
  get process(): ChildProcessGroup {
    if (this.#process === null) throw new Error("emcache was not started");
    return this.#process;
  }

  /** `http://127.0.0.1:PORT` */
  get address(): string {
    if (this.#address === null) throw new Error("emcache has not said its address");
    return this.#address;
  }

  /** Ends it by SIGTERM and waits until all of its group is gone. */
  async stop(): Promise<void> {
    if (!this.isRunning) return;
    const child = this.process;
    child.signal("SIGTERM");
    await child.waitForExit(30_000);
    await eventually(
      () => this.processesLeft().length === 0,
      5_000,
      () => `no process is left: ${this.processesLeft().join(", ")}`,
    );
  }

  /** SIGKILL for the program alone; what it started lives on. */
  async kill(): Promise<void> {
    this.process.signal("SIGKILL");
    await this.process.exited;
  }

  /** SIGKILL for the program and all that it started. */
  async killGroup(): Promise<void> {
    const pids = this.embeddedPostgresPids();
    this.process.signalGroup("SIGKILL");
    killEach(pids);
    await this.process.exited;
  }

  /** SIGKILL for the embedded PostgreSQL, postmaster and backends. */
  killEmbeddedPostgres(): void {
    killEach(this.embeddedPostgresPids());
  }

  /** What runs of it: the members of its group, and the embedded PostgreSQL, which has a group of its own. */
  processesLeft(): number[] {
    return [...this.process.members(), ...this.embeddedPostgresPids()];
  }

  /** How to reach the PostgreSQL that it uses. */
  postgresUri(): string {
    if (this.#postgresUri !== null) return this.#postgresUri;
    const pidFile = findFile(join(this.folder, "data"), "postmaster.pid");
    if (pidFile === null) throw new Error("the embedded PostgreSQL does not run");
    const socketFolder = readFileSync(pidFile, "utf8").split("\n")[4] ?? "";
    return `postgresql://postgres@localhost:5432/emcache?host=${encodeURIComponent(socketFolder)}`;
  }

  /** The postmaster of the embedded PostgreSQL and its children; empty where there is none. */
  embeddedPostgresPids(): number[] {
    const pidFile = findFile(join(this.folder, "data"), "postmaster.pid");
    if (pidFile === null) return [];
    const postmaster = Number(readFileSync(pidFile, "utf8").split("\n")[0]);
    const all = processes().filter((one) => one.state !== "Z");
    if (!all.some((one) => one.pid === postmaster)) return [];
    return [postmaster, ...all.filter((one) => one.parent === postmaster).map((one) => one.pid)];
  }

  /** Ends it however it is, and removes what it kept outside its folder. For `afterAll`. */
  async dispose(): Promise<void> {
    if (this.#process !== null) await this.killGroup();
    launched.delete(this);
    await this.#oplogDatabase?.drop();
  }

  /** All lines of the last start that are JSON. */
  logLines(): LogLine[] {
    return this.process.logs().split("\n").flatMap(parseLine);
  }

  /** The whole text of the last start. */
  logs(): string {
    return this.process.logs();
  }
}

/** So that none outlives a test process that ended before it disposed of them. */
function killLeftPostgresAtExit(emcache: EmcacheProcess): void {
  if (launched.size === 0) {
    process.once("exit", () => {
      for (const one of launched) one.killEmbeddedPostgres();
    });
  }
  launched.add(emcache);
}

function parseLine(text: string): LogLine[] {
  if (!text.startsWith("{")) return [];
  try {
    return [JSON.parse(text) as LogLine];
  } catch {
    return [];
  }
}

function addressIn(line: LogLine): string {
  const address = /http:\/\/[^"\s]+/.exec(JSON.stringify(line))?.[0];
  if (address === undefined) throw new Error(`the line "started" names no address: ${JSON.stringify(line)}`);
  return address.replace(/\/$/, "");
}

function killEach(pids: readonly number[]): void {
  for (const pid of pids) {
    try {
      process.kill(pid, "SIGKILL");
    } catch {
      // It ended by itself meanwhile: its postmaster is gone.
    }
  }
}

/** The file of that name in a folder or up to two levels below. */
function findFile(folder: string, name: string, levels = 2): string | null {
  let entries;
  try {
    entries = readdirSync(folder, { withFileTypes: true });
  } catch {
    return null;
  }
  if (entries.some((entry) => entry.name === name)) return join(folder, name);
  if (levels === 0) return null;
  for (const entry of entries) {
    const found = entry.isDirectory() ? findFile(join(folder, entry.name), name, levels - 1) : null;
    if (found !== null) return found;
  }
  return null;
}
