/** A process with an embedded server, for the tests to kill. Argument: the data directory. */
import { EmbeddedPostgres } from "../embedded-postgres.ts";
import { testLogger } from "./log-fixture.ts";

const embedded = new EmbeddedPostgres({ dataDir: process.argv[2] ?? "", connectionsMax: 10, logger: testLogger });
await embedded.start(AbortSignal.timeout(60_000));
process.stdout.write("started\n");
setInterval(() => undefined, 1_000);
