import { once } from "node:events";
import { type AddressInfo, type Socket, connect, createServer } from "node:net";
import { join } from "node:path";

/** What to do with a piece of what a client sends. */
export type ProxyAction =
  | "forward"
  /** Neither is it delivered nor does the client's connection live on. */
  | "cut"
  /** It is delivered; the client's connection ends before an answer comes. */
  | "forward_and_cut"
  /** The client's connection ends; the piece is delivered by `deliverHeld`. */
  | "hold"
  /** The client's connection lives on; the piece, and what follows it, are delivered by `deliverHeld`. */
  | "pause";

/** Between a PostgreSQL client and its server, to break the connection at a chosen piece. */
export interface TcpProxy {
  /** URI of the same database through the proxy. */
  readonly uri: string;
  /** Decides on each piece; replaced by tests. */
  decide: (piece: Buffer) => ProxyAction;
  deliverHeld(): void;
  stop(): Promise<void>;
}

export async function startTcpProxy(uri: string): Promise<TcpProxy> {
  const target = new URL(uri);
  const socketDir = target.searchParams.get("host");
  const port = target.port === "" ? 5432 : Number(target.port);
  const sockets = new Set<Socket>();
  const held: (() => void)[] = [];
  const server = createServer((client) => {
    const upstream = socketDir === null ? connect(port, target.hostname) : connect(join(socketDir, `.s.PGSQL.${port}`));
    for (const socket of [client, upstream]) {
      sockets.add(socket);
      socket.on("error", () => undefined);
      socket.on("close", () => sockets.delete(socket));
    }
    let isCut = false;
    upstream.on("data", (piece) => {
      if (!isCut) client.write(piece);
    });
    upstream.on("close", () => client.destroy());
    client.on("close", () => {
      if (!isCut) upstream.destroy();
    });
    client.on("data", (piece) => {
      const action = isCut ? "cut" : proxy.decide(piece);
      if (action === "forward") {
        upstream.write(piece);
        return;
      }
      if (action === "pause") {
        client.pause();
        held.push(() => {
          upstream.write(piece);
          client.resume();
        });
        return;
      }
      isCut = true;
      if (action === "forward_and_cut") upstream.write(piece, () => upstream.end());
      else if (action === "hold") held.push(() => upstream.end(piece));
      else upstream.destroy();
      client.destroy();
    });
  });
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  const through = new URL(uri);
  through.searchParams.delete("host");
  through.hostname = "127.0.0.1";
  through.port = String((server.address() as AddressInfo).port);
  const proxy: TcpProxy = {
    uri: through.href,
    decide: () => "forward",
    deliverHeld() {
      for (const deliver of held.splice(0)) deliver();
    },
    async stop() {
      for (const socket of sockets) socket.destroy();
      server.close();
      await once(server, "close");
    },
  };
  return proxy;
}
