import { createServer } from "node:net";
import { EmcacheError } from "@emcache/protocol";

/** Ports that are tried one after the other. */
const TRIES = 100;

/** The first port from `first` on that this host lets us listen on; 0 stays 0. @throws EmcacheError `listen_failed` */
export async function freePort(host: string, first: number): Promise<number> {
  for (let port = first; port < first + TRIES && port <= 65_535; port++) {
    if (port === 0 || (await canListen(host, port))) return port;
  }
  throw new EmcacheError("listen_failed", `None of the ports ${first} to ${first + TRIES - 1} of ${host} is free`);
}

function canListen(host: string, port: number): Promise<boolean> {
  const { promise, resolve } = Promise.withResolvers<boolean>();
  const server = createServer();
  server.once("error", () => resolve(false));
  server.listen(port, host, () => server.close(() => resolve(true)));
  return promise;
}
