import fc from "fast-check";
import type { LogFault } from "./model-log-network.ts";
import type { CommandFault, ServerTraits } from "./model-server.ts";
import type { ModelWrite } from "./source-model.ts";

/** What happens in a run beside what the code does by itself. `gap`: steps of the scheduler before it. */
export type Operation = { readonly gap: number } & (
  | { readonly kind: "write"; readonly writes: readonly ModelWrite[]; readonly isTransaction: boolean }
  | { readonly kind: "drop" | "drop_database" | "lose_history" | "step_down" | "take_over" | "freeze" | "thaw" }
  | { readonly kind: "rename"; readonly toCollection: string }
  | { readonly kind: "source_fault"; readonly command: string; readonly fault: CommandFault }
  | { readonly kind: "log_fault"; readonly what: string; readonly fault: LogFault }
  | { readonly kind: "crash"; readonly process: number; readonly losesCaches: boolean }
  | { readonly kind: "request_copy" | "new_version"; readonly entity: number }
  | { readonly kind: "retention"; readonly keep: number }
  | { readonly kind: "time"; readonly ms: number }
);

/** One run. */
export interface Scenario {
  /** Decides the interleavings. */
  readonly schedule: number;
  /** How slow messages are beside timers: how often a timer overtakes them. */
  readonly earlyTimers: number;
  readonly traits: ServerTraits;
  readonly processes: number;
  readonly copiesMax: number;
  readonly pageRowsMax: number;
  readonly initial: readonly ModelWrite[];
  readonly operations: readonly Operation[];
}

/** Documents of few names, so that they meet one another. */
const id = fc.oneof(
  { weight: 4, arbitrary: fc.integer({ min: 1, max: 8 }) },
  { weight: 1, arbitrary: fc.constantFrom("s1", "s2") },
);

const fields = fc.record(
  {
    // One in some does not fit a column: a reject.
    n: fc.oneof(
      { weight: 8, arbitrary: fc.integer({ min: 0, max: 9 }) },
      { weight: 1, arbitrary: fc.constant("no number") },
    ),
    s: fc.constantFrom("x", "y", "ä\u0000"),
  },
  { requiredKeys: [] },
);

const write: fc.Arbitrary<ModelWrite> = fc.record({
  collection: fc.constantFrom("a", "a", "b"),
  id,
  fields: fc.option(fields, { freq: 3, nil: null }),
  kind: fc.constantFrom("update", "update", "replace"),
});

/** Several writes of one document one after the other: what a look-up is too late for. */
const burst = fc
  .tuple(
    write,
    fc.array(
      fc.record({ fields: fc.option(fields, { freq: 3, nil: null }), kind: fc.constantFrom("update", "replace") }),
      { minLength: 1, maxLength: 4 },
    ),
  )
  .map(([first, rest]): ModelWrite[] => [first, ...rest.map((more) => ({ ...first, ...more }))]);

/** `copy` is a getMore of a copy. */
const command = fc.constantFrom("aggregate", "find", "getMore", "copy", "copy");

const kinds = fc.oneof(
  {
    weight: 24,
    arbitrary: fc.record({
      kind: fc.constant("write" as const),
      writes: fc.array(write, { minLength: 1, maxLength: 2 }),
      isTransaction: fc.constant(false),
    }),
  },
  {
    weight: 16,
    arbitrary: fc.record({ kind: fc.constant("write" as const), writes: burst, isTransaction: fc.constant(false) }),
  },
  {
    weight: 5,
    arbitrary: fc.record({
      kind: fc.constant("write" as const),
      writes: fc.array(write, { minLength: 2, maxLength: 5 }),
      isTransaction: fc.constant(true),
    }),
  },
  {
    weight: 1,
    arbitrary: fc.record({ kind: fc.constantFrom("drop" as const, "drop_database" as const, "lose_history" as const) }),
  },
  {
    weight: 1,
    arbitrary: fc.record({ kind: fc.constant("rename" as const), toCollection: fc.constantFrom("a", "b", "c") }),
  },
  { weight: 2, arbitrary: fc.record({ kind: fc.constant("step_down" as const) }) },
  {
    weight: 5,
    arbitrary: fc.record({
      kind: fc.constant("source_fault" as const),
      command,
      fault: fc.constantFrom<CommandFault>("network", "reply_lost", "cursor_lost", "not_primary"),
    }),
  },
  {
    weight: 4,
    arbitrary: fc.record({
      kind: fc.constant("log_fault" as const),
      what: fc.constantFrom("append", "append", "append", "page", "load"),
      fault: fc.constantFrom<LogFault>("lost", "answer_lost", "held"),
    }),
  },
  {
    weight: 4,
    arbitrary: fc.record({
      kind: fc.constant("crash" as const),
      process: fc.nat(1),
      losesCaches: fc.constantFrom(false, false, false, true),
    }),
  },
  {
    weight: 3,
    arbitrary: fc.record({
      kind: fc.constantFrom("take_over" as const, "take_over" as const, "freeze" as const, "thaw" as const),
    }),
  },
  {
    weight: 3,
    arbitrary: fc.record({ kind: fc.constantFrom("request_copy" as const, "new_version" as const), entity: fc.nat(2) }),
  },
  { weight: 1, arbitrary: fc.record({ kind: fc.constant("retention" as const), keep: fc.nat(10) }) },
  { weight: 2, arbitrary: fc.record({ kind: fc.constant("time" as const), ms: fc.constantFrom(250, 1_500, 6_000) }) },
);

const operation: fc.Arbitrary<Operation> = fc
  .tuple(fc.oneof({ weight: 3, arbitrary: fc.nat(6) }, { weight: 2, arbitrary: fc.nat(40) }), kinds)
  .map(([gap, given]) => ({ ...given, gap }));

export const scenario: fc.Arbitrary<Scenario> = fc.record({
  schedule: fc.integer({ min: 0, max: 2 ** 31 - 1 }),
  earlyTimers: fc.constantFrom(0.01, 0.05, 0.25),
  traits: fc.record({
    hasDecodableTokens: fc.boolean(),
    hasPostImages: fc.constantFrom(false, false, true),
    scan: fc.constantFrom("opening", "present", "between"),
  }),
  processes: fc.constantFrom(1, 2, 2),
  copiesMax: fc.integer({ min: 1, max: 2 }),
  pageRowsMax: fc.constantFrom(2, 5, 1_000),
  initial: fc.array(write, { maxLength: 20, size: "max" }),
  operations: fc.array(operation, { minLength: 1, maxLength: 40, size: "max" }),
});
