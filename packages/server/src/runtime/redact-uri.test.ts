import { expect, test } from "vitest";
import { redactUri } from "./redact-uri.ts";

test.each([
  ["postgresql://postgres:password@localhost:5432/emcache", "postgresql://postgres:***@localhost:5432/emcache"],
  ["mongodb+srv://u:p%40ss@c.example.net/app?w=1", "mongodb+srv://u:***@c.example.net/app?w=1"],
  ["mongodb://u:pa/s@s:w@h1:27017,h2:27017/app", "mongodb://u:***@h1:27017,h2:27017/app"],
  [
    "postgres:///emcache?host=/run&user=a&password=hunter2&x=1",
    "postgres:///emcache?host=/run&user=a&password=***&x=1",
  ],
  ["mongodb://h/?tlsCertificateKeyFilePassword=s3", "mongodb://h/?tlsCertificateKeyFilePassword=***"],
  [
    "mongodb://AKIA:key@h/?authMechanismProperties=AWS_SESSION_TOKEN:abc%3D",
    "mongodb://AKIA:***@h/?authMechanismProperties=AWS_SESSION_TOKEN:***",
  ],
  ["failed: https://a:b@s3.local/x (twice: http://c:d@e)", "failed: https://a:***@s3.local/x (twice: http://c:***@e)"],
])("hides the password of %s", (text, expected) => {
  expect(redactUri(text)).toBe(expected);
});

test.each([
  "mongodb://localhost:27017/myapp",
  "mongodb://user@localhost/app",
  "http://127.0.0.1:8080/api/entities/a@b",
  "no URI: a colon, an @ and a password=x",
])("leaves alone %s", (text) => {
  expect(redactUri(text)).toBe(text);
});
