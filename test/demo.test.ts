import { mkdirSync, readFileSync, readdirSync } from "node:fs";
import { createServer, type AddressInfo } from "node:net";
import { dirname, join } from "node:path";
import { afterAll, afterEach, beforeAll, expect, test } from "vitest";
import { ChildProcessGroup, processes } from "./support/child-process-group.ts";
import { emcacheProgram } from "./support/emcache-process.ts";
import { eventually } from "./support/eventually.ts";
import { freePort } from "./support/free-port.ts";
import { openCache } from "./support/oracle.ts";
import { startTestMongo, type TestMongo } from "./support/test-mongo.ts";
import { useTestFolder } from "./support/use-test-folder.ts";

/** On a machine that is busy with other suites; alone it takes three. */
const LIVE_DEADLINE_MS = 60_000;

const folder = useTestFolder("demo");
let mongo: TestMongo;
const started: Demo[] = [];

/** The demo as a user runs it, with a folder of its own for temporary files. */
class Demo {
  readonly temporary: string;
  readonly child: ChildProcessGroup;

  constructor(name: string, args: readonly string[], temporary = join(folder, "tmp")) {
    mkdirSync(temporary, { recursive: true, mode: 0o755 });
    this.temporary = temporary;
    this.child = new ChildProcessGroup("demo", emcacheProgram, ["demo", ...args], {
      logFile: join(folder, `${name}.log`),
      env: { ...process.env, TMPDIR: temporary },
    });
    started.push(this);
  }

  get output(): string {
    return this.child.logs();
  }

  /** Waits for its welcome. */
  async live(): Promise<{ address: string; ordersFile: string }> {
    await eventually(
      () => this.output.includes("Ctrl+C") || this.child.exit !== null,
      LIVE_DEADLINE_MS,
      () => `the demo begins; it says ${this.output}`,
    );
    const address = /web page +(http\S+)/.exec(this.output)?.[1];
    const ordersFile = /sqlite3 (\S+) "select count\(\*\) from orders"/.exec(this.output)?.[1];
    if (address === undefined || ordersFile === undefined) throw new Error(`the demo did not begin: ${this.output}`);
    return { address, ordersFile };
  }

  /** What Ctrl-C does, and npm after it: both send SIGINT. */
  async interrupt(): Promise<number | null> {
    this.child.signal("SIGINT");
    this.child.signal("SIGINT");
    return (await this.child.waitForExit(30_000)).code;
  }

  /** Processes that it started and that still run. */
  left(): string[] {
    return processes()
      .filter((one) => one.state !== "Z")
      .flatMap((one) => {
        try {
          const command = readFileSync(`/proc/${one.pid}/cmdline`, "utf8").replaceAll("\0", " ");
          return command.includes(this.temporary) ? [command] : [];
        } catch {
          return [];
        }
      });
  }
}

function orderCount(file: string): number {
  const database = openCache(file);
  try {
    return Number(database.prepare("SELECT count(*) FROM orders").pluck().get());
  } finally {
    database.close();
  }
}

beforeAll(async () => {
  mongo = await startTestMongo({ folder });
});
afterAll(async () => {
  await mongo?.stop();
});
afterEach(async () => {
  for (const demo of started.splice(0)) {
    demo.child.signal("SIGINT");
    await demo.child.waitForExit(30_000);
  }
});

test.each([["embedded"], ["mongo"]])(
  "%s: rows grow in the SQLite file that it names; Ctrl-C leaves nothing",
  async (kind) => {
    // The port that it would like is taken.
    const taken = createServer().listen(0, "127.0.0.1");
    await new Promise((resolve) => taken.once("listening", resolve));
    const { port } = taken.address() as AddressInfo;
    const mongoArgs = kind === "mongo" ? ["--mongo", mongo.uri] : [];
    const demo = new Demo(`live-${kind}`, [...mongoArgs, "--port", String(port), "--rate", "100"]);
    try {
      const { address, ordersFile } = await demo.live();
      expect(demo.output).toContain(`port ${port} is taken; using`);
      await eventually(
        async () => {
          const entities = (await (await fetch(`${address}/api/entities`)).json()) as { state: string; rows: number }[];
          return entities.length === 3 && entities.every(({ state, rows }) => state === "live" && rows > 100);
        },
        LIVE_DEADLINE_MS,
        () => `three live entities; it says ${demo.output}`,
      );
      const before = orderCount(ordersFile);
      expect(before).toBeGreaterThanOrEqual(9_000);
      await eventually(
        () => orderCount(ordersFile) >= before + 20,
        20_000,
        () => `more than ${before} orders; there are ${orderCount(ordersFile)}`,
      );
      expect(await (await fetch(address)).text()).toContain("<title>EMCache</title>");
      await eventually(
        () => /orders: [\d,]+ rows, lag \d+ ms, \d+\.\d events\/s, live/.test(demo.output),
        20_000,
        () => `a line with the figures; it says ${demo.output}`,
      );
    } finally {
      taken.close();
    }
    expect(await demo.interrupt()).toBe(0);
    expect(demo.output).toContain("everything is removed");
    expect(readdirSync(demo.temporary)).toEqual([]);
    expect(demo.left()).toEqual([]);
    if (kind === "mongo") {
      const { databases } = await mongo.client.db("admin").admin().listDatabases({ nameOnly: true });
      const left = databases.map(({ name }) => name).filter((name) => name.startsWith("emcache_demo"));
      // A server that hangs holds nobody up, but what is left on it is told.
      expect(left.filter((name) => !demo.output.includes(`did not drop the database ${name}`))).toEqual([]);
    }
  },
);

test("beside a running demo, and after one that was killed", async () => {
  const port = String(await freePort());
  const first = new Demo("first", ["--port", port]);
  const { address } = await first.live();
  const second = new Demo("second", ["--port", port]);
  await second.live();
  expect(second.output).toContain(`another demo is running: process ${first.child.pid}, ${address}`);
  first.child.signal("SIGKILL");
  await first.child.exited;
  // Its PostgreSQL lives on, until the next demo comes.
  expect(first.left().length).toBeGreaterThan(0);
  const third = new Demo("third", ["--port", port]);
  await third.live();
  expect(third.output).toContain("removed what a demo that was killed had left");
  expect(await second.interrupt()).toBe(0);
  expect(await third.interrupt()).toBe(0);
  expect(readdirSync(third.temporary)).toEqual([]);
  expect(third.left()).toEqual([]);
});

test("a folder of its own stays, and is refused to a second demo", async () => {
  const dataDir = join(folder, "kept");
  const args = ["--mongo", mongo.uri, "--port", "0", "--data-dir", dataDir];
  const demo = new Demo("kept", args);
  const { ordersFile } = await demo.live();
  const other = new Demo("refused", args);
  expect((await other.child.waitForExit(30_000)).code).toBe(1);
  expect(other.output).toContain(`Another demo is running in ${dataDir}: process ${demo.child.pid}, http`);
  expect(other.output).toContain("Hint: Stop it");
  await eventually(
    () => readdirSync(dirname(ordersFile)).includes("orders.db") && orderCount(ordersFile) >= 9_000,
    LIVE_DEADLINE_MS,
    () => "the orders are cached",
  );
  expect(await demo.interrupt()).toBe(0);
  expect(orderCount(ordersFile)).toBeGreaterThan(9_000);
  // It goes on where it was.
  const again = new Demo("again", args);
  await again.live();
  expect(await again.interrupt()).toBe(0);
  await mongo.client.db("emcache_demo").dropDatabase();
});

test("a MongoDB that can't be reached is said at once, and nothing is left", async () => {
  const demo = new Demo("unreachable", ["--mongo", `mongodb://127.0.0.1:${await freePort()}/`, "--port", "0"]);
  expect((await demo.child.waitForExit(30_000)).code).toBe(1);
  expect(demo.output).toMatch(/emcache: Source shop: .*ECONNREFUSED.*\(source_unavailable\)\nHint: /);
  expect(readdirSync(demo.temporary)).toEqual([]);
  expect(demo.left()).toEqual([]);
});
