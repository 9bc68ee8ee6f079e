import { readFileSync } from "node:fs";
import { createSecureContext, type SecureVersion } from "node:tls";
import { EmcacheError } from "@emcache/protocol";
import type { TlsFiles } from "../config/config.ts";
import { messageOf } from "../runtime/error-message.ts";

/** Older ones are broken (RFC 8996). */
const VERSION_MIN: SecureVersion = "TLSv1.2";

/** Time for a client to agree on keys: one that says nothing holds no connection. */
const HANDSHAKE_TIMEOUT_MS = 10_000;

interface TlsOptions {
  readonly cert: Buffer;
  readonly key: Buffer;
  readonly minVersion: SecureVersion;
  readonly handshakeTimeout: number;
}

/** Certificate and key, read and found to belong together. @throws EmcacheError `listen_failed` */
export function tlsOptions({ cert, key }: TlsFiles): TlsOptions {
  try {
    const options = {
      cert: readFileSync(cert),
      key: readFileSync(key),
      minVersion: VERSION_MIN,
      handshakeTimeout: HANDSHAKE_TIMEOUT_MS,
    };
    createSecureContext(options);
    return options;
  } catch (error) {
    throw new EmcacheError(
      "listen_failed",
      `The certificate ${cert} and key ${key} can't be used: ${messageOf(error)}`,
      {
        hint: "server.tls.cert names the certificate with its chain, server.tls.key its key, both as PEM, readable by EMCache's user.",
        cause: error,
      },
    );
  }
}
