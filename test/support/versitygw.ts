import { mkdirSync } from "node:fs";
import { join } from "node:path";
import { ChildProcessGroup, lastLines } from "./child-process-group.ts";
import { eventually } from "./eventually.ts";
import { freePort } from "./free-port.ts";
import { goTool } from "./go-tool.ts";

/** A maintained S3 server; newer ones are taken on purpose, not by chance. */
const PACKAGE = "github.com/versity/versitygw/cmd/versitygw@v1.8.0";

const START_DEADLINE_MS = 60_000;

/** An S3 server in a process of its own, with one bucket, over a folder of files. */
export class Versitygw {
  static readonly credentials = { accessKeyId: "test-access", secretAccessKey: "test-secret" };
  readonly endpoint: string;
  readonly bucket = "snapshots";
  /** The bucket's objects as files. */
  readonly folder: string;
  readonly #process: ChildProcessGroup;

  private constructor(endpoint: string, folder: string, process: ChildProcessGroup) {
    this.endpoint = endpoint;
    this.folder = folder;
    this.#process = process;
  }

  /** Builds it on this machine's first call, starts one and waits until it answers. */
  static async start(folder: string): Promise<Versitygw> {
    const program = await goTool(PACKAGE);
    const port = await freePort();
    const objects = join(folder, "objects");
    const bucketFolder = join(objects, "snapshots");
    mkdirSync(bucketFolder, { recursive: true });
    // Metadata beside the objects: not every file system has extended attributes.
    const metadata = join(folder, "metadata");
    mkdirSync(metadata);
    const { accessKeyId, secretAccessKey } = Versitygw.credentials;
    const process = new ChildProcessGroup(
      "versitygw",
      program,
      ["--port", `127.0.0.1:${port}`, "--access", accessKeyId, "--secret", secretAccessKey, "--keep-alive"].concat(
        "posix",
        "--sidecar",
        metadata,
        objects,
      ),
      { logFile: join(folder, "versitygw.log") },
    );
    const endpoint = `http://127.0.0.1:${port}`;
    await eventually(
      async () => {
        if (process.exit !== null) return true;
        const response = await fetch(endpoint, { signal: AbortSignal.timeout(2_000) });
        await response.arrayBuffer();
        return true;
      },
      START_DEADLINE_MS,
      () => `versitygw answers; its log: ${lastLines(process.logs())}`,
    );
    if (process.exit !== null) throw new Error(`versitygw ended while starting: ${lastLines(process.logs())}`);
    return new Versitygw(endpoint, bucketFolder, process);
  }

  async stop(): Promise<void> {
    this.#process.signal("SIGTERM");
    await this.#process.waitForExit(10_000).catch(() => this.#process.signalGroup("SIGKILL"));
  }
}
