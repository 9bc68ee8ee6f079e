import { expect, test } from "vitest";
import { FOLLOW_TRANSITIONS, type FollowEvent, type FollowState, nextFollowState } from "./follow-state.ts";

const EVENTS: readonly FollowEvent[] = [
  "file_found",
  "no_file",
  "file_damaged",
  "snapshot_ready",
  "caught_up",
  "fell_behind",
  "server_lost",
  "write_failed",
  "history_refused",
  "position_refused",
  "version_replaced",
  "closed",
];

/** The table as it is meant, one line a state, in the order of EVENTS; `-` can't happen. Written beside it on purpose. */
const MEANT: Readonly<Record<FollowState, string>> = {
  opening: "catching_up bootstrapping bootstrapping - - - - - - - - stopped",
  bootstrapping: "- - - catching_up - - bootstrapping - - - - stopped",
  catching_up: "- - bootstrapping - live catching_up stale stale resetting resetting resetting stopped",
  live: "- - bootstrapping - live live stale stale resetting resetting resetting stopped",
  stale: "- - bootstrapping - live catching_up stale stale resetting resetting resetting stopped",
  resetting: "- - bootstrapping catching_up - - resetting resetting resetting resetting resetting stopped",
  stopped: "- - - - - - - - - - - stopped",
};

for (const [state, meant] of Object.entries(MEANT) as [FollowState, string][]) {
  for (const [index, next] of meant.split(" ").entries()) {
    const event = EVENTS[index] as FollowEvent;
    test(`${state}, ${event}: ${next === "-" ? "can't happen" : next}`, () => {
      if (next === "-") expect(() => nextFollowState(state, event)).toThrow("can't happen");
      else expect(nextFollowState(state, event)).toBe(next);
    });
  }
}

test("every state but stopped can be closed, and every state can be reached", () => {
  const reached = new Set(Object.values(FOLLOW_TRANSITIONS).flatMap((events) => Object.values(events)));
  for (const state of Object.keys(FOLLOW_TRANSITIONS) as FollowState[]) {
    expect(nextFollowState(state, "closed")).toBe("stopped");
    if (state !== "opening") expect(reached).toContain(state);
  }
});
