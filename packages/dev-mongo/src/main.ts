#!/usr/bin/env node
import { parseArgs } from "node:util";
import { DevMongo } from "./dev-mongo.ts";

/** Runs the development server in a process of its own until a signal; prints one JSON line when it listens. */
const { values } = parseArgs({
  options: {
    port: { type: "string", default: "0" },
    "oplog-mib-max": { type: "string", default: "256" },
    "oplog-entries-max": { type: "string", default: "1000000" },
    "event-bytes-max": { type: "string" },
    "wire-version": { type: "string" },
    standalone: { type: "boolean", default: false },
  },
});
const server = await DevMongo.start({
  port: Number(values.port),
  standalone: values.standalone,
  oplogBytesMax: Number(values["oplog-mib-max"]) * 1024 * 1024,
  oplogEntriesMax: Number(values["oplog-entries-max"]),
  ...(values["event-bytes-max"] === undefined ? {} : { eventBytesMax: Number(values["event-bytes-max"]) }),
  ...(values["wire-version"] === undefined ? {} : { wireVersion: Number(values["wire-version"]) }),
});
process.stdout.write(`${JSON.stringify({ event: "dev_mongo_started", uri: server.uri, pid: process.pid })}\n`);
for (const signal of ["SIGINT", "SIGTERM"] as const) {
  process.once(signal, () => void server.stop().then(() => process.exit(0)));
}
