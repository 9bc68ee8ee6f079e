import { redactUri } from "../runtime/redact-uri.ts";
import type { Config } from "./config.ts";

/** The configuration as it may be shown: without passwords. */
export function redactConfig(config: Config): Config {
  const { postgres } = config.database;
  const { store } = config.snapshot;
  return {
    ...config,
    database: { postgres: { ...postgres, uri: redactUri(postgres.uri) } },
    snapshot: {
      ...config.snapshot,
      store:
        store === null || store.credentials === null
          ? store
          : { ...store, credentials: { ...store.credentials, secretAccessKey: "***" } },
    },
    sources: Object.fromEntries(
      Object.entries(config.sources).map(([name, source]) => [name, { ...source, uri: redactUri(source.uri) }]),
    ),
  };
}
