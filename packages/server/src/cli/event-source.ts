/** One server-sent event. */
export interface ServerEvent {
  readonly event: string;
  /** Null: it has none of its own. */
  readonly id: string | null;
  readonly data: string;
}

/** An empty line ends an event. */
const END = "\n\n";

/**
 * The events of an answer of server-sent events (https://html.spec.whatwg.org/multipage/server-sent-events.html), as
 * they come; comments and `retry` are left out. One that is cut off at the answer's end is no event.
 */
export async function* serverEvents(body: AsyncIterable<Uint8Array>): AsyncGenerator<ServerEvent> {
  const decoder = new TextDecoder();
  let rest = "";
  for await (const bytes of body) {
    // A page of rows comes in many pieces: only the new one, and the seam, are looked through for its end.
    let from = Math.max(rest.length - 1, 0);
    rest += decoder.decode(bytes, { stream: true });
    for (let end = rest.indexOf(END, from); end >= 0; end = rest.indexOf(END, from)) {
      const event = parseEvent(rest.slice(0, end));
      rest = rest.slice(end + END.length);
      from = 0;
      if (event !== null) yield event;
    }
  }
}

function parseEvent(block: string): ServerEvent | null {
  let event = "message";
  let id: string | null = null;
  const data: string[] = [];
  for (const line of block.split("\n")) {
    const [, field = "", value = ""] = /^([^:]*):? ?(.*)$/s.exec(line) ?? [];
    if (field === "event") event = value;
    else if (field === "id") id = value;
    else if (field === "data") data.push(value);
  }
  return data.length === 0 ? null : { event, id, data: data.join("\n") };
}
