import { readFileSync } from "node:fs";
import { Int32 } from "mongodb";
import type { Browser, BrowserContextOptions, Page } from "playwright-core";
import { afterAll, beforeAll, beforeEach, describe, expect, test } from "vitest";
import { findChromium, startChromium } from "./support/chromium.ts";
import type { EntityRequest } from "./support/emcache-api.ts";
import { eventually } from "./support/eventually.ts";
import { TestSystem } from "./support/test-system.ts";
import { useTestFolder } from "./support/use-test-folder.ts";

/*
 * The web page in a real browser, over a real system. Debian: apt-get install chromium (.ci/run does it where it may).
 */
const executable = findChromium();
if (executable === null) {
  console.error("THE WEB PAGE IS NOT TESTED: there is no Chromium here (Debian: apt-get install chromium).");
}
test.skipIf(executable === null)("there is a Chromium, without which the web page is NOT TESTED", () => {
  expect(executable).not.toBe(null);
});

const USERS: EntityRequest = {
  name: "users",
  client: "main",
  source: "users",
  shape: {
    id_column: { path: "$._id", type: "string" },
    columns: [
      { name: "email", type: "string", path: "$.email" },
      { name: "age", type: "integer", path: "$.age" },
    ],
    indexes: [{ name: "users_email", columns: ["email"] }],
  },
};

describe.skipIf(executable === null)("the web page", () => {
  const folder = useTestFolder("dashboard");
  let system: TestSystem;
  let browser: Browser;
  /** What no page may do: fail, break its own policy, ask another host. */
  let wrongs: string[];

  beforeAll(async () => {
    system = await TestSystem.start({ folder });
    browser = await startChromium(executable ?? "");
    const users = Array.from({ length: 50 }, (_, index) => ({
      _id: `user-${index}`,
      email: `user${index}@example.com`,
      // One that doesn't fit.
      age: index === 7 ? "seven" : new Int32(index),
    }));
    await system.collection("users").insertMany(users as never[]);
  });
  afterAll(async () => {
    await browser?.close();
    await system?.dispose();
  });
  beforeEach(() => {
    wrongs = [];
  });

  async function openPage(hash: string, options: BrowserContextOptions = {}): Promise<Page> {
    const context = await browser.newContext({ viewport: { width: 1280, height: 800 }, ...options });
    const page = await context.newPage();
    page.setDefaultTimeout(20_000);
    page.on("pageerror", (error) => wrongs.push(`error: ${error.message}`));
    page.on("console", (message) => {
      // The browser notes a refused definition (400) by itself.
      if (message.type() === "error" && !message.text().includes("400")) wrongs.push(message.text());
    });
    page.on("request", (request) => {
      if (!request.url().startsWith(system.emcache.address)) wrongs.push(`asked ${request.url()}`);
    });
    await page.goto(`${system.emcache.address}/${hash}`);
    return page;
  }

  async function close(page: Page): Promise<void> {
    await page.context().close();
    expect(wrongs).toEqual([]);
  }

  test("an entity is created: every mistake is shown at its line, then it is live with its rows", async () => {
    const page = await openPage("");
    await page.getByText("No entities yet").waitFor();
    await page.getByRole("link", { name: "Create the first one" }).press("Enter");
    const editor = page.getByLabel("Definition as JSON");
    const wrong = JSON.stringify(USERS, null, 2)
      .replace('"client": "main"', '"client": "mian"')
      .replace('"type": "integer"', '"type": "integr"');
    await editor.fill(wrong);
    await page.getByRole("button", { name: "Create entity" }).click();
    const alert = page.getByRole("alert");
    await alert.getByText("2 mistakes").waitFor();
    expect(await alert.getByRole("listitem").allTextContents()).toEqual([
      expect.stringMatching(/^line 3 client: "mian" is not a configured source; did you mean "main"\?/),
      expect.stringMatching(/^line 18 shape\.columns\[1\]\.type: "integr" is not a column type/),
    ]);
    expect(await page.locator(".line-bad").allTextContents()).toEqual([
      expect.stringMatching(/"client": "mian".*did you mean "main"/),
      expect.stringMatching(/"type": "integr".*type: "integr" is not a column type/),
    ]);
    await alert.getByRole("button", { name: "line 18" }).click();
    expect(await page.evaluate("getSelection().toString()")).toContain('"integr"');

    await editor.fill("{");
    await editor.press("Control+Enter");
    await alert.getByText("One mistake").waitFor();

    await editor.fill(JSON.stringify(USERS));
    await editor.press("Control+Enter");
    await page.getByRole("heading", { level: 1, name: "users" }).waitFor();
    await page.locator(".title").getByText("live", { exact: true }).waitFor();
    await eventually(
      async () => (await page.locator(".figure").first().textContent())?.includes("50") === true,
      20_000,
      async () => `50 rows are shown; it shows ${await page.locator(".figures").textContent()}`,
    );
    await page.getByRole("cell", { name: "$.email" }).waitFor();
    await close(page);
  });

  test("the overview shows the entity's figures; a new event is in its rate and in the oplog's tail", async () => {
    const page = await openPage("");
    const row = page.getByRole("row", { name: /users/ });
    await row.getByText("live", { exact: true }).waitFor();
    await page.getByRole("status").getByText("healthy").waitFor();
    expect(await row.getByRole("cell").nth(1).textContent()).toBe("50");
    // The reject is counted.
    await eventually(
      async () => (await row.getByRole("cell").last().textContent()) === "1",
      20_000,
      () => "one reject",
    );
    await row.getByRole("link", { name: "users" }).click();
    const tail = page.getByRole("region", { name: "Oplog" }).last();
    await system.collection("users").insertOne({ _id: "newest" as never, email: "n@example.com", age: new Int32(9) });
    await tail.getByText("newest").waitFor();
    expect(await tail.locator("tbody tr").first().textContent()).toMatch(/upsert.*newest.*n@example\.com/);
    await system.collection("users").deleteOne({ _id: "newest" as never });
    await tail.getByText("delete", { exact: true }).waitFor();

    const rejects = page.getByRole("region", { name: "Rejects" }).last();
    await rejects.getByText("user-7").waitFor();

    await page.getByRole("button", { name: "Pause" }).click();
    await system.collection("users").insertOne({ _id: "unseen" as never, age: new Int32(1) });
    await system.waitForRow("users", "unseen", 20_000);
    expect(await tail.getByText("unseen").count()).toBe(0);
    await page.getByRole("button", { name: "Resume" }).click();
    await tail.getByText("unseen").waitFor();
    await close(page);
  });

  test("a snapshot is made and downloaded", async () => {
    const page = await openPage("#/entities/users");
    await page.getByRole("button", { name: "Make one now" }).click();
    const link = page.getByRole("link", { name: "Download" });
    await link.waitFor();
    const [download] = await Promise.all([page.waitForEvent("download"), link.click()]);
    expect(download.suggestedFilename()).toBe("users.db");
    expect(readFileSync(await download.path(), "latin1").slice(0, 15)).toBe("SQLite format 3");
    await close(page);
  });

  test("a degraded part is told first, with its reason and what to do", async () => {
    const page = await openPage("");
    await page.getByText("healthy", { exact: true }).waitFor();
    // The answer of the real route, changed on its way: what else works is shown beside it.
    await page.route("**/health", async (route) => {
      const answer = await route.fetch();
      const health = (await answer.json()) as { status: string; components: Record<string, object> };
      const ill = { status: "degraded", code: "source_unavailable", reason: "no server", hint: "Start it." };
      health.components["source.main"] = { ...health.components["source.main"], ...ill };
      await route.fulfill({ json: { ...health, status: "degraded" } });
    });
    await page.getByText(/degraded: 1 of \d parts/).waitFor();
    const first = page.locator(".part").first();
    expect(await first.textContent()).toMatch(/source\.main.*source_unavailable.*no server.*Start it\./);
    await page.context().close();
  });

  test("both themes, a narrow window, and the keyboard alone", async () => {
    const page = await openPage("", { viewport: { width: 400, height: 800 }, colorScheme: "dark" });
    await page.getByRole("row", { name: /users/ }).waitFor();
    const background = (): Promise<unknown> => page.evaluate("getComputedStyle(document.body).backgroundColor");
    const dark = await background();
    const theme = page.getByRole("button", { name: /theme/ });
    const isDark = (wanted: boolean): Promise<unknown> =>
      eventually(
        async () => ((await background()) === dark) === wanted,
        5_000,
        async () => `the page is ${wanted ? "" : "not "}dark; its background is ${String(await background())}`,
      );
    await theme.press("Enter");
    await isDark(false);
    await theme.press("Enter");
    await isDark(true);
    for (const [hash, heading] of [
      ["#/entities/users", "users"],
      ["#/entities/users/edit", "Change users"],
      ["#/new", "New entity"],
      ["#/", "Overview"],
    ] as const) {
      await page.goto(`${system.emcache.address}/${hash}`);
      await page.getByRole("heading", { level: 1, name: heading }).waitFor();
      expect(await page.evaluate("document.documentElement.scrollWidth"), hash).toBe(400);
    }
    await page.getByRole("row", { name: /users/ }).waitFor();
    for (let presses = 0; presses < 20; presses++) {
      await page.keyboard.press("Tab");
      if ((await page.evaluate("document.activeElement.textContent")) === "users") break;
    }
    await page.keyboard.press("Enter");
    await page.getByRole("heading", { level: 1, name: "users" }).waitFor();
    await close(page);
  });

  test("the page's policy allows nothing but its own files", async () => {
    const { headers } = await system.api.request("GET", "/");
    const policy = headers.get("content-security-policy") ?? "";
    expect(policy).toContain("default-src 'none'");
    expect(policy).not.toMatch(/unsafe|https?:|\*/);
    expect((await system.api.request("GET", "/assets/..%2fdashboard-files.ts")).status).toBe(404);
    expect((await system.api.request("GET", "/assets/nothing.js")).status).toBe(404);
  });

  test("an entity is deleted after a question", async () => {
    const page = await openPage("#/entities/users");
    await page.getByRole("button", { name: "Delete" }).click();
    const dialog = page.getByRole("dialog");
    await dialog.getByRole("button", { name: "Keep it" }).click();
    await dialog.waitFor({ state: "detached" });
    await page.getByRole("button", { name: "Delete" }).click();
    await dialog.getByRole("button", { name: "Delete" }).click();
    await page.getByText("No entities yet").waitFor();
    await page.context().close();
  });
});
