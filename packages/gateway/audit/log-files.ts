// Durable file operations of the sequencer. What `write` wrote is on disk, names and all, after the next
// `settle`: flushing new files together is many times as fast as one by one, since the first flush
// commits the file system's journal for all. `onStep` is called before each operation, so that a test
// can end the run at any of them.

import {
  closeSync,
  fsyncSync,
  mkdirSync,
  openSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmSync,
  writeSync,
} from "node:fs";
import { dirname } from "node:path";
import { syncDirectory } from "./journal-files.ts";

export interface LogFiles {
  /** Writes a file that nothing refers to yet. Not durable before `settle`. */
  write(path: string, bytes: Uint8Array): void;
  settle(): void;
  /** Puts a file in the place of another at once; durable on return, name and all. */
  replace(path: string, bytes: Uint8Array): void;
  remove(path: string): void;
  /** undefined when there is none. */
  read(path: string): Buffer | undefined;
  /** Empty when there is no such directory. */
  list(path: string): string[];
}

const MAX_KNOWN = 1000;

export function createLogFiles(onStep: (what: string) => void = () => undefined): LogFiles {
  /** Names were made in them since they were last flushed. */
  const directories = new Set<string>();
  const known = new Set<string>();
  let written: number[] = [];
  const makeParents = (path: string): void => {
    const parent = dirname(path);
    if (known.has(parent)) return;
    const first = mkdirSync(parent, { recursive: true, mode: 0o700 });
    // A log has ever more of them.
    if (known.size >= MAX_KNOWN) known.clear();
    known.add(parent);
    if (first === undefined) return;
    for (let at = parent; at.length >= first.length; at = dirname(at)) directories.add(dirname(at));
  };
  return {
    write(path, bytes) {
      onStep(`write ${path}`);
      makeParents(path);
      written.push(writeAll(path, bytes));
      directories.add(dirname(path));
    },
    settle() {
      onStep("settle");
      for (const fd of written) flushAndClose(fd);
      written = [];
      for (const directory of directories) syncDirectory(directory);
      directories.clear();
    },
    replace(path, bytes) {
      onStep(`stage ${path}`);
      makeParents(path);
      flushAndClose(writeAll(`${path}.new`, bytes));
      onStep(`replace ${path}`);
      renameSync(`${path}.new`, path);
      syncDirectory(dirname(path));
    },
    remove(path) {
      onStep(`remove ${path}`);
      known.delete(path);
      rmSync(path, { recursive: true, force: true });
    },
    read: (path) => orNone(() => readFileSync(path)),
    list: (path) => orNone(() => readdirSync(path)) ?? [],
  };
}

/** The open file: its bytes are with the kernel only. */
function writeAll(path: string, bytes: Uint8Array): number {
  const fd = openSync(path, "w", 0o600);
  try {
    let at = 0;
    while (at < bytes.length) at += writeSync(fd, bytes, at);
    return fd;
  } catch (error) {
    closeSync(fd);
    throw error;
  }
}

function flushAndClose(fd: number): void {
  try {
    fsyncSync(fd);
  } finally {
    closeSync(fd);
  }
}

function orNone<T>(read: () => T): T | undefined {
  try {
    return read();
  } catch (error) {
    const code = (error as NodeJS.ErrnoException).code;
    if (code === "ENOENT" || code === "ENOTDIR") return undefined;
    throw error;
  }
}
