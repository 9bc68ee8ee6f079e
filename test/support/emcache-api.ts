import { eventually } from "./eventually.ts";

/** An entity as an operator writes it. */
export interface EntityRequest {
  readonly name: string;
  readonly client: string;
  readonly source: string;
  readonly shape: {
    readonly id_column: { readonly path: string; readonly type: "string" | "number" };
    readonly columns: readonly { readonly name: string; readonly type: ColumnTypeName; readonly path: string }[];
    readonly indexes: readonly { readonly name: string; readonly columns: readonly string[] }[];
  };
}

export type ColumnTypeName = "string" | "integer" | "number" | "bool" | "jsonb" | "any";

/** What tests read of `GET /api/entities/{name}`. */
export interface EntityAnswer extends EntityRequest {
  readonly id: number;
  readonly state: "copying" | "live" | "failed" | "stopped" | "stale";
  readonly rows: number | null;
  readonly position: number | null;
  readonly lag_entries: number | null;
  readonly lag_ms: number | null;
  readonly rejects: number | null;
  readonly pending: EntityAnswer | null;
  readonly last_error: { readonly code: string; readonly detail: string; readonly hint: string } | null;
}

/** What tests read of `GET /health`. */
export interface HealthAnswer {
  readonly status: "healthy" | "degraded";
  readonly [part: string]: unknown;
}

/** One answer, its body parsed where it is JSON. */
export interface ApiAnswer {
  readonly status: number;
  readonly contentType: string;
  readonly headers: Headers;
  readonly body: unknown;
}

/** An error answer that the test did not expect. */
export class ApiError extends Error {
  readonly answer: ApiAnswer;

  constructor(request: string, answer: ApiAnswer) {
    super(`${request} answered ${answer.status}: ${JSON.stringify(answer.body)}`);
    this.answer = answer;
  }
}

/** The REST API as tests use it. The address is asked for anew each time, since a restart changes it. */
export class EmcacheApi {
  readonly #address: () => string;

  constructor(address: () => string) {
    this.#address = address;
  }

  /** Any request, whatever it answers. */
  async request(method: string, path: string, body?: unknown): Promise<ApiAnswer> {
    const response = await fetch(`${this.#address()}${path}`, {
      method,
      ...(body === undefined ? {} : { body: JSON.stringify(body), headers: { "content-type": "application/json" } }),
      signal: AbortSignal.timeout(60_000),
    });
    const text = await response.text();
    const contentType = response.headers.get("content-type") ?? "";
    return {
      status: response.status,
      contentType,
      headers: response.headers,
      body: /json/.test(contentType) ? JSON.parse(text) : text,
    };
  }

  /** The body of an answer that is expected to be good. */
  async call<T>(method: string, path: string, body?: unknown): Promise<T> {
    const answer = await this.request(method, path, body);
    if (answer.status >= 300) throw new ApiError(`${method} ${path}`, answer);
    return answer.body as T;
  }

  createEntity(entity: EntityRequest): Promise<EntityAnswer> {
    return this.call("POST", "/api/entities", entity);
  }

  entity(name: string): Promise<EntityAnswer> {
    return this.call("GET", `/api/entities/${name}`);
  }

  health(): Promise<HealthAnswer> {
    return this.call("GET", "/health");
  }

  /** Waits until an entity is live and no changed version of it is under way. */
  async waitUntilLive(name: string, deadlineMs: number): Promise<EntityAnswer> {
    let last: unknown = null;
    return eventually(
      async () => {
        const answer = await this.entity(name);
        last = answer;
        return answer.state === "live" && answer.pending === null ? answer : null;
      },
      deadlineMs,
      () => `entity ${name} is live; it last showed ${JSON.stringify(last)}`,
    );
  }
}
