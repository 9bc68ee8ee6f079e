import { expect, test } from "vitest";
import { followCopyRequests } from "./copy-requests.ts";

/**
 * Follows the requests as each look finds them; `between` runs while the follower sleeps after a look, with what to call
 * once the beginnings of that look's copies are in the log. Returns the versions that were begun, a list a look.
 */
async function follow(looks: readonly (readonly number[])[], between: (look: number, onLogged: () => void) => void) {
  const end = new AbortController();
  const begun: number[][] = [];
  let logged: (() => void)[] = [];
  const clock = {
    nowMs: () => 0,
    monotonicMs: () => 0,
    sleep: async () => {
      between(begun.length, () => {
        for (const tell of logged) tell();
        logged = [];
      });
      if (begun.length === looks.length) end.abort();
      end.signal.throwIfAborted();
    },
  };
  const requests = {
    list: async () => {
      begun.push([]);
      return looks[begun.length - 1] ?? [];
    },
  };
  const begin = (version: number, onLogged: () => void): boolean => {
    begun.at(-1)?.push(version);
    logged.push(onLogged);
    return true;
  };
  await followCopyRequests(requests, { begin, onPaused: () => undefined }, { clock, signal: end.signal });
  return begun;
}

test("a copy is begun once a request, however long its beginning takes into the log", async () => {
  expect(await follow([[1], [1], [1, 2]], () => undefined)).toEqual([[1], [], [2]]);
});

test("a version that is asked for again before the next look is copied again", async () => {
  // The simulator: the first request was gone with the copy's beginning, and the new one was taken for it.
  expect(await follow([[1], [1], []], (_look, onLogged) => onLogged())).toEqual([[1], [1], []]);
});
