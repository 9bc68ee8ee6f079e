import { createServer } from "node:net";
import type { Config } from "../config/config.ts";
import { messageOf } from "../runtime/error-message.ts";
import type { DoctorReport } from "./doctor-report.ts";
import { localUrl } from "./server-flags.ts";

const HEALTH_TIMEOUT_MS = 2_000;

/** Checks whether the API could listen, or who does already. */
export async function checkPort({ server }: Config, report: DoctorReport, signal: AbortSignal): Promise<void> {
  const place = `${server.host}:${server.port}`;
  if (server.port === 0) return report.ok("port", "any free one (server.port = 0)");
  const failure = await listenFailure(server.host, server.port);
  if (failure === null) return report.ok("port", `${place} is free`);
  if (await isEmcache(localUrl(server), signal)) {
    return report.ok("port", `an EMCache answers at ${place} already`);
  }
  const { code } = failure as NodeJS.ErrnoException;
  if (code === "EADDRINUSE") {
    return report.fail("port", `another program has ${place}`, "Set server.port to another one, or end that program.");
  }
  report.fail(
    "port",
    `${place} can't be listened on: ${messageOf(failure)}`,
    code === "EACCES"
      ? "Ports below 1024 are root's: set server.port to one above."
      : "Set server.host to an address of this machine, or to 0.0.0.0 for all of them.",
  );
}

function listenFailure(host: string, port: number): Promise<Error | null> {
  const { promise, resolve } = Promise.withResolvers<Error | null>();
  const server = createServer();
  server.once("error", resolve);
  server.listen(port, host, () => server.close(() => resolve(null)));
  return promise;
}

async function isEmcache(url: string, signal: AbortSignal): Promise<boolean> {
  try {
    const until = AbortSignal.any([signal, AbortSignal.timeout(HEALTH_TIMEOUT_MS)]);
    const response = await fetch(`${url}/health/live`, { signal: until });
    return ((await response.json()) as { status?: string }).status === "live";
  } catch {
    return false;
  }
}
