import { EmcacheError } from "@emcache/protocol";
import type { AddressInfo, Socket } from "node:net";
import { Server as TlsServer } from "node:tls";
import { messageOf } from "../runtime/error-message.ts";
import type { Service } from "../runtime/service.ts";
import { buildApiApplication } from "./api-application.ts";
import type { ApiDependencies } from "./api-dependencies.ts";
import type { ApiInstance } from "./api-instance.ts";
import { tlsOptions } from "./tls-options.ts";

/** How often connections that have become idle are closed while the server stops. */
const CLOSE_IDLE_INTERVAL_MS = 20;

/** Serves the REST API. Nothing in it waits for a database to come back, so it serves what it has at once. */
export class ApiServer implements Service {
  readonly name = "api";
  readonly #dependencies: ApiDependencies;
  readonly #application: ApiInstance;
  /** Connections that have not sent a request yet: for Node they are not idle, and it would wait for them. */
  readonly #unused = new Map<string, Socket>();

  constructor(dependencies: ApiDependencies) {
    this.#dependencies = dependencies;
    this.#application = buildApiApplication(dependencies);
    const { server } = this.#application;
    server.on("connection", (socket) => {
      const peer = peerOf(socket);
      this.#unused.set(peer, socket);
      socket.once("close", () => this.#unused.delete(peer));
    });
    server.on("request", ({ socket }) => this.#unused.delete(peerOf(socket)));
  }

  /** Where it listens, as `http://127.0.0.1:8080`; null while it doesn't. */
  address(): string | null {
    const bound = this.#application.server.address() as AddressInfo | null;
    if (bound === null) return null;
    const host = bound.family === "IPv6" ? `[${bound.address}]` : bound.address;
    return `${this.#dependencies.tls === null ? "http" : "https"}://${host}:${bound.port}`;
  }

  /** @throws EmcacheError `listen_failed` where the address is taken or not this machine's */
  async start(): Promise<void> {
    const { host, port, logger, authenticator } = this.#dependencies;
    try {
      await this.#application.listen({ host, port });
    } catch (error) {
      throw new EmcacheError("listen_failed", `The API can't listen on ${host}:${port}: ${messageOf(error)}`, {
        cause: error,
      });
    }
    if (!authenticator.isRequired && !isLoopback(host)) {
      logger.warn(
        { event: "api_open", host },
        `WHOEVER REACHES ${host}:${port} MAY READ AND CHANGE EVERYTHING: the API listens beyond this machine and asks for no token; set server.auth = "token" (docs/05-operations.md, Security)`,
      );
    }
    logger.info({ event: "api_listening", address: this.address() }, `the API listens on ${this.address()}`);
  }

  /** Reads certificate and key again, for connections from then on; without HTTPS nothing. @throws EmcacheError `listen_failed` */
  reloadCertificate(): void {
    const { tls, logger } = this.#dependencies;
    const { server } = this.#application;
    if (tls === null || !(server instanceof TlsServer)) return;
    server.setSecureContext(tlsOptions(tls));
    logger.info({ event: "certificate_reloaded", cert: tls.cert }, "the certificate was read again");
  }

  /** Accepts no more, closes idle connections, finishes requests in flight; cuts them off when `signal` aborts. */
  async stop(signal: AbortSignal): Promise<void> {
    this.#dependencies.hub.endWaits();
    this.#dependencies.verifier.end();
    const cutOff = (): void => this.#application.server.closeAllConnections();
    if (signal.aborted) cutOff();
    signal.addEventListener("abort", cutOff, { once: true });
    // Connections that become idle later: those of streams that ended, those that a client opened and didn't use.
    const closing = setInterval(() => this.#closeIdle(), CLOSE_IDLE_INTERVAL_MS);
    try {
      await this.#application.close();
    } catch (error) {
      this.#dependencies.logger.warn({ event: "api_stop_failed", error }, "the API did not stop cleanly");
    } finally {
      clearInterval(closing);
      signal.removeEventListener("abort", cutOff);
    }
  }

  #closeIdle(): void {
    this.#application.server.closeIdleConnections();
    for (const socket of this.#unused.values()) socket.destroy();
  }
}

/** Names a connection, below TLS and above it. */
function peerOf({ remoteAddress, remotePort }: Socket): string {
  return `${remoteAddress} ${remotePort}`;
}

function isLoopback(host: string): boolean {
  return host === "localhost" || host === "::1" || /^127(?:\.\d{1,3}){3}$/.test(host);
}
