import { EmcacheError } from "@emcache/protocol";
import type { Browser, Page } from "playwright-core";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { Access } from "../packages/server/src/api/access.ts";
import { TestApi, USERS } from "../packages/server/src/api/testing/test-api.ts";
import { DashboardFiles } from "../packages/server/src/dashboard/dashboard-files.ts";
import { findChromium, startChromium } from "./support/chromium.ts";

/** As in dashboard.test.ts, which says so loudly where there is none. */
const executable = findChromium();

describe.skipIf(executable === null)("the pages of a server that wants tokens", () => {
  let api: TestApi;
  let browser: Browser;
  beforeAll(async () => {
    api = await new TestApi({
      site: new DashboardFiles(),
      authenticator: {
        isRequired: true,
        async authenticate(token) {
          if (token !== "right") throw new EmcacheError("unauthorized", "no such token");
          return new Access({ name: "page", scope: "read", entities: ["*"], isCurrent: () => true });
        },
      },
    }).start();
    await api.add(USERS, "live");
    browser = await startChromium(executable ?? "");
  });
  afterAll(async () => {
    await browser?.close();
    await api?.close();
  });

  /** A page, and what its policy refused. */
  async function open(
    path: string,
    answer: string | null,
  ): Promise<{ page: Page; refused: string[]; asked: () => number }> {
    const page = await browser.newPage();
    const refused: string[] = [];
    let asked = 0;
    page.on("console", (message) => {
      if (/Content Security Policy/.test(message.text())) refused.push(message.text());
    });
    page.on("dialog", (dialog) => {
      asked += 1;
      void (answer === null ? dialog.dismiss() : dialog.accept(answer));
    });
    await page.goto(api.url + path);
    return { page, refused, asked: () => asked };
  }

  test("the web page asks for the token that the server wants, once", async () => {
    const { page, asked } = await open("/", "right");
    await page.getByText("users").first().waitFor({ timeout: 20_000 });
    expect(asked()).toBe(1);
    await page.close();
  });

  test("who gives none is not asked again and again, and sees nothing", async () => {
    const { page, asked } = await open("/", null);
    await page.waitForResponse((response) => response.status() === 401);
    await page.waitForResponse((response) => response.status() === 401);
    expect(asked()).toBe(1);
    expect(await page.getByText("users").count()).toBe(0);
    await page.close();
  });

  test("the reference page shows the routes under its policy, without a token", async () => {
    const { page, refused } = await open("/docs", null);
    await page.getByText("/api/entities/{name}/rejects").first().waitFor({ timeout: 20_000 });
    expect(refused).toEqual([]);
    await page.close();
  });
});
