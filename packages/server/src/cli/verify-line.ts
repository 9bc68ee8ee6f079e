/** One line of the server's answer, as a person reads it. */
interface ShownLine {
  readonly text: string;
  readonly isProgress: boolean;
  /** What the line means for the exit code; null for none. */
  readonly exitCode: number | null;
}

interface VerifyLine {
  readonly event: "progress" | "difference" | "result" | "error";
  readonly documents: number;
  readonly documents_estimate: number;
  readonly differences: number;
  readonly doc_id: string;
  readonly id_type: string;
  readonly reason: string;
  readonly columns: readonly string[];
  readonly position: number | null;
  readonly repaired: boolean | number | null;
  readonly skipped: number;
  readonly rejected: number;
  readonly rows: number;
  readonly duration_ms: number;
  readonly reasons: Readonly<Record<string, number>>;
  readonly copy_requested: boolean;
  readonly problem: { readonly code: string; readonly detail: string; readonly hint: string };
}

/** What `emcache verify` shows of a line. */
export function verifyLineText(entity: string, json: string): ShownLine {
  const line = JSON.parse(json) as VerifyLine;
  switch (line.event) {
    case "progress":
      return { text: `${entity}: ${progressText(line)}`, isProgress: true, exitCode: null };
    case "difference":
      return { text: `${entity}: ${differenceText(line)}`, isProgress: false, exitCode: 1 };
    case "result":
      return { text: `${entity}: ${resultText(line)}`, isProgress: false, exitCode: line.differences === 0 ? 0 : 1 };
    case "error": {
      const { code, detail, hint } = line.problem;
      return { text: `emcache: ${entity}: ${detail} (${code})\nHint: ${hint}`, isProgress: false, exitCode: 2 };
    }
    default:
      return { text: json, isProgress: true, exitCode: null };
  }
}

function progressText({ documents, documents_estimate: estimate, differences }: VerifyLine): string {
  return `${documents} of about ${Math.max(documents, estimate)} documents, ${differences} differences`;
}

function differenceText({ doc_id: docId, id_type: idType, reason, columns, position, repaired }: VerifyLine): string {
  const where = columns.length === 0 ? "" : `: ${columns.join(", ")}`;
  const since = position === null ? "" : ` (as of position ${position})`;
  const outcome = repaired === null ? "" : repaired === true ? ", repaired" : ", not repaired";
  return `${reason} ${JSON.stringify(docId)} (${idType})${where}${since}${outcome}`;
}

function resultText(line: VerifyLine): string {
  const { documents, rows, differences, reasons, skipped, rejected, repaired, copy_requested: isCopied } = line;
  const looked = `${documents} documents, ${rows} rows, ${rejected} rejected, ${skipped} changing, ${(line.duration_ms / 1000).toFixed(1)} s`;
  if (differences === 0) return `equal (${looked})`;
  const counts = Object.entries(reasons)
    .filter(([, count]) => count > 0)
    .map(([reason, count]) => `${count} ${reason}`);
  const copy = isCopied ? "; a new copy was asked for, which removes what could not be repaired" : "";
  return `${differences} differences: ${counts.join(", ")}; ${String(repaired)} repaired${copy} (${looked})`;
}
