import type { TypeBoxTypeProvider } from "@fastify/type-provider-typebox";
import { fastify } from "fastify";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { type AddressInfo, connect } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { promisify } from "node:util";
import { expect, test, vi } from "vitest";
import { createLogger } from "../runtime/logger.ts";
import { endStalledAnswers } from "./end-stalled-answers.ts";
import { sendFile } from "./send-file.ts";

const folder = mkdtempSync(join(tmpdir(), "emcache-stalled-"));
const path = join(folder, "large.db");

test("a client that stops reading loses its connection; one that reads is left alone", async () => {
  writeFileSync(path, Buffer.alloc(64 * 1024 * 1024));
  const loggerInstance = createLogger({ level: "silent", destination: { write: () => {} } });
  const app = fastify({ loggerInstance }).withTypeProvider<TypeBoxTypeProvider>();
  endStalledAnswers(app, 200);
  app.get("/slow", async () => {
    await new Promise((resolve) => {
      setTimeout(resolve, 600);
    });
    return "answered late";
  });
  app.get("/file", async (request, reply) => {
    await sendFile(request, reply, { path, etag: null });
    return reply;
  });
  try {
    const url = await app.listen({ host: "127.0.0.1", port: 0 });
    const { port } = app.server.address() as AddressInfo;
    const stalled = connect(port, "127.0.0.1");
    stalled.on("error", () => {});
    stalled.pause();
    stalled.write("GET /file HTTP/1.1\r\nhost: a\r\n\r\n");
    const connections = promisify(app.server.getConnections.bind(app.server));
    await vi.waitFor(async () => expect(await connections()).toBe(1));
    await vi.waitFor(async () => expect(await connections()).toBe(0), { timeout: 20_000 });
    stalled.destroy();
    expect(await (await fetch(`${url}/slow`)).text()).toBe("answered late");
    expect((await (await fetch(`${url}/file`)).arrayBuffer()).byteLength).toBe(64 * 1024 * 1024);
  } finally {
    await app.close();
    rmSync(folder, { recursive: true, force: true });
  }
});
