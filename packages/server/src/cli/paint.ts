/** Text in colours, or as it is. */
export interface Paint {
  readonly bold: (text: string) => string;
  readonly dim: (text: string) => string;
  readonly red: (text: string) => string;
  readonly green: (text: string) => string;
  readonly yellow: (text: string) => string;
}

/** Colours for a terminal; none for a file or a pipe, nor where `NO_COLOR` asks for none (https://no-color.org). */
export function paintFor({ isTTY }: { readonly isTTY?: boolean }): Paint {
  const isColoured = isTTY === true && (process.env["NO_COLOR"] ?? "") === "";
  const code = (number: number) => (text: string) => (isColoured ? `\u001b[${number}m${text}\u001b[0m` : text);
  return { bold: code(1), dim: code(2), red: code(31), green: code(32), yellow: code(33) };
}
