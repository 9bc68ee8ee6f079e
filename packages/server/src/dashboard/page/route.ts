import { useEffect, useState } from "preact/hooks";

/** What the page shows; it stands in the address after `#`, so the server knows one page only. */
export type Route =
  | { readonly kind: "overview" }
  | { readonly kind: "new" }
  | { readonly kind: "entity"; readonly name: string }
  | { readonly kind: "edit"; readonly name: string };

export function hrefOf(route: Route): string {
  switch (route.kind) {
    case "overview":
      return "#/";
    case "new":
      return "#/new";
    case "entity":
      return `#/entities/${encodeURIComponent(route.name)}`;
    case "edit":
      return `#/entities/${encodeURIComponent(route.name)}/edit`;
  }
}

export function navigate(route: Route): void {
  location.hash = hrefOf(route);
}

/** The route of the address, also when it changes. */
export function useRoute(): Route {
  const [hash, setHash] = useState(location.hash);
  useEffect(() => {
    const onChange = (): void => setHash(location.hash);
    addEventListener("hashchange", onChange);
    return () => removeEventListener("hashchange", onChange);
  }, []);
  return parseRoute(hash);
}

function parseRoute(hash: string): Route {
  if (hash === "#/new") return { kind: "new" };
  const [, encoded, edit] = /^#\/entities\/([^/]+)(\/edit)?$/.exec(hash) ?? [];
  if (encoded === undefined) return { kind: "overview" };
  try {
    return { kind: edit === undefined ? "entity" : "edit", name: decodeURIComponent(encoded) };
  } catch {
    return { kind: "overview" };
  }
}
