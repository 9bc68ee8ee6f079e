import { once } from "node:events";
import { Agent, type IncomingMessage, get } from "node:http";
import { join } from "node:path";
import { CacheFile, type CacheRow, type LogPoint } from "../packages/cache-file/src/index.ts";
import type { Entity, OplogEntry } from "../packages/protocol/src/index.ts";

/** What `bench/consumers.ts` starts a process of consumers with. */
export interface ConsumerOrders {
  readonly url: string;
  readonly folder: string;
  readonly entity: Entity;
  /** How many, each with a cache file and a long poll of its own. */
  readonly consumers: number;
}

interface FollowBody {
  readonly log_id: string;
  readonly position: number;
  readonly tag: string;
  readonly entries: readonly OplogEntry[];
}

/** Longer than any pause of the bench. */
const WAIT_MS = 60_000;
const CACHE_BYTES = 256 * 1024;

const agent = new Agent({ keepAlive: true, maxSockets: Number.POSITIVE_INFINITY });

/** Follows for ever, and tells of each row `write N` when it is visible in this consumer's file. */
async function consume({ url, folder, entity }: ConsumerOrders, name: string, logId: string): Promise<never> {
  const cache = CacheFile.open(join(folder, `${name}.db`), { entity, logId, cacheBytesMax: CACHE_BYTES });
  let point: LogPoint = { position: 0, tag: "" };
  for (;;) {
    const body = await follow(
      `${url}/api/follow?after=${point.position}&tag=${point.tag}&log_id=${logId}&versions=${entity.id}&wait_ms=${WAIT_MS}`,
    );
    point = { position: body.position, tag: body.tag };
    cache.apply(body.entries.map(rowOf), point);
    const atMs = monotonicMs();
    const seen = body.entries.map(({ doc_id }) => doc_id).filter((id) => id.startsWith("write "));
    if (seen.length > 0)
      process.stdout.write(`${JSON.stringify({ atMs, seen: seen.map((id) => Number(id.slice(6))) })}\n`);
  }
}

function rowOf(entry: OplogEntry): CacheRow {
  return {
    position: entry.id,
    operation: entry.operation,
    docId: entry.doc_id,
    idType: entry.id_type,
    origin: entry.origin,
    transaction: entry.transaction,
    transactionEnd: entry.transaction_end,
    data: entry.data === null ? null : JSON.stringify(entry.data),
  };
}

async function follow(url: string): Promise<FollowBody> {
  const [response] = (await once(get(url, { agent }), "response")) as [IncomingMessage];
  const text = (await response.setEncoding("utf8").toArray()).join("");
  if (response.statusCode !== 200) throw new Error(`${response.statusCode}: ${text}`);
  return JSON.parse(text) as FollowBody;
}

/** The same clock in all processes of this machine. */
function monotonicMs(): number {
  return Number(process.hrtime.bigint()) / 1e6;
}

const orders = JSON.parse(process.argv[2] ?? "") as ConsumerOrders;
const { log_id: logId } = await follow(`${orders.url}/api/follow?after=0&versions=${orders.entity.id}&limit=1`);
await Promise.all(
  Array.from({ length: orders.consumers }, (_, index) => consume(orders, `${process.pid}-${index}`, logId)),
);
