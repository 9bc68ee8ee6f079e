import { h, type ComponentChildren } from "preact";
import { useEffect, useRef } from "preact/hooks";
import { getJson } from "./api-client.ts";
import type { EntityStatus, Health } from "./api-types.ts";
import { EntityEditor } from "./entity-editor.ts";
import { EntityView } from "./entity-view.ts";
import { Header } from "./header.ts";
import { Overview } from "./overview.ts";
import { RateHistory } from "./rate-history.ts";
import { type Route, useRoute } from "./route.ts";
import { type Polled, usePolled } from "./use-polled.ts";

const ENTITIES_INTERVAL_MS = 1000;
const HEALTH_INTERVAL_MS = 2000;

/** The page: what it shows by its address, and what is always read. */
export function Application(): ComponentChildren {
  const route = useRoute();
  const rates = useRef(new RateHistory()).current;
  const entities = usePolled("entities", ENTITIES_INTERVAL_MS, async (signal) => {
    const answer = await getJson<readonly EntityStatus[]>("/api/entities", signal);
    const versions = answer.flatMap((entity) => (entity.pending === null ? [entity] : [entity, entity.pending]));
    rates.add(versions, performance.now());
    return answer;
  });
  const health = usePolled("health", HEALTH_INTERVAL_MS, (signal) => getJson<Health>("/health", signal));
  const main = useRef<HTMLElement>(null);
  const isFirst = useRef(true);
  const title = titleOf(route);
  useEffect(() => {
    document.title = title === "" ? "EMCache" : `${title} · EMCache`;
    // Whoever follows a link by keyboard or screen reader goes on where the new view begins.
    if (!isFirst.current) main.current?.focus();
    isFirst.current = false;
  }, [title]);
  return h(
    "div",
    { class: "page" },
    h(Header, { health: health.data, isOffline: entities.error !== null && entities.error.problem === null }),
    h(
      "main",
      { ref: main, tabIndex: -1 },
      entities.error !== null &&
        h("p", { class: "notice notice-bad", role: "alert" }, entities.error.message, "; trying again."),
      h(View, { route, entities, health: health.data, rates }),
    ),
  );
}

function View(props: {
  readonly route: Route;
  readonly entities: Polled<readonly EntityStatus[]>;
  readonly health: Health | null;
  readonly rates: RateHistory;
}): ComponentChildren {
  const { route, entities, health, rates } = props;
  if (entities.data === null) return h("p", { class: "muted" }, entities.error === null ? "Reading …" : "");
  const found = (name: string): EntityStatus | null => entities.data?.find((entity) => entity.name === name) ?? null;
  switch (route.kind) {
    case "overview":
      return h(Overview, { entities: entities.data, health, rates });
    case "new":
      // Its example names a source, which the health's parts tell.
      if (health === null) return h("p", { class: "muted" }, "Reading …");
      return h(EntityEditor, { key: "new", entity: null, health, onSaved: entities.refresh });
    case "entity":
      return h(EntityView, {
        key: route.name,
        name: route.name,
        entity: found(route.name),
        rates,
        onChange: entities.refresh,
      });
    case "edit":
      return h(EntityEditor, {
        key: `edit ${route.name}`,
        entity: found(route.name),
        health,
        onSaved: entities.refresh,
      });
  }
}

function titleOf(route: Route): string {
  if (route.kind === "overview") return "";
  if (route.kind === "new") return "New entity";
  return route.name;
}
