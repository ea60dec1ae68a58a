// What waits of a channel's data, in few pieces: a byte a packet costs hundreds of bytes if each waits by
// itself, and a window has room for two million of them.
//
// Who owns the state: whoever has the piece.

export interface Gathering {
  readonly stream: number;
  data: Buffer;
  /** Behind `data`, in the same memory: for more of the same. */
  room?: Buffer;
}

/** So many wait as they came. */
const FEW = 16;
/** A piece as large stays as it came. */
const SMALL_BYTES = 1024;
const MOST_BYTES = 16 << 10;

/** Adds it to the last of those that wait, where it goes the same way; false: it waits by itself. */
export function gather(waiting: readonly Gathering[], stream: number, data: Buffer): boolean {
  const last = waiting.at(-1);
  if (last === undefined || last.stream !== stream) return false;
  if (waiting.length < FEW || data.length > SMALL_BYTES) return false;
  const length = last.data.length + data.length;
  if (length > MOST_BYTES) return false;
  if (last.room === undefined || last.room.length < data.length) {
    const larger = Buffer.allocUnsafeSlow(Math.min(MOST_BYTES, Math.max(SMALL_BYTES, 2 * length)));
    last.data.copy(larger);
    last.room = larger.subarray(last.data.length);
    last.data = larger.subarray(0, last.data.length);
  }
  const { buffer, byteOffset } = last.data;
  data.copy(last.room);
  last.data = Buffer.from(buffer, byteOffset, length);
  last.room = last.room.subarray(data.length);
  return true;
}
