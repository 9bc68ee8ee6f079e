import type { BsonNode } from "./bson-node.ts";

/** Milliseconds of the year 10000; relaxed Extended JSON writes dates from there on, and before 1970, as numbers. */
const YEAR_10000_MS = 253_402_300_800_000n;

/**
 * A value as relaxed Extended JSON v2, compact, keys in the document's order, in the one form that `canonicalJson`
 * brings other texts to.
 */
export function relaxedJsonOf(node: BsonNode): string {
  switch (node.kind) {
    case "document":
      return `{${node.fields.map(([name, value]) => `${JSON.stringify(name)}:${relaxedJsonOf(value)}`).join(",")}}`;
    case "array":
      return `[${node.items.map(relaxedJsonOf).join(",")}]`;
    case "string":
      return JSON.stringify(node.value);
    case "int32":
    case "int64":
      return node.value.toString();
    case "double":
      if (!Number.isFinite(node.value)) return `{"$numberDouble":"${node.value}"}`;
      // Exactly: the shortest text of a large double has other digits.
      return Number.isInteger(node.value) ? BigInt(node.value).toString() : String(node.value);
    case "bool":
      return String(node.value);
    case "null":
      return "null";
    case "date":
      return `{"$date":${relaxedDate(node.ms)}}`;
    case "objectId":
      return `{"$oid":"${node.hex}"}`;
    case "decimal128":
      return `{"$numberDecimal":"${node.text}"}`;
    case "binary": {
      const subType = node.subType.toString(16).padStart(2, "0");
      return `{"$binary":{"base64":"${node.bytes.toString("base64")}","subType":"${subType}"}}`;
    }
    case "regex":
      return `{"$regularExpression":{"pattern":${JSON.stringify(node.pattern)},"options":${JSON.stringify(node.options)}}}`;
    case "dbPointer":
      return `{"$dbPointer":{"$ref":${JSON.stringify(node.namespace)},"$id":{"$oid":"${node.hex}"}}}`;
    case "code":
      return `{"$code":${JSON.stringify(node.value)}}`;
    case "codeWithScope":
      return `{"$code":${JSON.stringify(node.value)},"$scope":${relaxedJsonOf(node.scope)}}`;
    case "symbol":
      return `{"$symbol":${JSON.stringify(node.value)}}`;
    case "timestamp":
      return `{"$timestamp":{"t":${node.seconds},"i":${node.increment}}}`;
    case "undefined":
      return `{"$undefined":true}`;
    case "minKey":
    case "maxKey":
      return `{"$${node.kind}":1}`;
  }
}

function relaxedDate(ms: bigint): string {
  if (ms < 0n || ms >= YEAR_10000_MS) return `{"$numberLong":"${ms}"}`;
  const text = new Date(Number(ms)).toISOString();
  return JSON.stringify(ms % 1000n === 0n ? text.replace(".000Z", "Z") : text);
}

/**
 * A JSON text in the one form in which equal values have equal texts: no white space, strings escaped as JavaScript
 * does, numbers by value (`1.0` is `1`). Keys keep their order, integers all their digits.
 *
 * @throws SyntaxError where the text is not JSON
 */
export function canonicalJson(text: string): string {
  JSON.parse(text);
  const token = /"(?:[^"\\]|\\.)*"|-?\d+(?:\.\d+)?(?:[eE][+-]?\d+)?|[{}[\],:]|true|false|null/g;
  return (text.match(token) ?? [])
    .map((part) => {
      if (part.startsWith('"')) return JSON.stringify(JSON.parse(part));
      return /^[-\d]/.test(part) ? canonicalNumber(part) : part;
    })
    .join("");
}

function canonicalNumber(text: string): string {
  if (/^-?\d+$/.test(text)) return BigInt(text).toString();
  const value = Number(text);
  return Number.isInteger(value) ? BigInt(value).toString() : String(value);
}
