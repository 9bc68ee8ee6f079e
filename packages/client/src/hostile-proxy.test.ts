import { join } from "node:path";
import { openReader, readCacheState } from "@emcache/cache-file";
import { expect, test } from "vitest";
import { eventually } from "../../../test/support/eventually.ts";
import { SeededRandom, seedOfRun } from "../../../test/support/seeded-random.ts";
import { useTestFolder } from "../../../test/support/use-test-folder.ts";
import type { EntityStatus } from "./follow-report.ts";
import { Follower } from "./follower.ts";
import { HostileProxy, type Hostility, HOSTILITIES } from "./testing/hostile-proxy.ts";
import { TestServer } from "./testing/test-server.ts";

const DEADLINE_MS = 120_000;
const folder = useTestFolder("hostile");
const ENTITIES = ["users", "orders"];
const WRITES = 150;

/** Follows through the proxy while rows are written, and compares what came of it with the log. */
async function follow(kinds: readonly Hostility[], share: number): Promise<HostileProxy> {
  const seed = seedOfRun();
  console.log(`seed ${seed}`);
  const random = new SeededRandom(seed);
  const server = await TestServer.start();
  server.limitMax = 7;
  server.makesSnapshots = true;
  for (const name of ENTITIES) server.log.define(name, { a: '["a",1]' });
  const proxy = await HostileProxy.start(server.url, seed);
  proxy.kinds = kinds;
  proxy.share = share;
  const dir = join(folder, kinds.length === 1 ? String(kinds[0]) : "all");
  const last = new Map<string, EntityStatus>();
  const end = new AbortController();
  const follower = new Follower(
    { url: proxy.url, dir, entities: ENTITIES },
    {
      status: (status) => void last.set(status.name, status),
      rowsChanged: () => {},
      changes: async () => {},
    },
  );
  const running = follower.run(end.signal);
  try {
    for (let write = 0; write < WRITES; write += 1) {
      const docId = `d${random.integer(0, 20)}`;
      const operation = random.next() < 0.3 ? "delete" : "upsert";
      server.log.append(random.pick(ENTITIES), { docId, operation, data: `["${write}",${write}]` });
      // As fast as it follows, so that there are many answers to spoil.
      if (write % 5 === 0) await new Promise((resolve) => setImmediate(resolve));
    }
    await eventually(
      () => ENTITIES.every((name) => last.get(name)?.position === server.log.head && last.get(name)?.state === "live"),
      DEADLINE_MS,
      () => `all is followed: ${JSON.stringify([...last.values()])}`,
    );
  } finally {
    end.abort();
    await running;
    await proxy.stop();
    await server.stop();
  }
  for (const name of ENTITIES) {
    const path = join(dir, `${name}.db`);
    const database = openReader(path);
    const rows = database.prepare<[], { id: string; email: string; age: number }>(`SELECT * FROM ${name}`).all();
    database.close();
    const found = new Map(rows.map(({ id, email, age }) => [id, JSON.stringify([email, age])]));
    expect(found, `seed ${seed}`).toEqual(server.log.expected(name));
    const { position, tag } = readCacheState(path).state.point;
    expect(tag).toBe(server.log.tagAt(position));
  }
  return proxy;
}

for (const kind of HOSTILITIES) {
  test(`a proxy that answers ${kind} changes nothing in what is stored`, async () => {
    const proxy = await follow([kind], 0.3);
    expect(proxy.done.get(kind)).toBeGreaterThan(0);
  });
}

test("a proxy that does all of it, to every second answer", async () => {
  await follow(HOSTILITIES, 0.5);
}, 180_000);
