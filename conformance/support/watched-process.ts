// A child process that cannot outlive us: a small shell between us and it watches a pipe, and when the
// pipe ends, because of `stop` or because this process died in whatever way, it sends SIGTERM.

import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";

export interface WatchedProcess extends AsyncDisposable {
  /** stdout and stderr are pipes. */
  readonly child: ChildProcess;
  /** The program's own process id (the child's is the shell's), once it said so. */
  readonly pid: Promise<number>;
  /** Its exit code; settles when it has ended and its output was read. */
  readonly exited: Promise<number>;
  /** SIGTERM, then SIGKILL when it is still there after `patienceMs`. */
  stop(patienceMs?: number): Promise<number>;
}

const WATCH = `
exec 3<&0
"$@" </dev/null 3<&- 4>&- &
child=$!
echo "$child" >&4
exec 4>&-
{ read -r line <&3; kill -TERM "$child" 2>/dev/null; } >/dev/null 2>&1 &
watcher=$!
wait "$child"
status=$?
kill "$watcher" 2>/dev/null
exit "$status"
`;

const PATIENCE_MS = 10_000;

/** Starts `command` with `env` as its whole environment, in a process group of its own. */
export function startWatched(
  command: readonly string[],
  options: { readonly env: NodeJS.ProcessEnv; readonly cwd: string },
): WatchedProcess {
  const child = spawn("/bin/sh", ["-c", WATCH, "watched", ...command], {
    ...options,
    detached: true,
    stdio: ["pipe", "pipe", "pipe", "ignore", "pipe"],
  });
  const input = child.stdin;
  input?.on("error", () => undefined);
  const exited = once(child, "close").then(([code]) => Number(code ?? 1));
  const pid = once(child.stdio[4] as NodeJS.ReadableStream, "data").then(([line]) => Number(line));
  pid.catch(() => undefined);
  const stop = async (patienceMs = PATIENCE_MS) => {
    input?.end();
    const timer = setTimeout(() => killGroup(child), patienceMs);
    const code = await exited;
    clearTimeout(timer);
    return code;
  };
  return {
    child,
    pid,
    exited,
    stop,
    async [Symbol.asyncDispose]() {
      await stop();
    },
  };
}

function killGroup(child: ChildProcess): void {
  if (child.pid === undefined || child.exitCode !== null) return;
  process.kill(-child.pid, "SIGKILL");
}
