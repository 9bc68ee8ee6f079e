import { afterEach, expect, test } from "vitest";
import { TestApi, USERS } from "./testing/test-api.ts";

let api: TestApi;
afterEach(() => api.close());

test("answers carry headers that keep browsers from misusing them", async () => {
  api = await new TestApi().start();
  await api.add(USERS, "live");
  for (const path of ["/api/entities", "/health", "/api/entities/nothing", "/openapi.json", "/api/entity"]) {
    const { headers } = await api.request(path);
    expect(Object.fromEntries(headers), path).toMatchObject({
      "content-security-policy": "default-src 'none';frame-ancestors 'none'",
      "x-content-type-options": "nosniff",
      "x-frame-options": "SAMEORIGIN",
      "referrer-policy": "no-referrer",
      "cross-origin-resource-policy": "same-origin",
    });
    expect(headers.get("strict-transport-security")).toBeNull();
    expect(headers.get("x-powered-by")).toBeNull();
    expect(headers.get("access-control-allow-origin")).toBeNull();
  }
});

test("more requests than server.rate_limit are told when to come again; probes are answered", async () => {
  api = await new TestApi({ rateLimit: 5 }).start();
  const statuses: number[] = [];
  for (let index = 0; index < 8; index += 1) statuses.push((await api.request("/api/entities")).status);
  expect(statuses).toEqual([200, 200, 200, 200, 200, 429, 429, 429]);
  const refused = await api.request("/api/entities");
  expect(Number(refused.headers.get("retry-after"))).toBeGreaterThan(1);
  expect(await refused.json()).toMatchObject({ code: "rate_limited", retryable: true });
  expect((await api.request("/health/live")).status).toBe(200);
});

test("tokens are not tried faster than the limit", async () => {
  api = await new TestApi({
    rateLimit: 3,
    authenticator: { isRequired: true, authenticate: () => Promise.reject(new Error("never asked beyond the limit")) },
  }).start();
  const statuses: number[] = [];
  for (let index = 0; index < 5; index += 1) statuses.push((await api.request("/api/entities")).status);
  expect(statuses).toEqual([500, 500, 500, 429, 429]);
});
