import { Timestamp } from "mongodb";

/** A cluster time: BSON timestamp as an unsigned 64-bit number, seconds since 1970 in the upper half. */
export type ClusterTime = bigint;

/** The whole second that it lies in, as milliseconds since 1970. */
export function secondOfMs(time: ClusterTime): number {
  return Number(time >> 32n) * 1000;
}

/** The BSON timestamp's number. */
export function clusterTimeOf(timestamp: Timestamp): ClusterTime {
  return (BigInt(timestamp.t) << 32n) | BigInt(timestamp.i);
}

/** The number as the BSON timestamp that commands take. */
export function timestampOf(time: ClusterTime): Timestamp {
  return new Timestamp(time);
}

/** The later of two times, either of which may be unknown. */
export function laterOf(a: ClusterTime | null, b: ClusterTime | null): ClusterTime | null {
  if (a === null) return b;
  if (b === null) return a;
  return a > b ? a : b;
}
