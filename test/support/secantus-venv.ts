import { join } from "node:path";
import { pythonEnvironment } from "./python-environment.ts";

/** The independent server's release. */
const SECANTUS = "secantusdb==0.7.0b3";

/**
 * The path of the program `secantusd-py`, which speaks MongoDB's protocol. Tests that are given a MongoDB replica set
 * in `EMCACHE_TEST_MONGO_URI` do without.
 */
export async function secantusProgram(): Promise<string> {
  return join(await pythonEnvironment(SECANTUS), "bin", "secantusd-py");
}
