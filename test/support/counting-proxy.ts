import { createServer, request, type IncomingMessage, type Server } from "node:http";
import type { AddressInfo } from "node:net";

/** An HTTP proxy in front of one server, which counts what goes through and can refuse some of it. */
export class CountingProxy {
  /** `METHOD path?query` of each request that was let through and answered. */
  readonly answered: string[] = [];
  /** Whether a request is let through; the others have their connection cut. */
  lets: (line: string) => boolean = () => true;
  readonly #server: Server;

  private constructor(server: Server) {
    this.#server = server;
  }

  static async start(target: string): Promise<CountingProxy> {
    const server = createServer();
    const proxy = new CountingProxy(server);
    server.on("request", (incoming: IncomingMessage, outgoing) => {
      const line = `${incoming.method} ${incoming.url}`;
      if (!proxy.lets(line)) {
        incoming.socket.destroy();
        return;
      }
      const { hostname, port } = new URL(target);
      // The host stays as it was asked for: it is signed.
      const onward = request(
        { hostname, port, path: incoming.url, method: incoming.method, headers: incoming.headers },
        (response) => {
          proxy.answered.push(line);
          outgoing.writeHead(response.statusCode ?? 500, response.rawHeaders);
          response.pipe(outgoing);
        },
      );
      onward.on("error", () => incoming.socket.destroy());
      incoming.pipe(onward);
    });
    await new Promise<void>((resolve) => {
      server.listen(0, "127.0.0.1", resolve);
    });
    return proxy;
  }

  get url(): string {
    return `http://127.0.0.1:${(this.#server.address() as AddressInfo).port}`;
  }

  async stop(): Promise<void> {
    this.#server.closeAllConnections();
    await new Promise((resolve) => {
      this.#server.close(resolve);
    });
  }
}
