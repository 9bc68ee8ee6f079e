/** What a span is told beside its name. */
export type SpanAttributes = Readonly<Record<string, string | number | boolean>>;

/** A piece of work whose time is taken. */
export interface Span {
  set(attributes: SpanAttributes): void;
  /** It has ended: well, or because of `error`; now, or at `endMs` (milliseconds since 1970). */
  end(error?: unknown, endMs?: number): void;
}

export interface SpanOptions {
  readonly attributes: SpanAttributes;
  /** When it began, in milliseconds since 1970; default: now. */
  readonly startMs?: number;
  /** The caller's place in its trace, as the header `traceparent` carries it (W3C, "Trace Context"). */
  readonly parent?: string;
  /** Whether it answers somebody's request. */
  readonly isServer?: boolean;
}

/** Takes the time of pieces of work. Parts that are given none do nothing of it. */
export interface Tracer {
  span(name: string, options: SpanOptions): Span;
}
