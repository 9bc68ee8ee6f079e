/** What packages/server/package.json says under `engines`. */
const NODE_MIN = { major: 22, minor: 15 } as const;

/** Null if this Node.js can run EMCache, else what to tell the operator. `version` as in `process.versions.node`. */
export function checkNodeVersion(version: string, executable: string): string | null {
  const [major = 0, minor = 0] = version.split(".").map(Number);
  if (major > NODE_MIN.major || (major === NODE_MIN.major && minor >= NODE_MIN.minor)) return null;
  return (
    `emcache needs Node.js ${NODE_MIN.major}.${NODE_MIN.minor} or newer, but ${executable} is ${version}.\n` +
    "Install a newer one (https://nodejs.org, or: npm install -g node@24) and start emcache again."
  );
}
