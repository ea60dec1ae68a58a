// The journal as its users see it. A data path appends the intent of a command, asks for a barrier
// and forwards the command only when the barrier calls back (I1, I7).
//
// Who owns the state: journal-writer.ts owns the file; callers own nothing but their records.

import type { LeafFields } from "@custody/evidence/core/leaf.ts";

/**
 * ordered: written to the kernel before `done`, on disk within 5 ms.
 * strict: on disk (fdatasync) before `done`.
 */
export type Durability = "ordered" | "strict";

/** A leaf before the journal gives it its place. */
export type LeafDraft = LeafFields & { readonly at?: number };

export interface Journal {
  /** Buffers one leaf; returns its sequence number in this worker's journal. Never waits, never throws. */
  append(leaf: LeafDraft): number;
  /** Buffers one encrypted piece of a session's content (see recording/recorder.ts). */
  appendContent(sessionId: string, sealed: Buffer): void;
  /**
   * Calls `seal` once, before the next strict barrier's write and within the time ordered records are
   * flushed in: for content that is gathered outside and has to be durable with its leaf.
   */
  beforeFlush(seal: () => void): void;
  /**
   * Calls `done` once everything appended before is as durable as asked. Never called when the write
   * fails: then `onFailure` (given at open) has been, and the gateway stops.
   */
  barrier(durability: Durability, done: () => void): void;
  [Symbol.asyncDispose](): Promise<void>;
}
