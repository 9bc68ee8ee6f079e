import { type AnyBulkWriteOperation, type Db, type Document, Double, Int32, MongoClient, type ObjectId } from "mongodb";
import { messageOf } from "../runtime/error-message.ts";
import type { Logger } from "../runtime/logger.ts";
import type { Service } from "../runtime/service.ts";
import { sleep } from "../runtime/sleep.ts";
import { untilAborted } from "../runtime/until-aborted.ts";
import {
  type CustomerDocument,
  makeCustomer,
  makeOrder,
  makeProduct,
  ORDER_STATUSES,
  type OrderStatus,
  type ProductDocument,
} from "./demo-documents.ts";
import { DemoRandom } from "./demo-random.ts";

const CUSTOMERS = 2_000;
const PRODUCTS = 400;
const ORDERS = 10_000;
const INSERT_BATCH = 1_000;
/** Orders that the shop still works on; older ones rest. */
const OPEN_ORDERS_MAX = 2_000;
const DAY_MS = 86_400_000;
/** Often enough that the numbers on the screen seem to flow. */
const TICK_MS = 100;
/** What a changing shop's day looks like, in a minute: the rate swings by this part of itself. */
const SWING = 0.35;
const SWING_PERIOD_MS = 60_000;
const RETRY_MS = 1_000;
/** For the last write and the end of the database; less than what is left of a shutdown after EMCache itself. */
const STOP_TIMEOUT_MS = 3_500;
const CLOSE_TIMEOUT_MS = 1_000;

/** What happens in the shop, by how often. */
const EVENTS = { order: 24, progress: 46, stock: 18, price: 3, customer: 2, vip: 3, archive: 4 } as const;

interface ShopOptions {
  readonly uri: string;
  readonly database: string;
  /** Changes a second, on average. */
  readonly rate: number;
  readonly seed: number;
  /** Whether the database is dropped at the end. */
  readonly isTemporary: boolean;
  readonly logger: Logger;
}

/**
 * A small shop in MongoDB: customers, products and orders, and whoever works there. `start` fills it, unless it holds
 * orders already; `open` begins to change it until it is stopped.
 */
export class DemoShop implements Service {
  readonly name = "shop";
  readonly #options: ShopOptions;
  readonly #random: DemoRandom;
  readonly #client: MongoClient;
  readonly #database: Db;
  readonly #stop = new AbortController();
  readonly #customers: ObjectId[] = [];
  readonly #products: ProductDocument[] = [];
  readonly #openOrders: { readonly id: number; status: OrderStatus }[] = [];
  #nextOrder = 1;
  #hasLeftDatabase = false;
  #running: Promise<void> = Promise.resolve();

  constructor(options: ShopOptions) {
    this.#options = options;
    this.#random = new DemoRandom(options.seed);
    this.#client = new MongoClient(options.uri, { appName: "emcache-demo", serverSelectionTimeoutMS: 8_000 });
    this.#database = this.#client.db(options.database);
  }

  /** Whether the temporary database could not be dropped. */
  get hasLeftDatabase(): boolean {
    return this.#hasLeftDatabase;
  }

  async start(): Promise<void> {
    await this.#client.connect();
    const orders = this.#database.collection<{ _id: number }>("orders");
    const newest = await orders.findOne({}, { sort: { _id: -1 } });
    if (newest === null) await this.#fill();
    else await this.#takeOver(newest._id);
  }

  /** Begins to change things. */
  open(): void {
    this.#running = this.#work(this.#stop.signal);
  }

  /** Ends the work, and drops the database if it is temporary: as far as the server does it in time. */
  async stop(): Promise<void> {
    this.#stop.abort();
    const limit = AbortSignal.timeout(STOP_TIMEOUT_MS);
    try {
      await untilAborted(this.#running, limit);
      if (this.#options.isTemporary) await untilAborted(this.#database.dropDatabase(), limit);
    } catch (error) {
      const { database, logger } = this.#options;
      const context = { event: "demo_database_left", database, reason: messageOf(error) };
      logger.warn(context, `the database ${database} is left on the server`);
      this.#hasLeftDatabase = this.#options.isTemporary;
    }
    // It takes leave of the server, which may hang.
    await untilAborted(this.#client.close(true), AbortSignal.timeout(CLOSE_TIMEOUT_MS)).catch(() => "given up");
  }

  async #fill(): Promise<void> {
    const now = Date.now();
    const ago = (days: number): Date => new Date(now - this.#random.next() * days * DAY_MS);
    const customers: CustomerDocument[] = Array.from({ length: CUSTOMERS }, () => makeCustomer(this.#random, ago(700)));
    const products = Array.from({ length: PRODUCTS }, (_, index) => makeProduct(this.#random, index + 1, ago(90)));
    this.#customers.push(...customers.map(({ _id }) => _id));
    this.#products.push(...products);
    const placed = Array.from({ length: ORDERS }, () => ago(30)).sort((one, other) => one.getTime() - other.getTime());
    const orders = placed.map((placedAt, index) => {
      const isOpen = index >= ORDERS - OPEN_ORDERS_MAX;
      const status = isOpen ? this.#random.pick(ORDER_STATUSES) : "delivered";
      if (isOpen && status !== "delivered") this.#openOrders.push({ id: index + 1, status });
      return makeOrder(this.#random, index + 1, {
        customerId: this.#random.pick(this.#customers),
        products,
        status,
        placedAt,
      });
    });
    this.#nextOrder = ORDERS + 1;
    await this.#insert("customers", customers);
    await this.#insert("products", products);
    await this.#insert("orders", orders);
  }

  async #insert(collection: string, documents: readonly object[]): Promise<void> {
    for (let start = 0; start < documents.length; start += INSERT_BATCH) {
      this.#stop.signal.throwIfAborted();
      const batch = documents.slice(start, start + INSERT_BATCH);
      await this.#database.collection(collection).insertMany(batch, { ordered: false });
    }
  }

  /** Goes on in a shop that an earlier demo filled. */
  async #takeOver(newestOrder: number): Promise<void> {
    this.#nextOrder = newestOrder + 1;
    const customers = this.#database.collection<{ _id: ObjectId }>("customers").find({}, { projection: { _id: 1 } });
    for await (const { _id } of customers) this.#customers.push(_id);
    this.#products.push(...(await this.#database.collection<ProductDocument>("products").find().toArray()));
    const open = this.#database
      .collection<{ _id: number; status: OrderStatus }>("orders")
      .find({ status: { $nin: ["delivered", "cancelled"] } }, { projection: { status: 1 }, limit: OPEN_ORDERS_MAX });
    for await (const { _id: id, status } of open) this.#openOrders.push({ id, status });
  }

  async #work(signal: AbortSignal): Promise<void> {
    let due = 0;
    let lastMs = performance.now();
    while (!signal.aborted) {
      try {
        await sleep(TICK_MS, signal);
        const nowMs = performance.now();
        const swing =
          1 + SWING * Math.sin((2 * Math.PI * nowMs) / SWING_PERIOD_MS) + SWING * (this.#random.next() - 0.5);
        // After a pause nothing is made up for: a shop doesn't either.
        due += (Math.min(nowMs - lastMs, 1_000) / 1_000) * this.#options.rate * swing;
        lastMs = nowMs;
        const count = Math.floor(due);
        due -= count;
        await this.#change(count);
      } catch (error) {
        if (signal.aborted) return;
        this.#options.logger.warn({ event: "demo_write_failed", reason: messageOf(error) }, "the shop could not write");
        await sleep(RETRY_MS, signal).catch(() => undefined);
      }
    }
  }

  async #change(count: number): Promise<void> {
    const writes = new Map<string, AnyBulkWriteOperation[]>();
    for (let index = 0; index < count; index++) {
      for (const [collection, write] of this.#nextChanges()) {
        writes.set(collection, [...(writes.get(collection) ?? []), write]);
      }
    }
    for (const [collection, operations] of writes) await this.#database.collection(collection).bulkWrite(operations);
  }

  /** One thing that happens, as writes by collection. */
  #nextChanges(): [collection: string, write: AnyBulkWriteOperation][] {
    const now = new Date();
    const random = this.#random;
    switch (random.weighted(EVENTS)) {
      case "order":
        return this.#placeOrder(now);
      case "progress":
        return this.#progress(now);
      case "archive":
        return this.#archive();
      case "stock": {
        const stock = random.integer(0, 240);
        return [
          [
            "products",
            updateOne(random.pick(this.#products)._id, {
              stock: new Int32(stock),
              available: stock > 0,
              updatedAt: now,
            }),
          ],
        ];
      }
      case "price": {
        const price = new Double(random.integer(390, 18_900) / 100);
        return [["products", updateOne(random.pick(this.#products)._id, { price, updatedAt: now })]];
      }
      case "customer": {
        const document = makeCustomer(random, now);
        this.#customers.push(document._id);
        return [["customers", { insertOne: { document: document } }]];
      }
      case "vip":
        return [["customers", updateOne(random.pick(this.#customers), { vip: random.next() < 0.5 })]];
    }
  }

  #placeOrder(placedAt: Date): [string, AnyBulkWriteOperation][] {
    const customerId = this.#random.pick(this.#customers);
    const id = this.#nextOrder++;
    const order = makeOrder(this.#random, id, { customerId, products: this.#products, status: "placed", placedAt });
    if (this.#openOrders.length < OPEN_ORDERS_MAX) this.#openOrders.push({ id, status: "placed" });
    return [
      ["orders", { insertOne: { document: order as unknown as Document } }],
      ["customers", { updateOne: { filter: { _id: customerId }, update: { $inc: { orderCount: 1 } } } }],
    ];
  }

  /** An open order's next status; now and then it is cancelled instead. */
  #progress(now: Date): [string, AnyBulkWriteOperation][] {
    const place = this.#random.integer(0, this.#openOrders.length - 1);
    const order = this.#openOrders[place];
    if (order === undefined) return this.#placeOrder(now);
    const step = ORDER_STATUSES.indexOf(order.status as (typeof ORDER_STATUSES)[number]);
    const next = order.status === "placed" && this.#random.next() < 0.08 ? "cancelled" : ORDER_STATUSES[step + 1];
    if (next === undefined || next === "cancelled" || next === "delivered") this.#openOrders.splice(place, 1);
    order.status = next ?? "delivered";
    const shipped = order.status === "shipped" ? { shippedAt: now } : {};
    const paid = order.status === "paid" ? { paid: true } : {};
    return [["orders", updateOne(order.id, { status: order.status, ...shipped, ...paid })]];
  }

  /** An old order goes. */
  #archive(): [string, AnyBulkWriteOperation][] {
    const id = this.#random.integer(1, Math.max(1, this.#nextOrder - OPEN_ORDERS_MAX));
    return [["orders", { deleteOne: { filter: { _id: id as never, status: { $in: ["delivered", "cancelled"] } } } }]];
  }
}

function updateOne(id: unknown, $set: Document): AnyBulkWriteOperation {
  return { updateOne: { filter: { _id: id as never }, update: { $set } } };
}
