import type { Problem } from "@emcache/protocol";
import { connect } from "node:net";
import { afterEach, beforeEach, expect, test } from "vitest";
import { eventually } from "../../../../test/support/eventually.ts";
import { TestApi, USERS } from "./testing/test-api.ts";

let api: TestApi;
const gone = new Set<AbortController>();
beforeEach(async () => {
  api = await new TestApi().start();
  await api.add(USERS, "live");
  await api.add({ ...USERS, name: "products" }, "live");
});
afterEach(async () => {
  for (const controller of gone) controller.abort();
  gone.clear();
  await api.close();
});

interface ServerEvent {
  readonly id: string | null;
  readonly event: string;
  readonly data: { readonly entries?: readonly { readonly doc_id: string }[]; readonly position?: number };
}

/** Events as they come; ends where the stream does. */
async function* open(query: string, headers: Record<string, string> = {}): AsyncGenerator<ServerEvent> {
  const controller = new AbortController();
  gone.add(controller);
  const response = await fetch(`${api.url}/api/oplogs/stream?${query}`, { headers, signal: controller.signal });
  expect(response.status).toBe(200);
  expect(response.headers.get("content-type")).toBe("text/event-stream");
  let text = "";
  for await (const chunk of response.body as ReadableStream<Uint8Array>) {
    text += Buffer.from(chunk).toString();
    const events = text.split("\n\n");
    text = events.pop() ?? "";
    for (const event of events) {
      const fields = new Map(event.split("\n").map((line) => line.split(": ", 2) as [string, string]));
      if (!fields.has("event")) continue;
      const data = event.slice(event.indexOf("data: ") + 6);
      yield {
        id: fields.get("id") ?? null,
        event: fields.get("event") ?? "",
        data: JSON.parse(data) as ServerEvent["data"],
      };
    }
  }
}

async function nextOf(events: AsyncGenerator<ServerEvent>): Promise<ServerEvent> {
  const { value, done } = await events.next();
  if (done === true) throw new Error("the stream has ended");
  return value;
}

function idsOf({ data }: ServerEvent): string[] {
  return (data.entries ?? []).map(({ doc_id }) => doc_id);
}

async function untilWaiting(count: number): Promise<void> {
  await eventually(() => api.hub.waiterCount === count, 30_000, `${count} streams wait`);
}

test("sends what there is, then what comes; goes on after the last event's id", async () => {
  api.oplog.append(1, "upsert", "a", '["line\\nbreak"]');
  const events = open("entities=users&entities=products&after=0");
  const first = await nextOf(events);
  expect([first.event, first.id, idsOf(first)]).toEqual(["entries", "1.tag-1", ["a"]]);
  await untilWaiting(1);
  api.oplog.append(2, "upsert", "b", "[1]");
  api.hub.wake(2);
  const second = await nextOf(events);
  expect([second.id, idsOf(second)]).toEqual(["2.tag-2", ["b"]]);
  api.oplog.append(1, "upsert", "c", "[1]");
  const resumed = open("entities=users", { "last-event-id": second.id ?? "" });
  expect(idsOf(await nextOf(resumed))).toEqual(["c"]);
});

test("without a position it begins now; silence is told by a heartbeat that moves the position", async () => {
  api.oplog.append(1, "upsert", "old", "[1]");
  const events = open("entities=users&heartbeat_ms=100");
  expect(await nextOf(events)).toMatchObject({ event: "position", id: "1.tag-1", data: { position: 1 } });
  api.oplog.append(2, "upsert", "other", "[1]");
  api.hub.wake(2);
  expect(await nextOf(events)).toMatchObject({ event: "position", id: "2.tag-2" });
  api.oplog.append(1, "upsert", "new", "[1]");
  api.hub.wake(3);
  expect(idsOf(await nextOf(events))).toEqual(["new"]);
});

test("what is wrong with the request is a problem document", async () => {
  api.oplog.append(1, "upsert", "a", "[1]");
  const refusals: [query: string, id: string, status: number][] = [
    ["entities=nobody", "", 404],
    ["", "", 400],
    ["entities=users", "x", 400],
    ["entities=users", "1.other", 409],
    ["entities=users", "5.tag-5", 409],
  ];
  for (const [query, id, status] of refusals) {
    const response = await api.request(`/api/oplogs/stream?${query}`, {
      headers: id === "" ? {} : { "last-event-id": id },
    });
    expect(response.status, `${query} ${id}`).toBe(status);
    expect(((await response.json()) as Problem).status).toBe(status);
  }
  api.oplog.floor = 10;
  for (let index = 0; index < 20; index++) api.oplog.append(1, "upsert", "x", "[1]");
  expect((await api.request("/api/oplogs/stream?entities=users&after=2")).status).toBe(410);
});

test("a new version of an entity ends the stream, and says so", async () => {
  api.store.listsRetired = true;
  const events = open("entities=users&after=0");
  expect((await nextOf(events)).event).toBe("position");
  await untilWaiting(1);
  await api.add({ ...USERS, source: "people" }, "live");
  expect(await nextOf(events)).toMatchObject({ event: "reset", data: { entities: ["users"] } });
  expect((await events.next()).done).toBe(true);
});

test("the server's stop ends it cleanly; a client that is gone leaves nothing behind", async () => {
  const staying = open("entities=users&after=0");
  const leaving = open("entities=users&after=0");
  await Promise.all([nextOf(staying), nextOf(leaving)]);
  await untilWaiting(2);
  [...gone][1]?.abort();
  await expect(nextOf(leaving)).rejects.toThrow("aborted");
  await untilWaiting(1);
  await api.server.stop(AbortSignal.timeout(30_000));
  for await (const { event } of staying) expect(event).toBe("position");
});

test("a reader that takes nothing is paused: the log grows, and what is held for it does not", async () => {
  const row = JSON.stringify(["x".repeat(50_000)]);
  const socket = connect({ port: Number(new URL(api.url).port), host: "127.0.0.1" });
  await new Promise((resolve) => socket.once("connect", resolve));
  socket.pause();
  socket.write("GET /api/oplogs/stream?entities=users&after=0 HTTP/1.1\r\nhost: x\r\nemcache-consumer: slow\r\n\r\n");
  try {
    await untilWaiting(1);
    const events = open("entities=users&after=0");
    expect((await nextOf(events)).event).toBe("position");
    for (let count = 1; count <= 40; count++) {
      for (let index = 0; index < 20; index++) api.oplog.append(1, "upsert", `${count} ${index}`, row);
      api.hub.wake(api.oplog.rows.length);
      // The other reader has all of it.
      for (let ids: string[] = []; ids.at(-1) !== `${count} 19`;) ids = idsOf(await nextOf(events));
    }
    // 40 MB were logged; the one that takes nothing has asked for what its socket's buffers hold, and no more.
    const { position } = api.consumers.claims.get("slow") ?? { position: 800 };
    expect(position).toBeLessThan(600);
    await untilWaiting(1);
  } finally {
    socket.destroy();
  }
});
