import { openCache } from "@emcache/client";

/** A program that uses the client, to be killed: `node open-cache-process.ts URL DIR ENTITY…`. */
const [url = "", dir = "", ...entities] = process.argv.slice(2);
const cache = await openCache({ url, dir, entities });
console.log("open");
cache.on("live", () => console.log("live"));
