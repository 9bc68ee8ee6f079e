import { EmcacheError } from "@emcache/protocol";
import type { Query, QueryReply } from "./query-message.ts";
import { runQuery } from "./run-query.ts";

/*
 * The program of a process that runs queries for `QueryRunner`, one at a time. With its parent its channel is
 * gone, and nothing holds it; while it is
 * inside of SQLite it hears nothing, then its limit of processor time ends it.
 */
process.on("message", (query: Query) => {
  process.send?.(replyTo(query));
});

function replyTo(query: Query): QueryReply {
  const cpuS = (): number => {
    const { user, system } = process.cpuUsage();
    return (user + system) / 1_000_000;
  };
  try {
    return { json: runQuery(query), cpuS: cpuS() };
  } catch (error) {
    if (error instanceof EmcacheError) {
      return { error: { code: error.code, message: error.message }, cpuS: cpuS() };
    }
    return { error: { code: "internal", message: error instanceof Error ? error.message : "" }, cpuS: cpuS() };
  }
}
