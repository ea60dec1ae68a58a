// C2SP tlog-checkpoint: the signed head of a log. Three lines: origin, size, root.

import { fromBase64, toBase64 } from "./base64.ts";

export class CheckpointError extends Error {
  override readonly name = "CheckpointError";
}

export interface Checkpoint {
  readonly origin: string;
  readonly size: number;
  readonly root: Uint8Array;
}

/** The text of the note. */
export function formatCheckpoint(checkpoint: Checkpoint): string {
  return `${checkpoint.origin}\n${checkpoint.size}\n${toBase64(checkpoint.root)}\n`;
}

/**
 * Parses the text of a note whose signatures were verified. Extension lines, which the specification
 * discourages and nothing of ours writes, are refused: nobody would have looked at them.
 */
export function parseCheckpoint(text: string): Checkpoint {
  const lines = text.split("\n");
  const [origin, size, root, end] = lines;
  if (lines.length !== 4 || end !== "" || origin === undefined || origin === "") {
    throw new CheckpointError("a checkpoint has three lines: origin, size and root");
  }
  if (size === undefined || !/^(0|[1-9][0-9]{0,15})$/.test(size)) {
    throw new CheckpointError("the size is not a number");
  }
  const hash = fromBase64(root ?? "");
  if (hash === undefined || hash.length !== 32 || !Number.isSafeInteger(Number(size))) {
    throw new CheckpointError("the root is not a hash");
  }
  return { origin, size: Number(size), root: hash };
}
