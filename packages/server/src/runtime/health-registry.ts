import { type Clock, systemClock } from "./clock.ts";
import { ComponentHealth } from "./component-health.ts";
import type { ComponentState } from "./service.ts";

/** The health of all parts of the process, by name, in the order in which they were first named. */
export class HealthRegistry {
  readonly #components = new Map<string, ComponentHealth>();
  readonly #clock: Clock;

  constructor(clock: Clock = systemClock) {
    this.#clock = clock;
  }

  /** The one health of this name; made at the first call. */
  component(name: string): ComponentHealth {
    let component = this.#components.get(name);
    if (component === undefined) {
      component = new ComponentHealth(name, this.#clock);
      this.#components.set(name, component);
    }
    return component;
  }

  /** Forgets a part that exists no more (a deleted entity's). */
  remove(name: string): void {
    this.#components.delete(name);
  }

  /** How often each part tried again since the process began, by the code of the error that was the cause. */
  retries(): { readonly component: string; readonly cause: string; readonly count: number }[] {
    return [...this.#components].flatMap(([component, health]) =>
      [...health.retries()].map(([cause, count]) => ({ component, cause, count })),
    );
  }

  states(): Record<string, ComponentState> {
    return Object.fromEntries([...this.#components].map(([name, component]) => [name, component.state()]));
  }
}
