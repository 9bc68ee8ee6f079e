import type { ContentCoding } from "./api-dependencies.ts";

/**
 * The coding to send a file in: zstd where the client takes it, else gzip, else as it is. What `accept-encoding`
 * weighs by 0 is refused; other weights are not compared, since zstd is smaller and faster for both ends (measured).
 */
export function chooseContentCoding(header: string | string[] | undefined): ContentCoding {
  const accepted = new Map<string, boolean>();
  const text = Array.isArray(header) ? header.join(",") : (header ?? "");
  for (const item of text.toLowerCase().split(",")) {
    const [coding = "", ...parameters] = item.split(";").map((part) => part.trim());
    accepted.set(coding, !parameters.some((parameter) => /^q=0(?:\.0*)?$/.test(parameter)));
  }
  const takes = (coding: string): boolean => accepted.get(coding) ?? false;
  if (takes("zstd")) return "zstd";
  return takes("gzip") || takes("x-gzip") ? "gzip" : "identity";
}
