/**
 * Line numbers (from 1) of the keys of a TOML document, by dotted key; of tables too. For messages only: the parser
 * tells no positions, so this looks at line starts and may miss a key inside an inline table or a multi-line value.
 */
export function tomlKeyLines(text: string): ReadonlyMap<string, number> {
  const lines = new Map<string, number>();
  let table = "";
  for (const [index, line] of text.split("\n").entries()) {
    const header = /^\s*\[([^[\]]+)\]\s*(#.*)?$/.exec(line)?.[1];
    const key = /^\s*((?:[\w-]+|"[^"]*"|'[^']*')(?:\s*\.\s*(?:[\w-]+|"[^"]*"|'[^']*'))*)\s*=/.exec(line)?.[1];
    if (header !== undefined) table = plainKey(header);
    const name = header !== undefined ? table : key === undefined ? null : joinKey(table, plainKey(key));
    if (name !== null && !lines.has(name)) lines.set(name, index + 1);
  }
  return lines;
}

function plainKey(written: string): string {
  return written
    .split(".")
    .map((part) => part.trim().replace(/^(["'])(.*)\1$/, "$2"))
    .join(".");
}

function joinKey(table: string, key: string): string {
  return table === "" ? key : `${table}.${key}`;
}
