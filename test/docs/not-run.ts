/** Commands of the documents that the test can't run, each with what else shows that it works. */
const NOT_RUN: readonly (readonly [pattern: RegExp, reason: string])[] = [
  [/^npm ci\b/, "installs this checkout anew; test/deploy/dockerfile.test.ts runs it in a fresh folder"],
  [/^npm install\b/, "needs the published package; test/deploy/dockerfile.test.ts installs the packed ones"],
  [/^npm test\b/, "is what runs this test"],
  [/^npm run check\b/, "is run beside the tests, and takes minutes"],
  [/^npm run build\b/, "scripts/build-packages.test.ts runs it"],
  [/^npm run (?:bench|soak|faults|hostile)\b|^node bench\//, "takes minutes to an hour; its figures are not asserted"],
  [/^npx? vitest\b|^vitest\b/, "runs tests inside of a test"],
  [/^(?:sudo )?docker(?:-compose)?\b/, "needs Docker; test/deploy holds the files against the specifications"],
  [/^(?:sudo )?(?:helm|kubectl)\b/, "needs a cluster; test/deploy renders the chart and holds it against the schemas"],
  [/^(?:sudo )?(?:systemctl|journalctl)\b/, "needs systemd"],
  [/^sudo\b/, "changes the machine"],
  [/^(?:apt|apt-get|brew)\b/, "changes the machine"],
  [/^(?:mongod|mongosh|rs\.)\b/, "needs MongoDB's own programs, which are not to be had everywhere"],
  [/^(?:psql|pg_dump|pg_restore|pg_basebackup)\b/, "needs PostgreSQL's own programs, which the embedded one lacks"],
  [/^kill\b/, "ends the server that the other commands need; test/lifecycle.test.ts does it"],
];

/** Why a command is not run; null: it is. */
export function reasonNotToRun(text: string): string | null {
  return NOT_RUN.find(([pattern]) => pattern.test(text))?.[1] ?? null;
}
