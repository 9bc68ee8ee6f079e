const MASK = "***";

/**
 * Database URIs: everything from the first colon of the authority to the last `@` counts as the password, so that one
 * with unescaped `/`, `@` or `:` in it is hidden too.
 */
const DATABASE_PASSWORD = /\b((?:mongodb(?:\+srv)?|postgres(?:ql)?):\/\/[^\s"'`@/:]*:)[^\s"'`]*@/gi;

/** Any other URI: `user:password@` as RFC 3986 writes it. */
const OTHER_PASSWORD = /\b([a-z][a-z0-9+.-]*:\/\/[^\s"'`@/:]*:)[^\s"'`@/]+@/gi;

/** Options such as `password=…`, `tlsCertificateKeyFilePassword=…` and `AWS_SESSION_TOKEN:…` in a query. */
const SECRET_OPTION =
  /([?&,][\w.-]*(?:password|secret|session_token|access_key)[\w.-]*[=:]|AWS_SESSION_TOKEN:)[^&\s"'`]+/gi;

/**
 * The text with the password of every URI in it replaced by `***`. Takes a URI or any text that may hold some (a log
 * line, an error's message).
 */
export function redactUri(text: string): string {
  if (!text.includes("://")) return text;
  return text
    .replace(DATABASE_PASSWORD, `$1${MASK}@`)
    .replace(OTHER_PASSWORD, `$1${MASK}@`)
    .replace(SECRET_OPTION, `$1${MASK}`);
}
