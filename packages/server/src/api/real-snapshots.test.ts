import { openReader } from "@emcache/cache-file";
import type { SnapshotManifest } from "@emcache/protocol";
import { gunzipSync, zstdDecompressSync } from "node:zlib";
import { request } from "node:http";
import { afterEach, beforeEach, expect, test } from "vitest";
import { SnapshotFixture, upserts } from "../snapshot/testing/snapshot-fixture.ts";
import { TestApi, USERS } from "./testing/test-api.ts";

let fixture: SnapshotFixture;
let api: TestApi;

beforeEach(async () => {
  fixture = new SnapshotFixture();
  const manager = fixture.manager();
  await manager.start();
  api = await new TestApi({ snapshots: manager }).start();
});

afterEach(async () => {
  await api.close();
  await fixture.close();
});

/** The bytes as they came, without the decoding that `fetch` does. */
function rawBytes(
  path: string,
  headers: Record<string, string>,
): Promise<{ coding: string | undefined; bytes: Buffer }> {
  return new Promise((resolve, reject) => {
    request(api.url + path, { headers }, (response) => {
      const chunks: Buffer[] = [];
      response.on("data", (chunk: Buffer) => chunks.push(chunk));
      response.on("end", () => resolve({ coding: response.headers["content-encoding"], bytes: Buffer.concat(chunks) }));
    })
      .on("error", reject)
      .end();
  });
}

test("POST, GET and the Go client's route over real SQLite files", async () => {
  fixture.add(1, "users", "pending");
  await api.add(USERS, "pending");
  fixture.apply(1, [{ operation: "sync_start" }, ...upserts(5, "copy")]);

  expect((await api.request("/api/snapshots/users", { method: "POST" })).status).toBe(503);
  expect((await api.request("/api/snapshots/users")).status).toBe(503);
  const early = await rawBytes("/api/snapshot/users", { "accept-encoding": "zstd, gzip" });
  expect(early.coding).toBe("zstd");
  expect(rowsIn(zstdDecompressSync(early.bytes), "SELECT count(*) FROM data_sync")).toBe(5);

  const position = fixture.apply(1, [...upserts(5, "copy", 5), { operation: "sync_end" }]);
  fixture.records = fixture.records.map((record) => ({ ...record, state: "live" }));
  await api.makeLive(1);
  const created = await api.request("/api/snapshots/users", { method: "POST" });
  expect(created.status).toBe(201);
  const manifest = (await created.json()) as SnapshotManifest;
  expect(manifest).toMatchObject({ entity: "users", rows: 10, position });
  const { bytes, coding } = await rawBytes("/api/snapshots/users", {});
  expect(coding).toBeUndefined();
  expect(bytes.length).toBe(manifest.size_bytes);
  expect(rowsIn(bytes, "SELECT count(*) FROM users")).toBe(10);
  const compressed = await rawBytes("/api/snapshots/users", { "accept-encoding": "zstd, gzip" });
  expect(compressed.coding).toBe("zstd");
  expect(compressed.bytes.length).toBe(manifest.compressions[0]?.size_bytes);
  expect(zstdDecompressSync(compressed.bytes).equals(bytes)).toBe(true);
  const gzip = await rawBytes("/api/snapshots/users", { "accept-encoding": "gzip" });
  expect(gunzipSync(gzip.bytes).equals(bytes)).toBe(true);
  const legacy = await rawBytes("/api/snapshot/users", { "accept-encoding": "identity" });
  expect(rowsIn(legacy.bytes, "SELECT count(*) FROM data")).toBe(10);
});

function rowsIn(bytes: Buffer, query: string): unknown {
  const reader = openReader(api.write(`downloaded-${bytes.length}.db`, bytes));
  try {
    return reader.prepare(query).pluck().get();
  } finally {
    reader.close();
  }
}
