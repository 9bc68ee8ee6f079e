import { h, type ComponentChildren } from "preact";
import type { ApiError } from "./api-client.ts";

/** What was refused, with what to do about it. */
export function ProblemText({ error }: { readonly error: ApiError }): ComponentChildren {
  return h(
    "div",
    { class: "notice notice-bad", role: "alert" },
    h("div", null, error.problem !== null && h("code", { class: "code" }, error.problem.code), " ", error.message),
    error.problem !== null && h("div", { class: "hint" }, error.problem.hint),
  );
}
