import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { type Document, MongoClient } from "mongodb";
import { ChildProcessGroup, lastLines } from "./child-process-group.ts";
import { eventually } from "./eventually.ts";

const START_DEADLINE_MS = 60_000;

const program = fileURLToPath(new URL("../../packages/dev-mongo/src/main.ts", import.meta.url));

export interface DevMongoProcessOptions {
  /** Where its log file lies. */
  readonly folder: string;
  /** Further flags of its command line, such as `--oplog-entries-max`. */
  readonly flags?: readonly string[];
}

/** Our development server in a process of its own, for faults that no other server can be made to have. */
export class DevMongoProcess {
  readonly uri: string;
  readonly #process: ChildProcessGroup;
  readonly #control: MongoClient;

  private constructor(uri: string, process: ChildProcessGroup) {
    this.uri = uri;
    this.#process = process;
    // Of its own, and without the driver's retries: a fault is injected once.
    this.#control = new MongoClient(uri, { retryReads: false, retryWrites: false, maxPoolSize: 1 });
  }

  static async start({ folder, flags }: DevMongoProcessOptions): Promise<DevMongoProcess> {
    const child = new ChildProcessGroup("dev-mongo", process.execPath, [program, ...(flags ?? [])], {
      logFile: join(folder, `dev-mongo-${process.hrtime.bigint()}.log`),
    });
    const line = await eventually(
      () => {
        if (child.exit !== null) return "ended";
        return child
          .logs()
          .split("\n")
          .find((text) => text.includes(`"dev_mongo_started"`) && text.endsWith("}"));
      },
      START_DEADLINE_MS,
      () => `dev-mongo starts; its log: ${lastLines(child.logs())}`,
    );
    if (line === "ended") throw new Error(`dev-mongo ended while starting: ${lastLines(child.logs())}`);
    return new DevMongoProcess((JSON.parse(line) as { uri: string }).uri, child);
  }

  /** Injects a fault, named as the methods of dev-mongo's `FaultInjector` are, with its arguments. */
  async fault(name: string, settings: Document = {}): Promise<void> {
    await this.#control.db("admin").command({ emcacheFault: name, ...settings });
  }

  /** What it has returned since its start: documents of ordinary cursors, events of change streams. */
  async returned(): Promise<{ readonly documents: number; readonly events: number }> {
    const { metrics } = await this.#control.db("admin").command({ serverStatus: 1 });
    const { document, emcache } = metrics as { document: { returned: number }; emcache: { eventsReturned: number } };
    return { documents: document.returned, events: emcache.eventsReturned };
  }

  async stop(): Promise<void> {
    await this.#control.close().catch(() => "the server is gone");
    // It keeps nothing, so there is nothing to end in order.
    this.#process.signalGroup("SIGKILL");
    await this.#process.exited;
  }
}
