import { spawn } from "node:child_process";
import { createApp } from "../app.ts";
import { loadConfig } from "../config/load-config.ts";
import { messageOf } from "../runtime/error-message.ts";
import type { Logger } from "../runtime/logger.ts";
import type { Service } from "../runtime/service.ts";
import { MongoSource } from "../source/mongo-source.ts";
import { DEMO_ENTITIES, DEMO_SOURCE } from "./demo-entities.ts";
import type { DemoFolder } from "./demo-folder.ts";
import { DemoScreen } from "./demo-screen.ts";
import { DemoShop } from "./demo-shop.ts";

/** What the demo writes to and is captured from. */
export interface DemoMongo extends Service {
  readonly uri: string;
  /** For a person: what it is. */
  readonly description: string;
}

export interface DemoOptions {
  readonly folder: DemoFolder;
  readonly host: string;
  readonly port: number;
  readonly mongo: DemoMongo;
  readonly database: string;
  /** Changes a second. */
  readonly rate: number;
  readonly seed: number;
  readonly opensBrowser: boolean;
  readonly isTerminal: boolean;
  readonly logger: Logger;
  readonly print: (text: string) => void;
}

/** The demo as one service: the source, a shop in it, EMCache with three entities, and what the terminal shows. */
export class DemoApp implements Service {
  readonly name = "demo";
  readonly #options: DemoOptions;
  /** What was begun, in that order. */
  readonly #parts: Service[] = [];
  readonly #stopping = new AbortController();
  #shop: DemoShop | null = null;
  #address: string | null = null;

  constructor(options: DemoOptions) {
    this.#options = options;
  }

  address(): string | null {
    return this.#address;
  }

  /** @throws EmcacheError where the source can't be used, or the API can't listen */
  async start(): Promise<void> {
    const { mongo, database, print, logger, rate, seed, folder, opensBrowser, isTerminal } = this.#options;
    await this.#begin(mongo);
    const source = { sourceName: DEMO_SOURCE, uri: mongo.uri, database, fullDocument: "lookup" } as const;
    // Whatever makes it unfit as a source is told before anything is written to it.
    await (await MongoSource.connect(source, this.#stopping.signal)).close();
    print(`  source     ${mongo.description}, database ${database}\n`);
    const shop = new DemoShop({ uri: mongo.uri, database, rate, seed, isTemporary: folder.isTemporary, logger });
    this.#shop = shop;
    await this.#begin(shop);
    const app = createApp(this.#config(), { logger });
    await this.#begin(app);
    this.#address = app.address();
    if (this.#address === null || this.#stopping.signal.aborted) return;
    folder.announce(this.#address);
    await this.#createEntities(this.#address);
    shop.open();
    print(this.#welcome(this.#address));
    if (opensBrowser) openBrowser(this.#address, logger);
    await this.#begin(new DemoScreen({ address: () => this.#address, print, isTerminal }));
  }

  /** Stops in reverse what was begun; goes on past failures. */
  async stop(signal: AbortSignal): Promise<void> {
    const { print, database } = this.#options;
    this.#stopping.abort();
    for (const part of this.#parts.toReversed()) {
      try {
        const sinceMs = performance.now();
        await part.stop(signal);
        const tookMs = Math.round(performance.now() - sinceMs);
        this.#options.logger.info({ event: "demo_part_stopped", part: part.name, tookMs }, "stopped");
      } catch (error) {
        this.#options.logger.warn(
          { event: "demo_stop_failed", part: part.name, reason: messageOf(error) },
          "not stopped",
        );
      }
    }
    if (this.#shop?.hasLeftDatabase === true) print(`  note       the server did not drop the database ${database}\n`);
  }

  async #begin(part: Service): Promise<void> {
    if (this.#stopping.signal.aborted) return;
    this.#parts.push(part);
    await part.start();
  }

  #config(): ReturnType<typeof loadConfig> {
    const { folder, host, port, mongo, database } = this.#options;
    const flags = {
      data_dir: folder.dataDir,
      "cache.base_dir": folder.cacheDir,
      "server.host": host,
      "server.port": String(port),
      // A demo changes little; a snapshot now and then shows what they are without filling the disk.
      "snapshot.min_lag": "5000",
      [`sources.${DEMO_SOURCE}.uri`]: mongo.uri,
      [`sources.${DEMO_SOURCE}.database`]: database,
    };
    // Neither a config.toml nor variables that are there for something else.
    return loadConfig({ env: {}, flags, cwd: folder.path });
  }

  async #createEntities(address: string): Promise<void> {
    for (const entity of DEMO_ENTITIES) {
      // Until it succeeds: PostgreSQL may need its time. 409: an earlier demo in this folder made it.
      for (;;) {
        const body = JSON.stringify(entity);
        const headers = { "content-type": "application/json" };
        const signal = AbortSignal.any([this.#stopping.signal, AbortSignal.timeout(30_000)]);
        const response = await fetch(`${address}/api/entities`, { method: "POST", headers, body, signal });
        if (response.ok || response.status === 409) break;
        if (response.status !== 503) throw new Error(`the entity ${entity.name} was refused: ${await response.text()}`);
      }
    }
  }

  #welcome(address: string): string {
    const { folder } = this.#options;
    const file = `${folder.cacheDir}/orders.db`;
    return [
      `  web page   ${address}`,
      `  caches     ${folder.cacheDir}`,
      `  log        ${folder.logFile}`,
      "",
      "  In another terminal, while it changes:",
      "",
      `    sqlite3 ${quoted(file)} "select count(*) from orders"`,
      `    sqlite3 ${quoted(file)} "select status, count(*), round(sum(total), 2) from orders group by status"`,
      `    curl ${address}/api/entities/orders`,
      "",
      `  Ctrl+C ends it${folder.isTemporary ? " and removes everything" : `; ${folder.path} stays`}.`,
      "",
      "",
    ].join("\n");
  }
}

/** For a shell, where the path needs it. */
function quoted(path: string): string {
  return /^[\w./-]+$/.test(path) ? path : `'${path.replaceAll("'", `'\\''`)}'`;
}

function openBrowser(address: string, logger: Logger): void {
  const program = process.platform === "darwin" ? "open" : process.platform === "win32" ? "explorer" : "xdg-open";
  const child = spawn(program, [address], { stdio: "ignore", detached: true });
  child.once("error", (error) => logger.warn({ event: "no_browser", reason: messageOf(error) }, "no browser opened"));
  child.unref();
}
