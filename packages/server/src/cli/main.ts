import { checkNodeVersion } from "./node-version.ts";

/*
 * The command line's entry, and the only place that ends the process. Nothing but the version check is loaded before
 * it: on a Node that is too old, the dependencies themselves would fail with words that help nobody.
 */
const unsuitable = checkNodeVersion(process.versions.node, process.execPath);
if (unsuitable !== null) {
  console.error(unsuitable);
  process.exit(1);
}

let isOutputGone = false;
// Whoever reads our output may stop reading (`emcache config reference | head`).
process.stdout.on("error", (error: NodeJS.ErrnoException) => {
  // Something that runs is stopped in order, so that it leaves nothing behind; once, since a second signal forces.
  if (process.listenerCount("SIGTERM") === 0) process.exit(error.code === "EPIPE" ? 0 : 1);
  if (!isOutputGone) process.kill(process.pid, "SIGTERM");
  isOutputGone = true;
});

const { runCommandLine } = await import("./command-line.ts");
const exitCode = await runCommandLine(process.argv.slice(2), {
  print: (text) => process.stdout.write(text),
  printError: (text) => process.stderr.write(text),
});
// A handle that something left open must not keep a process alive that has done its work.
process.exit(exitCode);
