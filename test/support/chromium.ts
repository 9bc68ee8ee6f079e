import { existsSync } from "node:fs";
import { type Browser, chromium } from "playwright-core";

/** Where a Chromium is usually installed; Debian's package is the one that CI installs. */
const PLACES = [
  "/usr/bin/chromium",
  "/usr/bin/chromium-browser",
  "/usr/bin/google-chrome",
  "/Applications/Google Chrome.app/Contents/MacOS/Google Chrome",
];

/** Without them, as root in a closed network: it would refuse to start, and ask its maker's hosts many things. */
const ARGUMENTS = [
  "--no-sandbox",
  "--disable-gpu",
  "--disable-quic",
  "--no-first-run",
  "--disable-background-networking",
  "--disable-component-update",
  "--disable-sync",
];

/** The browser for tests: `EMCACHE_TEST_CHROMIUM`, or one that is installed; null where there is none. */
export function findChromium(): string | null {
  const named = process.env["EMCACHE_TEST_CHROMIUM"] ?? "";
  if (named !== "") return named;
  return PLACES.find((place) => existsSync(place)) ?? null;
}

/** Starts it without a window. */
export function startChromium(executablePath: string): Promise<Browser> {
  return chromium.launch({ executablePath, args: ARGUMENTS });
}
