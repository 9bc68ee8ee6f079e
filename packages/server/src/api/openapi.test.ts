import { afterAll, beforeAll, expect, test } from "vitest";
import { DashboardFiles } from "../dashboard/dashboard-files.ts";
import { buildApiApplication } from "./api-application.ts";
import { TestApi } from "./testing/test-api.ts";

interface Operation {
  readonly summary?: string;
  readonly operationId?: string;
  readonly responses: Record<string, { readonly content?: object; readonly description: string }>;
  readonly security?: unknown;
}
interface Description {
  readonly openapi: string;
  readonly paths: Record<string, Record<string, Operation>>;
}

let api: TestApi;
let description: Description;

beforeAll(async () => {
  api = await new TestApi({ site: new DashboardFiles(), queries: { run: () => Promise.resolve("{}") } }).start();
  description = (await (await api.request("/openapi.json")).json()) as Description;
});
afterAll(() => api.close());

function operations(): [name: string, operation: Operation][] {
  return Object.entries(description.paths).flatMap(([path, methods]) =>
    Object.entries(methods).map(([method, operation]): [string, Operation] => [`${method} ${path}`, operation]),
  );
}

test("every route but those of the Go client and of pages is described, with what it answers", async () => {
  const found: string[] = [];
  const app = buildApiApplication(api.dependencies);
  app.addHook("onRoute", ({ method, url }) => {
    for (const one of [method].flat())
      if (one !== "HEAD") found.push(`${one.toLowerCase()} ${url.replaceAll(/:(\w+)/g, "{$1}")}`);
  });
  await app.ready();
  await app.close();
  const isUndescribed = (route: string): boolean =>
    / \/(?:api\/(?:entity|snapshot)(?:\/|$)|api\/oplogs(?:\/status)?$|assets\/|docs|$)/.test(route);
  expect(
    operations()
      .map(([name]) => name)
      .toSorted(),
  ).toEqual(found.filter((route) => !isUndescribed(route)).toSorted());
  for (const [name, { responses, summary }] of operations()) {
    expect(summary, name).toEqual(expect.any(String));
    const good = Object.entries(responses).filter(([status]) => status.startsWith("2"));
    expect(good.length, name).toBeGreaterThan(0);
    for (const [status, { content }] of good) expect(content !== undefined || status === "204", name).toBe(true);
    expect(Object.keys(responses), name).toEqual(expect.arrayContaining(["4XX", "5XX"]));
    expect(JSON.stringify(responses["4XX"]), name).toContain("application/problem+json");
  }
});

test("it is OpenAPI 3.1 with unlike names of operations, and says which routes want a token", () => {
  expect(description.openapi).toBe("3.1.0");
  const ids = operations().map(([, { operationId }]) => operationId);
  expect(new Set(ids).size).toBe(ids.length);
  const open = operations().filter(([, { security }]) => security === undefined);
  expect(open.map(([name]) => name).toSorted()).toEqual(["get /health/live", "get /health/ready", "get /openapi.json"]);
});

test("the reference page loads nothing from elsewhere, and no other file", async () => {
  const page = await api.request("/docs");
  const html = await page.text();
  expect(page.headers.get("content-security-policy")).toMatch(/^default-src 'none'.*script-src 'self'; /);
  const places = [...html.matchAll(/(?:src|href)="([^"]+)"/g)].map((match) => match[1] ?? "");
  expect(places.filter((place) => !place.startsWith("data:"))).toHaveLength(3);
  for (const place of places.filter((one) => !one.startsWith("data:"))) {
    expect(place).toMatch(/^\/docs\//);
    const file = await api.request(place);
    expect(file.status, place).toBe(200);
    expect((await file.text()).length).toBeGreaterThan(50);
    const again = await api.request(place, { headers: { "if-none-match": file.headers.get("etag") ?? "" } });
    expect(again.status).toBe(304);
  }
  for (const place of [
    "package.json",
    "..%2fpackage.json",
    "%2e%2e%2findex.js",
    "constructor",
    "__proto__",
    "logo.svg",
  ]) {
    expect((await api.request(`/docs/${place}`)).status, place).toBe(404);
  }
});
