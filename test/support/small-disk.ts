import { execFileSync } from "node:child_process";
import { chmodSync, mkdirSync, rmSync, statfsSync, writeFileSync } from "node:fs";
import { join } from "node:path";

const mounted = new Set<SmallDisk>();

/** A tmpfs of 64 MB, to be filled or made read-only. Linux, and the right to mount. */
export class SmallDisk {
  readonly path: string;

  private constructor(path: string) {
    this.path = path;
  }

  /** Mounts one at `path`, or tells why it can't be, in words. */
  static mount(path: string): SmallDisk | string {
    mkdirSync(path, { recursive: true });
    try {
      execFileSync("mount", ["-t", "tmpfs", "-o", "size=64m,mode=0777", "tmpfs", path], { stdio: "pipe" });
    } catch (error) {
      return `a tmpfs can't be mounted here: ${error instanceof Error ? (error.message.split("\n")[1] ?? error.message) : ""}`;
    }
    chmodSync(path, 0o777);
    const disk = new SmallDisk(path);
    if (mounted.size === 0) process.once("exit", () => mounted.forEach((one) => one.unmount()));
    mounted.add(disk);
    return disk;
  }

  /** Leaves no byte of it. */
  fill(): void {
    const { bavail, bsize } = statfsSync(this.path);
    try {
      writeFileSync(join(this.path, "filler"), Buffer.alloc(bavail * bsize));
    } catch {
      // Someone else took a part of it meanwhile: it is full.
    }
    for (let number = 0; statfsSync(this.path).bavail > 0; number++) {
      writeFileSync(join(this.path, `filler-${number}`), Buffer.alloc(statfsSync(this.path).bsize));
    }
  }

  /** Gives the room back. */
  free(): void {
    execFileSync("sh", ["-c", 'rm -f "$0"/filler*', this.path]);
  }

  /** Nothing may be open for writing on it. */
  setReadOnly(isReadOnly: boolean): void {
    execFileSync("mount", ["-o", `remount,${isReadOnly ? "ro" : "rw"}`, this.path], { stdio: "pipe" });
  }

  /** Also while it is in use. */
  unmount(): void {
    if (!mounted.delete(this)) return;
    execFileSync("umount", ["-l", this.path], { stdio: "pipe" });
    rmSync(this.path, { recursive: true, force: true });
  }
}
