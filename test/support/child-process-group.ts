import { type ChildProcess, spawn } from "node:child_process";
import { closeSync, openSync, readFileSync, readdirSync } from "node:fs";
import { eventually } from "./eventually.ts";

/** Groups that still run, so that none outlives the test process. */
const running = new Set<ChildProcessGroup>();
let exitHookSet = false;

/** A program that runs as leader of a process group of its own, its output kept in a file. */
export class ChildProcessGroup {
  readonly #child: ChildProcess;
  readonly logFile: string;
  readonly name: string;
  /** Resolves when the leader is gone. */
  readonly exited: Promise<{ code: number | null; signal: NodeJS.Signals | null }>;
  #exit: { code: number | null; signal: NodeJS.Signals | null } | null = null;

  /** Starts `command`; its standard output and standard error are appended to `logFile`. */
  constructor(
    name: string,
    command: string,
    args: readonly string[],
    options: { logFile: string; env?: NodeJS.ProcessEnv; cwd?: string },
  ) {
    this.name = name;
    this.logFile = options.logFile;
    const log = openSync(options.logFile, "a");
    this.#child = spawn(command, args, {
      detached: true,
      stdio: ["ignore", log, log],
      env: options.env ?? process.env,
      ...(options.cwd === undefined ? {} : { cwd: options.cwd }),
    });
    closeSync(log);
    running.add(this);
    setExitHook();
    this.exited = new Promise((resolve) => {
      const end = (code: number | null, signal: NodeJS.Signals | null): void => {
        this.#exit = { code, signal };
        running.delete(this);
        resolve({ code, signal });
      };
      this.#child.once("exit", end);
      this.#child.once("error", () => end(127, null));
    });
  }

  get pid(): number {
    const pid = this.#child.pid;
    if (pid === undefined) throw new Error(`${this.name} did not start; see ${this.logFile}`);
    return pid;
  }

  /** How the leader ended, or null while it runs. */
  get exit(): { code: number | null; signal: NodeJS.Signals | null } | null {
    return this.#exit;
  }

  /** Sends a signal to the leader alone. */
  signal(signal: NodeJS.Signals): void {
    if (this.#exit === null) this.#child.kill(signal);
  }

  /** Sends a signal to every process of the group, also when the leader is already gone. */
  signalGroup(signal: NodeJS.Signals): void {
    try {
      process.kill(-this.pid, signal);
    } catch (error) {
      if (!(error instanceof Error && "code" in error && error.code === "ESRCH")) throw error;
    }
  }

  /** Process ids of the group that run (zombies don't). */
  members(): number[] {
    return processes()
      .filter((one) => one.group === this.pid && one.state !== "Z")
      .map((one) => one.pid);
  }

  /** All that was written so far. */
  logs(): string {
    return readFileSync(this.logFile, "utf8");
  }

  /** Waits until the leader has ended. */
  async waitForExit(deadlineMs: number): Promise<{ code: number | null; signal: NodeJS.Signals | null }> {
    return eventually(
      () => this.#exit,
      deadlineMs,
      () => `${this.name} ends; last lines: ${lastLines(this.logs())}`,
    );
  }
}

/** The end of a log, for messages. */
export function lastLines(text: string, count = 15): string {
  return text.trimEnd().split("\n").slice(-count).join("\n");
}

interface ProcessEntry {
  readonly pid: number;
  readonly state: string;
  readonly parent: number;
  readonly group: number;
}

/** All processes of the machine, from /proc (Linux). */
export function processes(): ProcessEntry[] {
  const entries: ProcessEntry[] = [];
  for (const name of readdirSync("/proc")) {
    if (!/^\d+$/.test(name)) continue;
    const stat = readIfThere(`/proc/${name}/stat`);
    if (stat === null) continue;
    // The program's name stands in parentheses and may hold spaces; the fields follow the last one.
    const fields = stat.slice(stat.lastIndexOf(")") + 2).split(" ");
    entries.push({ pid: Number(name), state: fields[0] ?? "", parent: Number(fields[1]), group: Number(fields[2]) });
  }
  return entries;
}

/** The file's text, or null where the process ended meanwhile. */
function readIfThere(path: string): string | null {
  try {
    return readFileSync(path, "utf8");
  } catch {
    return null;
  }
}

function setExitHook(): void {
  if (exitHookSet) return;
  exitHookSet = true;
  process.on("exit", () => {
    for (const group of running) group.signalGroup("SIGKILL");
  });
}
