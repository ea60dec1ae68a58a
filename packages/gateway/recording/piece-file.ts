// The sealed pieces in `recordings/<session>.rec` one at a time, wherever they are: a recording may be larger
// than memory. Where each begins is found once, by their lengths; what they hold is looked at by who opens
// them.

import { closeSync, fstatSync, openSync, readSync } from "node:fs";
import { setImmediate as turn } from "node:timers/promises";
import { RECORDING_MAGIC, RecordingError } from "@custody/evidence/node/recording-format.ts";

export interface PieceFile extends Disposable {
  readonly count: number;
  /** From 1. */
  piece(number: number): Buffer;
}

const LENGTH_BYTES = 4;

/** So many are passed over before others of this process have their turn. */
const PIECES_A_TURN = 1000;

/** As far as whole pieces go; undefined when there is no file. */
export async function openPieceFile(
  path: string,
  sessionId: string,
): Promise<PieceFile | undefined> {
  const fd = openOrNone(path);
  if (fd === undefined) return undefined;
  const size = fstatSync(fd).size;
  const ends = await endsOf(fd, size);
  return {
    count: ends.length - 1,
    piece(number) {
      const start = (ends[number - 1] ?? size) + LENGTH_BYTES;
      const bytes = Buffer.allocUnsafe(Math.max(0, (ends[number] ?? 0) - start));
      if (readSync(fd, bytes, 0, bytes.length, start) !== bytes.length || bytes.length === 0) {
        throw new RecordingError(`recording of ${sessionId}: piece ${number} cannot be read`);
      }
      return bytes;
    },
    [Symbol.dispose]: () => closeSync(fd),
  };
}

/** Of the pieces, after the end of the magic; that alone when it is not one of ours. */
async function endsOf(fd: number, size: number): Promise<number[]> {
  const magic = Buffer.alloc(RECORDING_MAGIC.length);
  readSync(fd, magic, 0, magic.length, 0);
  const ends = [magic.length];
  if (!magic.equals(RECORDING_MAGIC)) return ends;
  const length = Buffer.alloc(LENGTH_BYTES);
  for (let at = magic.length; at + LENGTH_BYTES <= size; ) {
    readSync(fd, length, 0, LENGTH_BYTES, at);
    at += LENGTH_BYTES + length.readUInt32BE(0);
    if (at > size) break;
    ends.push(at);
    if (ends.length % PIECES_A_TURN === 0) await turn();
  }
  return ends;
}

function openOrNone(path: string): number | undefined {
  try {
    return openSync(path, "r");
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === "ENOENT") return undefined;
    throw error;
  }
}
