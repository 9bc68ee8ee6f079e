import { type ChildProcess, spawn } from "node:child_process";
import { join, resolve } from "node:path";
import { openReader, readCacheState } from "@emcache/cache-file";
import { afterAll, beforeAll, expect, test } from "vitest";
import { TestServer } from "../../packages/client/src/testing/test-server.ts";
import { eventually } from "../support/eventually.ts";
import { SeededRandom, seedOfRun } from "../support/seeded-random.ts";
import { testScale } from "../support/test-scale.ts";
import { useTestFolder } from "../support/use-test-folder.ts";

/*
 * kill -9 of the client and of the sidecar while they apply: whatever moment it is, the file's rows are those that the
 * log gives up to the file's position. 50 times each with EMCACHE_TEST_SCALE=full.
 */
const root = resolve(import.meta.dirname, "../..");
const folder = useTestFolder("client-kill");
const KILLS = testScale() >= 1 ? 50 : 4;
const DEADLINE_MS = 60_000;
const PROGRAMS: Readonly<Record<string, (url: string, dir: string) => string[]>> = {
  client: (url, dir) => [join(root, "test/client/open-cache-process.ts"), url, dir, "users"],
  sidecar: (url, dir) => {
    const program = join(root, "packages/server/src/cli/main.ts");
    return [program, "follow", "--url", url, "--entity", "users", "--dir", dir];
  },
};

let server: TestServer;
const random = new SeededRandom(seedOfRun());

beforeAll(async () => {
  server = await TestServer.start();
  server.limitMax = 50;
});
afterAll(() => server.stop());

function start(args: readonly string[]): { child: ChildProcess; ended: Promise<unknown> } {
  const child = spawn(process.execPath, args, { stdio: ["ignore", "pipe", "inherit"] });
  const ended = new Promise((done) => child.once("exit", done));
  child.stdout?.resume();
  return { child, ended };
}

/** Writes 200 rows, a part of them in transactions. */
function write(): void {
  for (let n = 0; n < 200; n += 1) {
    const transaction = n % 10 < 5 ? `t${server.log.head - (n % 10)}` : null;
    const operation = random.next() < 0.2 ? "delete" : "upsert";
    const docId = `u${random.integer(0, 500)}`;
    const transactionEnd = n % 10 === 4;
    server.log.append("users", { docId, operation, data: `["${n}",${n}]`, transaction, transactionEnd });
  }
}

function stateOf(dir: string): { position: number; rows: Map<string, string> } {
  const path = join(dir, "users.db");
  const database = openReader(path);
  try {
    // One read transaction: rows and position of one moment.
    database.exec("BEGIN");
    const rows = database.prepare<[], { id: string; email: string; age: number }>("SELECT * FROM users").all();
    const key = "max_oplog_id";
    const row = database.prepare<[string], { value: string }>("SELECT value FROM metadata WHERE key = ?").get(key);
    const found = new Map(rows.map(({ id, email, age }) => [id, JSON.stringify([email, age])]));
    return { position: Number(row?.value), rows: found };
  } finally {
    database.close();
  }
}

for (const [name, args] of Object.entries(PROGRAMS)) {
  test(
    `kill -9 of the ${name} while it applies: position and rows agree each time`,
    async () => {
      const dir = join(folder, name);
      server.log.define("users", { a: '["a",1]' });
      const positions = new Set<number>();
      for (let kill = 1; kill <= KILLS; kill += 1) {
        const before = server.requests.length;
        const { child, ended } = start(args(server.url, dir));
        try {
          const isAsked = (): boolean => server.requests.slice(before).some((path) => path.includes("/api/follow"));
          await eventually(isAsked, DEADLINE_MS, `the ${name} follows`);
          write();
          const target = server.requests.length + random.integer(1, 4);
          await eventually(() => server.requests.length >= target, DEADLINE_MS, "it has read some pages");
          // Somewhere in the middle of what it does with them.
          await new Promise((done) => setTimeout(done, random.integer(0, 10)));
        } finally {
          child.kill("SIGKILL");
          await ended;
        }
        const { position, rows } = stateOf(dir);
        expect(rows, `kill ${kill}, position ${position}`).toEqual(server.log.expected("users", position));
        expect(readCacheState(join(dir, "users.db")).state.point.tag).toBe(server.log.tagAt(position));
        positions.add(position);
      }
      expect(positions.size, "it gets on between the kills").toBeGreaterThan(1);
      const { child, ended } = start(args(server.url, dir));
      await eventually(() => stateOf(dir).position === server.log.head, DEADLINE_MS, "it catches up");
      expect(stateOf(dir).rows).toEqual(server.log.expected("users"));
      child.kill("SIGKILL");
      await ended;
    },
    60_000 + KILLS * 15_000,
  );
}
