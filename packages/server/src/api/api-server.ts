import { EmcacheError } from "@emcache/protocol";
import type { AddressInfo } from "node:net";
import { messageOf } from "../runtime/error-message.ts";
import type { Service } from "../runtime/service.ts";
import { buildApiApplication } from "./api-application.ts";
import type { ApiDependencies } from "./api-dependencies.ts";
import type { ApiInstance } from "./api-instance.ts";

/** Serves the REST API. Nothing in it waits for a database to come back, so it serves what it has at once. */
export class ApiServer implements Service {
  readonly name = "api";
  readonly #dependencies: ApiDependencies;
  readonly #application: ApiInstance;
  #isStopping = false;

  constructor(dependencies: ApiDependencies) {
    this.#dependencies = dependencies;
    this.#application = buildApiApplication(dependencies);
    this.#application.addHook("onResponse", async () => {
      // Its connection becomes idle after this; the server closed those that were idle when it began to stop.
      if (this.#isStopping) setImmediate(() => this.#application.server.closeIdleConnections());
    });
  }

  /** Where it listens, as `http://127.0.0.1:8080`; null while it doesn't. */
  address(): string | null {
    const bound = this.#application.server.address() as AddressInfo | null;
    if (bound === null) return null;
    const host = bound.family === "IPv6" ? `[${bound.address}]` : bound.address;
    return `http://${host}:${bound.port}`;
  }

  /** @throws EmcacheError `listen_failed` where the address is taken or not this machine's */
  async start(): Promise<void> {
    const { host, port, logger } = this.#dependencies;
    try {
      await this.#application.listen({ host, port });
    } catch (error) {
      throw new EmcacheError("listen_failed", `The API can't listen on ${host}:${port}: ${messageOf(error)}`, {
        cause: error,
      });
    }
    logger.info({ event: "api_listening", address: this.address() }, `the API listens on ${this.address()}`);
  }

  /** Accepts no more, closes idle connections, finishes requests in flight; cuts them off when `signal` aborts. */
  async stop(signal: AbortSignal): Promise<void> {
    this.#isStopping = true;
    this.#dependencies.hub.endWaits();
    const cutOff = (): void => this.#application.server.closeAllConnections();
    if (signal.aborted) cutOff();
    signal.addEventListener("abort", cutOff, { once: true });
    try {
      await this.#application.close();
    } catch (error) {
      this.#dependencies.logger.warn({ event: "api_stop_failed", error }, "the API did not stop cleanly");
    } finally {
      signal.removeEventListener("abort", cutOff);
    }
  }
}
