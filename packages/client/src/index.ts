export { Follower, type FollowerOptions } from "./follower.ts";
export type { EntityStatus, FollowReport, Row, RowChange, RowValue, ShownError } from "./follow-report.ts";
export { FOLLOW_TRANSITIONS, type FollowEvent, type FollowState } from "./follow-state.ts";
export type { CacheEvents, CacheStatus, LocalCache, WaitForOptions } from "./local-cache.ts";
export { openCache, type OpenCacheOptions } from "./open-cache.ts";
export { rowTypes, type RowTypesOptions } from "./row-types.ts";
export type { ChangeListener, Subscription, Where } from "./subscriptions.ts";
