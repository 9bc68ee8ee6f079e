import { copyFileSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { request } from "node:https";
import { connect as connectPlain } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { connect, type TLSSocket } from "node:tls";
import { afterAll, beforeAll, expect, test } from "vitest";
import { TestApi, USERS } from "./testing/test-api.ts";
import { makeCertificate } from "./testing/test-certificate.ts";

const folder = mkdtempSync(join(tmpdir(), "emcache-tls-"));
const tls = { cert: join(folder, "used.crt"), key: join(folder, "used.key") };
let api: TestApi;

beforeAll(async () => {
  use("first");
  api = await new TestApi({ tls }).start();
  await api.add(USERS, "live");
});
afterAll(async () => {
  await api.close();
  rmSync(folder, { recursive: true });
});

/** Puts a certificate of that name in the place of the one that is used. */
function use(name: string): void {
  const made = makeCertificate(folder, name);
  copyFileSync(made.cert, tls.cert);
  copyFileSync(made.key, tls.key);
}

function get(
  path: string,
): Promise<{ status: number; headers: Record<string, unknown>; subject: string; body: string }> {
  return new Promise((resolve, reject) => {
    const ask = request(api.url + path, { ca: readFileSync(tls.cert), agent: false, timeout: 10_000 }, (response) => {
      const subject = (response.socket as TLSSocket).getPeerCertificate().subject.CN;
      let body = "";
      response.setEncoding("utf8").on("data", (text: string) => (body += text));
      response.on("end", () =>
        resolve({ status: response.statusCode ?? 0, headers: response.headers, subject: String(subject), body }),
      );
    });
    ask.on("error", reject).end();
  });
}

test("speaks HTTPS, says so to browsers, and takes another certificate while it runs", async () => {
  expect(api.url).toMatch(/^https:\/\/127\.0\.0\.1:\d+$/);
  const { status, headers, subject, body } = await get("/api/entities");
  expect({ status, subject }).toEqual({ status: 200, subject: "first" });
  expect(JSON.parse(body)).toMatchObject([{ name: "users" }]);
  expect(headers["strict-transport-security"]).toBe("max-age=31536000");
  use("second");
  api.server.reloadCertificate();
  expect((await get("/health/live")).subject).toBe("second");
});

test("a certificate that can't be read leaves the one that is used in use", async () => {
  const before = readFileSync(tls.cert);
  writeFileSync(tls.cert, "no certificate");
  expect(() => api.server.reloadCertificate()).toThrow(expect.objectContaining({ code: "listen_failed" }));
  writeFileSync(tls.cert, before);
  expect((await get("/health/live")).status).toBe(200);
});

test("plain HTTP and old versions of TLS get no answer", async () => {
  const { port } = new URL(api.url);
  const plain = await new Promise<string>((resolve) => {
    let text = "";
    const socket = connectPlain(Number(port), "127.0.0.1", () =>
      socket.write("GET /health HTTP/1.1\r\nhost: x\r\n\r\n"),
    );
    socket.on("data", (data) => (text += data.toString("latin1"))).on("close", () => resolve(text));
    socket.on("error", () => resolve(text));
  });
  expect(plain).not.toContain("HTTP/1.1 200");
  const old = {
    host: "127.0.0.1",
    port: Number(port),
    maxVersion: "TLSv1.1",
    minVersion: "TLSv1",
    rejectUnauthorized: false,
  } as const;
  await expect(
    new Promise((resolve, reject) => {
      const socket = connect({ ...old, ciphers: "DEFAULT:@SECLEVEL=0" }, () => resolve(socket.destroy()));
      socket.on("error", reject);
    }),
  ).rejects.toThrow(/protocol|version|handshake/i);
});

test("a connection that is never used does not hold up the stop", async () => {
  const other = await new TestApi({ tls }).start();
  const socket = connectPlain(Number(new URL(other.url).port), "127.0.0.1");
  socket.on("error", () => undefined);
  await new Promise((resolve) => socket.once("connect", resolve));
  await other.close();
  socket.destroy();
});
