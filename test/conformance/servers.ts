import { rmSync } from "node:fs";
import { DevMongo } from "@emcache/dev-mongo";
import { SecantusServer } from "../support/secantus.ts";
import { makeTestFolder } from "../support/test-folder.ts";

/** A server that the suite runs against. */
export interface ServerUnderTest {
  readonly name: ServerName;
  start(): Promise<{ readonly uri: string; stop(): Promise<void> }>;
}

/** "given" is the one that `EMCACHE_TEST_MONGO_URI` names. */
export type ServerName = "dev-mongo" | "SecantusDB" | "given";

const external = process.env["EMCACHE_TEST_MONGO_URI"] ?? "";

/** The development server, the independent one and, where there is one, the server given by URI. */
export const SERVERS: readonly ServerUnderTest[] = [
  { name: "dev-mongo", start: async () => DevMongo.start() },
  {
    name: "SecantusDB",
    start: async () => {
      const folder = makeTestFolder("conformance");
      const secantus = await SecantusServer.start({ folder });
      const stop = async (): Promise<void> => {
        await secantus.stop();
        rmSync(folder, { recursive: true, force: true });
      };
      return { uri: secantus.uri, stop };
    },
  },
  ...(external === ""
    ? []
    : [{ name: "given" as const, start: async () => ({ uri: external, stop: async () => undefined }) }]),
];
