export * from "./access-token.ts";
export * from "./emcache-error.ts";
export * from "./entity.ts";
export * from "./error-code.ts";
export * from "./oplog-entry.ts";
export * from "./problem.ts";
export * from "./reserved-name.ts";
export * from "./snapshot-manifest.ts";
