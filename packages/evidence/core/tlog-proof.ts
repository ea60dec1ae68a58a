// C2SP tlog-proof: a text that shows, offline, that one record is in a log whose head witnesses have seen.

import { fromBase64, toBase64 } from "./base64.ts";
import { parseCheckpoint } from "./checkpoint.ts";
import { keysOf } from "./log-shard.ts";
import { leafHash } from "./merkle.ts";
import { type NoteKey, parseNote, type Signer, verifiedSigners } from "./note.ts";
import { verifyInclusion } from "./proof.ts";
import { sha256 } from "./sha256.ts";

export class TlogProofError extends Error {
  override readonly name = "TlogProofError";
}

export interface TlogProof {
  /** The record itself, where it was put in; nothing vouches for it but that it hashes to the leaf. */
  readonly extra: Uint8Array | undefined;
  readonly index: number;
  /** RFC 6962, section 2.1.1, from the leaf upwards. */
  readonly path: readonly Uint8Array[];
  /** The signed note. */
  readonly checkpoint: string;
}

export interface TlogPolicy {
  /** The log's keys; one of them must have signed, and its name is the origin, or that of another shard. */
  readonly log: readonly NoteKey[];
  readonly witnesses: readonly NoteKey[];
  /** How many witnesses must have cosigned. */
  readonly quorum: number;
}

const HEADER = "c2sp.org/tlog-proof@v1";
const MAX_PATH = 63;

export function formatTlogProof(proof: TlogProof): string {
  const extra = proof.extra === undefined ? "" : `extra ${toBase64(proof.extra)}\n`;
  const path = proof.path.map((hash) => `${toBase64(hash)}\n`).join("");
  return `${HEADER}\n${extra}index ${proof.index}\n${path}\n${proof.checkpoint}`;
}

/** Throws TlogProofError for what is not one; verifies nothing. */
export function parseTlogProof(text: string): TlogProof {
  const end = text.indexOf("\n\n");
  const lines = text.slice(0, Math.max(0, end)).split("\n");
  if (lines.shift() !== HEADER) throw new TlogProofError(`it does not begin with ${HEADER}`);
  let extra: Uint8Array | undefined;
  if (lines[0]?.startsWith("extra ")) {
    extra = fromBase64(lines.shift()!.slice("extra ".length));
    if (extra === undefined) throw new TlogProofError("the extra data is not base64");
  }
  const index = /^index (0|[1-9][0-9]{0,15})$/.exec(lines.shift() ?? "")?.[1];
  if (index === undefined || !Number.isSafeInteger(Number(index))) {
    throw new TlogProofError("the index is missing");
  }
  if (lines.length > MAX_PATH) throw new TlogProofError("the proof is too long");
  const path = lines.map((line) => {
    const hash = fromBase64(line);
    if (hash?.length !== 32) throw new TlogProofError("a line of the proof is not a hash");
    return hash;
  });
  return { extra, index: Number(index), path, checkpoint: text.slice(end + 2) };
}

export interface ProvedRecord {
  readonly origin: string;
  readonly size: number;
  readonly index: number;
  /** Witnesses that cosigned, with the time they say. */
  readonly witnesses: readonly Signer[];
}

/** Throws NoteError, CheckpointError or TlogProofError that says what does not hold. */
export async function verifyTlogProof(
  proof: TlogProof,
  record: Uint8Array,
  policy: TlogPolicy,
): Promise<ProvedRecord> {
  const note = new TextEncoder().encode(proof.checkpoint);
  const own = keysOf(policy.log, parseNote(note).text.split("\n", 1)[0]!);
  const { text, signers } = await verifiedSigners(note, [...own, ...policy.witnesses]);
  const checkpoint = parseCheckpoint(text);
  const { origin, size, root } = checkpoint;
  if (!signers.some(({ key }) => own.includes(key) && key.name === origin)) {
    throw new TlogProofError(`the checkpoint of ${origin} is not signed by the log's key`);
  }
  const witnesses = signers.filter(({ key }) => policy.witnesses.includes(key));
  if (witnesses.length < policy.quorum) {
    throw new TlogProofError(
      `${witnesses.length} witnesses have cosigned where ${policy.quorum} are asked for`,
    );
  }
  const leaf = leafHash(sha256, record);
  if (!verifyInclusion(sha256, leaf, proof.index, size, root, proof.path)) {
    throw new TlogProofError(`the record is not record ${proof.index} of this log`);
  }
  return { origin, size, index: proof.index, witnesses };
}
