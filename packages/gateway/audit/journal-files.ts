// Files of the journal: preparing segments ahead of their use, and the two system calls of the hot
// path, which tests replace to make a disk fail.

import { close, closeSync, fdatasync, fsyncSync, openSync, writeSync } from "node:fs";
import { mkdir, open, readdir, rename, rm } from "node:fs/promises";
import { join } from "node:path";
import { GatewayError } from "../base/errors.ts";
import { parseSegmentName, segmentName } from "./journal-format.ts";

/** What the writer asks of the kernel while it runs. */
export interface JournalDisk {
  /** Bytes written; fewer than asked is a failure. */
  write(fd: number, bytes: Uint8Array, length: number, position: number): number;
  datasync(fd: number, done: (error: Error | null) => void): void;
  close(fd: number, done: (error?: Error | null) => void): void;
}

export const kernelDisk: JournalDisk = {
  write: (fd, bytes, length, position) => writeSync(fd, bytes, 0, length, position),
  datasync: (fd, done) => fdatasync(fd, done),
  close: (fd, done) => close(fd, done),
};

export function journalDirectory(dataDirectory: string): string {
  return join(dataDirectory, "journal");
}

/** Numbers of one worker's segments, ascending. Other files are none of ours. */
export async function listSegments(directory: string, worker: number): Promise<number[]> {
  const numbers: number[] = [];
  for (const name of await readdir(directory)) {
    const parsed = parseSegmentName(name);
    if (parsed !== undefined && parsed.worker === worker) numbers.push(parsed.number);
  }
  return numbers.sort((a, b) => a - b);
}

/** Whose segments are there, ascending. */
export async function listWorkers(directory: string): Promise<number[]> {
  const workers = new Set<number>();
  for (const name of await readdir(directory)) {
    const parsed = parseSegmentName(name);
    if (parsed !== undefined) workers.add(parsed.worker);
  }
  return [...workers].sort((a, b) => a - b);
}

/**
 * A segment with all its blocks allocated, so that a flush while it fills has no metadata to write;
 * zeros go in by pieces so that no other file operation waits long behind them. It gets its name only
 * when complete.
 */
export async function prepareSegment(
  directory: string,
  worker: number,
  number: number,
  size: number,
): Promise<number> {
  const path = join(directory, segmentName(worker, number));
  const zeros = Buffer.alloc(Math.min(size, 1 << 20));
  const file = await open(`${path}.new`, "w", 0o600);
  try {
    for (let at = 0; at < size; at += zeros.length) {
      const length = Math.min(zeros.length, size - at);
      const { bytesWritten } = await file.write(zeros, 0, length, at);
      if (bytesWritten !== length)
        throw new GatewayError("evidence_unavailable", "the disk is full");
    }
    await file.sync();
  } finally {
    await file.close();
  }
  await rename(`${path}.new`, path);
  syncDirectory(directory);
  return openSync(path, "r+");
}

export async function makeDirectory(directory: string): Promise<void> {
  await mkdir(directory, { recursive: true, mode: 0o700 });
}

export async function removeSegment(
  directory: string,
  worker: number,
  number: number,
): Promise<void> {
  await rm(join(directory, segmentName(worker, number)), { force: true });
}

/** Makes creations, renames and removals in a directory durable. */
export function syncDirectory(directory: string): void {
  const fd = openSync(directory, "r");
  try {
    fsyncSync(fd);
  } finally {
    closeSync(fd);
  }
}
