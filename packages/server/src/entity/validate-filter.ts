import { type DocumentFilter, EmcacheError } from "@emcache/protocol";
import { compileDocumentFilter } from "./document-filter.ts";
import type { MistakeList } from "./mistake-list.ts";

/** Each condition is tested for each change; nobody writes more by hand. */
const FILTER_CHARS_MAX = 10_000;

/** Reads `filter`, noting its first mistake. */
export function validateFilter(value: unknown, mistakes: MistakeList): DocumentFilter {
  const filter = mistakes.object(value, "filter");
  if (filter === null) return {};
  if (JSON.stringify(filter).length > FILTER_CHARS_MAX) {
    mistakes.add("filter", `is longer than ${FILTER_CHARS_MAX} characters; write a shorter one`);
    return {};
  }
  try {
    compileDocumentFilter(filter);
  } catch (error) {
    if (!(error instanceof EmcacheError)) throw error;
    mistakes.add("filter", error.message);
  }
  return filter;
}
