/**
 * Where each value of a JSON text stands: from its place, as the server writes it (`shape.columns[1].path`), to its
 * offset in the text. Reads as far as the text is JSON, so that the start of a broken one has places too.
 */
export function jsonPlaces(text: string): ReadonlyMap<string, number> {
  const places = new Map<string, number>();
  // Strings, punctuation, everything else up to a delimiter.
  const tokens = [...text.matchAll(/"(?:[^"\\]|\\.)*"|[{}[\]:,]|[^\s{}[\]:,"]+/g)].map((match) => ({
    text: match[0],
    offset: match.index,
  }));
  let next = 0;
  const value = (place: string): void => {
    const token = tokens[next++];
    if (token === undefined) return;
    places.set(place, token.offset);
    if (token.text === "{") members(place);
    else if (token.text === "[") elements(place);
  };
  const members = (place: string): void => {
    while (next < tokens.length && tokens[next]?.text !== "}") {
      const key = tokens[next++];
      if (key?.text === ",") continue;
      if (tokens[next]?.text !== ":") return;
      next++;
      const child = placeOfMember(place, keyOf(key?.text ?? ""));
      value(child);
      // The mistake is shown at the key's line: that is where a reader looks for it.
      if (key !== undefined) places.set(child, key.offset);
    }
    next++;
  };
  const elements = (place: string): void => {
    for (let index = 0; next < tokens.length && tokens[next]?.text !== "]";) {
      if (tokens[next]?.text === ",") next++;
      else value(`${place}[${index++}]`);
    }
    next++;
  };
  value("");
  return places;
}

/** The offset of a place, or of the nearest value around it that the text has (a missing key stands nowhere). */
export function offsetOfPlace(places: ReadonlyMap<string, number>, place: string): number {
  for (let around = place; around !== ""; around = around.replace(/(?:\.[^.[\]]*|\[[^\]]*\]|^[^.[\]]+)$/, "")) {
    const offset = places.get(around);
    if (offset !== undefined) return offset;
  }
  return places.get("") ?? 0;
}

function placeOfMember(place: string, key: string): string {
  return place === "" ? key : `${place}.${key}`;
}

function keyOf(token: string): string {
  try {
    return String(JSON.parse(token));
  } catch {
    return token;
  }
}
