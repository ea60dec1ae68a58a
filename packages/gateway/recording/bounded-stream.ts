// What is kept of one stream of bytes: the first so many, and of the rest length and SHA-256, so that who
// has the whole can show that it is this one.

import { createHash, type Hash } from "node:crypto";

export interface StreamRest {
  readonly length: number;
  readonly digest: Buffer;
}

export interface BoundedStream {
  /** The part of these bytes that is to be kept; empty when none of it is. */
  keep(bytes: Buffer): Buffer;
  /** What was not kept; undefined when all was. */
  rest(): StreamRest | undefined;
}

const NOTHING = Buffer.alloc(0);

export function createBoundedStream(maxBytes: number): BoundedStream {
  let room = maxBytes;
  let length = 0;
  let hash: Hash | undefined;
  return {
    keep(bytes) {
      if (bytes.length <= room) {
        room -= bytes.length;
        return bytes;
      }
      const kept = room === 0 ? NOTHING : bytes.subarray(0, room);
      hash ??= createHash("sha256");
      hash.update(room === 0 ? bytes : bytes.subarray(room));
      length += bytes.length - room;
      room = 0;
      return kept;
    },
    rest: () => (hash === undefined ? undefined : { length, digest: hash.digest() }),
  };
}
