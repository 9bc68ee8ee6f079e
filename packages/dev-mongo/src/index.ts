export * from "./dev-mongo.ts";
export type { CommandFault, FaultInjector, FragmentFault, ScanMode } from "./faults/fault-injector.ts";
export type { DevMongoLogger } from "./logger.ts";
