// C2SP tlog-witness: the body of `add-checkpoint`, written by a log and read by a witness.

import { fromBase64, toBase64 } from "./base64.ts";

export class WitnessRequestError extends Error {
  override readonly name = "WitnessRequestError";
}

export interface AddCheckpoint {
  /** Of the checkpoint that the witness is believed to have cosigned last; 0 for none. */
  readonly oldSize: number;
  /** From that tree to this one. */
  readonly proof: readonly Uint8Array[];
  /** The signed note. */
  readonly checkpoint: string;
}

export const MAX_PROOF_LINES = 63;

export function formatAddCheckpoint({ oldSize, proof, checkpoint }: AddCheckpoint): string {
  return `old ${oldSize}\n${proof.map((hash) => `${toBase64(hash)}\n`).join("")}\n${checkpoint}`;
}

/** Throws WitnessRequestError for what is not one. The note in it is not looked at. */
export function parseAddCheckpoint(body: string): AddCheckpoint {
  const end = body.indexOf("\n\n");
  const [first = "", ...lines] = body.slice(0, Math.max(0, end)).split("\n");
  const old = /^old (0|[1-9][0-9]{0,15})$/.exec(first)?.[1];
  if (end < 0 || old === undefined || !Number.isSafeInteger(Number(old))) {
    throw new WitnessRequestError("the first line is not an old size");
  }
  if (lines.length > MAX_PROOF_LINES) throw new WitnessRequestError("the proof is too long");
  const proof = lines.map((line) => {
    const hash = fromBase64(line);
    if (hash?.length !== 32) throw new WitnessRequestError("a line of the proof is not a hash");
    return hash;
  });
  return { oldSize: Number(old), proof, checkpoint: body.slice(end + 2) };
}
