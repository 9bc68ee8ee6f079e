/** Which methods each route has, to tell a wrong method (405) from a wrong path (404). */
export class RouteMethods {
  readonly #methods = new Map<string, { readonly pattern: RegExp; readonly methods: Set<string> }>();

  /** @param url the route's pattern, as `/api/entities/:name` */
  add(url: string, methods: string | readonly string[]): void {
    let route = this.#methods.get(url);
    if (route === undefined) {
      const steps = url
        .split("/")
        .map((step) => (step.startsWith(":") ? "[^/]+" : step.replaceAll(/[.*+?^${}()|[\]\\]/g, "\\$&")));
      route = { pattern: new RegExp(`^${steps.join("/")}/?$`), methods: new Set() };
      this.#methods.set(url, route);
    }
    for (const method of typeof methods === "string" ? [methods] : methods) route.methods.add(method);
  }

  /** The methods that a path has, sorted; empty where there is no such path. */
  allowed(path: string): string[] {
    const found = new Set<string>();
    for (const { pattern, methods } of this.#methods.values()) {
      if (pattern.test(path)) for (const method of methods) found.add(method);
    }
    return [...found].sort();
  }
}
