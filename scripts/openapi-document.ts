import { buildApiApplication } from "../packages/server/src/api/api-application.ts";
import { TestApi } from "../packages/server/src/api/testing/test-api.ts";

/** docs/openapi.json: what a server with all its routes tells at /openapi.json. */
export async function renderOpenApi(): Promise<string> {
  const api = new TestApi({
    queries: { run: () => Promise.resolve("") },
    metrics: {
      contentType: "text/plain",
      text: () => Promise.resolve(""),
      observeRequest: () => undefined,
      addQueue: () => undefined,
    },
  });
  try {
    const app = buildApiApplication(api.dependencies);
    await app.ready();
    const document = app.swagger();
    await app.close();
    return `${JSON.stringify(document, null, 2)}\n`;
  } finally {
    await api.close();
  }
}
