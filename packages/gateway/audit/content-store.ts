// Where sessions' content goes when it leaves the journal: `<data>/recordings/<session>.rec`, the sealed
// pieces in their order, and `<session>.key`, the session's wrapped key. Deleting the key erases the
// content; `<session>.erased` keeps it erased should the journal still hold it.
//
// The format of the file and of its pieces is evidence/node/recording-format.ts's.
//
// Owned by the sequencer, which alone appends.

import {
  closeSync,
  fdatasyncSync,
  ftruncateSync,
  mkdirSync,
  openSync,
  readFileSync,
  writeSync,
} from "node:fs";
import { join } from "node:path";
import {
  COUNTER_BYTES,
  framePiece,
  pieceCounter,
  RECORDING_MAGIC,
  readPieces,
} from "@custody/evidence/node/recording-format.ts";
import { GatewayError } from "../base/errors.ts";
import { syncDirectory } from "./journal-files.ts";
import type { LogFiles } from "./log-files.ts";

const MAX_OPEN_FILES = 64;

export interface ContentStore {
  /** Takes one piece, once: what is in the file already is passed over. Its bytes are kept until `write`. */
  append(sessionId: string, piece: Buffer): void;
  /** Gives what was taken to the kernel. */
  write(): void;
  /** All that was written is on disk, names and all. */
  sync(): void;
  close(): void;
}

/** Names are parts of file names. */
export function isSessionId(sessionId: string): boolean {
  return /^s-[a-z0-9]{1,64}$/.test(sessionId);
}

export function recordingsDirectory(dataDirectory: string): string {
  return join(dataDirectory, "recordings");
}

interface OpenFile {
  readonly fd: number;
  lastCounter: number;
  offset: number;
  /** Framed pieces not yet written: a busy session has hundreds of small ones a step. */
  pending: Buffer[];
}

export function openContentStore(dataDirectory: string, files: LogFiles): ContentStore {
  const directory = recordingsDirectory(dataDirectory);
  mkdirSync(directory, { recursive: true, mode: 0o700 });
  const open = new Map<string, OpenFile>();
  const pending = new Set<OpenFile>();
  const dirty = new Set<OpenFile>();
  let hasNewNames = false;

  const enter = (sessionId: string): OpenFile => {
    const known = open.get(sessionId);
    // Moved to the end: the map's order is the order of use.
    open.delete(sessionId);
    const file = known ?? openFile(join(directory, `${sessionId}.rec`));
    hasNewNames ||= known === undefined;
    open.set(sessionId, file);
    return file;
  };
  const write = (): void => {
    for (const file of pending) writePending(file);
    pending.clear();
  };
  const leave = (file: OpenFile): void => {
    pending.delete(file);
    writePending(file);
    if (dirty.delete(file)) fdatasyncSync(file.fd);
    closeSync(file.fd);
  };
  return {
    append(sessionId, piece) {
      const counter = pieceCounter(piece);
      if (!isSessionId(sessionId) || counter < 0) {
        throw new GatewayError("evidence_unavailable", "the journal has malformed content");
      }
      if (counter === 0) {
        writeKey(directory, sessionId, piece, files);
        return;
      }
      const file = enter(sessionId);
      if (counter <= file.lastCounter) return;
      file.pending.push(...framePiece(piece));
      file.lastCounter = counter;
      pending.add(file);
      dirty.add(file);
      if (open.size > MAX_OPEN_FILES) {
        const [oldest, evicted] = open.entries().next().value!;
        open.delete(oldest);
        leave(evicted);
      }
    },
    write,
    sync() {
      write();
      for (const file of dirty) fdatasyncSync(file.fd);
      dirty.clear();
      if (hasNewNames) syncDirectory(directory);
      hasNewNames = false;
    },
    close() {
      for (const file of open.values()) leave(file);
      open.clear();
    },
  };
}

/** What was appended, in one write. */
function writePending(file: OpenFile): void {
  if (file.pending.length === 0) return;
  file.offset += writeFully(file.fd, Buffer.concat(file.pending), file.offset);
  file.pending = [];
}

/** Cuts a piece that a crash left incomplete; finds how far the file goes. */
function openFile(path: string): OpenFile {
  const fd = openSync(path, "a+", 0o600);
  const { pieces, end } = readPieces(readFileSync(path));
  const last = pieces.at(-1);
  closeSync(fd);
  const file = openSync(path, "r+");
  ftruncateSync(file, end);
  const offset = end === 0 ? writeFully(file, RECORDING_MAGIC, 0) : end;
  const lastCounter = last === undefined ? 0 : pieceCounter(last);
  return { fd: file, offset, lastCounter, pending: [] };
}

function writeKey(directory: string, sessionId: string, piece: Buffer, files: LogFiles): void {
  if (files.read(join(directory, `${sessionId}.erased`)) !== undefined) return;
  files.replace(join(directory, `${sessionId}.key`), piece.subarray(COUNTER_BYTES));
}

function writeFully(fd: number, bytes: Buffer, position: number): number {
  let at = 0;
  while (at < bytes.length) at += writeSync(fd, bytes, at, bytes.length - at, position + at);
  return at;
}
