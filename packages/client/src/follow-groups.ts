import type { LogPoint } from "@emcache/cache-file";
import type { FollowedEntity } from "./followed-entity.ts";

/** Entities whose files are at one point of one log: one request serves them all. */
export interface FollowGroup {
  readonly logId: string;
  readonly point: LogPoint;
  readonly entities: readonly FollowedEntity[];
}

/** The entities that are followed now, by where their files are; those that are furthest behind first. */
export function followGroups(entities: readonly FollowedEntity[]): FollowGroup[] {
  const groups = Map.groupBy(
    entities.filter(({ isFollowing }) => isFollowing),
    ({ logId, point }) => JSON.stringify([logId, point.position, point.tag]),
  );
  return [...groups.values()]
    .map((members) => {
      const [first] = members as [FollowedEntity];
      return { logId: first.logId, point: first.point, entities: members };
    })
    .sort((a, b) => a.point.position - b.point.position);
}

/**
 * Where a group's answer is to be cut, so that it meets the next group there and both are one from then on: the next
 * group's point. Its tag is proven by the next request, which names it. Null where there is none to meet.
 */
export function meetingPoint(group: FollowGroup, next: FollowGroup | undefined): LogPoint | null {
  if (next === undefined || next.logId !== group.logId) return null;
  return next.point.position > group.point.position ? next.point : null;
}
