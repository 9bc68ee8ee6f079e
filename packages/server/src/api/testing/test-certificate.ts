import { execFileSync } from "node:child_process";
import { join } from "node:path";
import type { TlsFiles } from "../../config/config.ts";

/** A certificate for 127.0.0.1 and localhost that signed itself, made by openssl; `name` is its subject. */
export function makeCertificate(folder: string, name: string): TlsFiles {
  const files = { cert: join(folder, `${name}.crt`), key: join(folder, `${name}.key`) };
  const names = "subjectAltName=DNS:localhost,IP:127.0.0.1";
  const how = ["req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "2"];
  execFileSync(
    "openssl",
    [...how, "-subj", `/CN=${name}`, "-addext", names, "-keyout", files.key, "-out", files.cert],
    { stdio: "ignore" },
  );
  return files;
}
