import { readFileSync } from "node:fs";
import { join } from "node:path";
import { openCache } from "@emcache/client";

/**
 * Some clients in a process of their own, each with a folder of its own: `client-process.ts URL DIR ENTITY COUNT`.
 * Prints one line of JSON: when all could be read, when all were live, and the process's peak memory.
 */
const [url = "", dir = "", entity = "", count = "1"] = process.argv.slice(2);
const begin = performance.now();
const caches = await Promise.all(
  Array.from({ length: Number(count) }, (_, index) =>
    openCache({ url, dir: join(dir, String(index)), entities: [entity] }),
  ),
);
const openMs = performance.now() - begin;
for (const cache of caches) {
  if (cache.status().state !== "live") await new Promise<void>((done) => cache.once("live", done));
}
const liveMs = performance.now() - begin;
const [row] = caches[0]?.query<{ n: number }>(`SELECT count(*) AS n FROM ${entity}`) ?? [];
const peakKiB = Number(/^VmHWM:\s+(\d+) kB/m.exec(readFileSync("/proc/self/status", "utf8"))?.[1] ?? 0);
console.log(JSON.stringify({ openMs, liveMs, peakKiB, rows: row?.n ?? 0 }));
await Promise.all(caches.map((cache) => cache.close()));
