// The log before its witnesses (C2SP tlog-witness, the client): what each says of the published head, and
// whether one has seen more of this log, or another, than we have.

import { createHash } from "node:crypto";
import { type Checkpoint, parseCheckpoint } from "@custody/evidence/core/checkpoint.ts";
import { equalBytes } from "@custody/evidence/core/merkle.ts";
import {
  type NoteKey,
  parseKey,
  parseNote,
  signatureLine,
  verifiedSigners,
} from "@custody/evidence/core/note.ts";
import { consistencyProof } from "@custody/evidence/core/proof.ts";
import { formatAddCheckpoint } from "@custody/evidence/core/witness-request.ts";
import { folderHashes } from "@custody/evidence/node/log-folder.ts";
import type { ShardHead } from "./log-shards.ts";
import type { Outbound } from "./outbound.ts";

export interface WitnessSettings {
  /** `add-checkpoint` and `<origin hash>/checkpoint` are below it. */
  readonly url: string;
  /** Verifier keys of its cosignatures; one of them is enough. */
  readonly keys: readonly string[];
}

export interface Witness {
  readonly name: string;
  readonly url: string;
  readonly keys: readonly NoteKey[];
  readonly outbound: Outbound;
  /** By origin: the size it cosigned last, as far as we know. */
  readonly known: Map<string, number>;
}

export type WitnessSaid =
  /** Its signature lines, verified. */
  | { readonly kind: "cosigned"; readonly lines: string }
  /** It has cosigned so many records of this log, and we have fewer. */
  | { readonly kind: "ahead"; readonly size: number }
  /** What it cosigned is not the begin of our log. */
  | { readonly kind: "forked" }
  | { readonly kind: "failed"; readonly why: string };

export interface PublishedHead {
  readonly note: string;
  readonly checkpoint: Checkpoint;
  /** Where its tiles are. */
  readonly directory: string;
}

export function createWitness(settings: WitnessSettings, outbound: Outbound): Witness {
  const keys = settings.keys.map(parseKey);
  const url = settings.url.endsWith("/") ? settings.url : `${settings.url}/`;
  return { name: keys[0]?.name ?? url, url, keys, outbound, known: new Map() };
}

/** Never rejects: whatever goes wrong with a witness is what it said. */
export async function askWitness(witness: Witness, head: PublishedHead): Promise<WitnessSaid> {
  try {
    const { origin, size } = head.checkpoint;
    const known = () => witness.known.get(origin) ?? 0;
    const first = await addCheckpoint(witness, head, Math.min(known(), size));
    if (first !== "another size") return first;
    // Now it has said which.
    if (known() > size) return { kind: "ahead", size: known() };
    const second = await addCheckpoint(witness, head, known());
    return second === "another size" ? { kind: "failed", why: "its size changes" } : second;
  } catch (error) {
    const said = error instanceof Error ? error : new Error(String(error));
    const cause = said.cause instanceof Error ? `: ${said.cause.message}` : "";
    return { kind: "failed", why: `${said.message}${cause}` };
  }
}

async function addCheckpoint(
  witness: Witness,
  { note, checkpoint, directory }: PublishedHead,
  oldSize: number,
): Promise<WitnessSaid | "another size"> {
  const hashes = folderHashes(directory, checkpoint.size);
  const proof = consistencyProof(hashes, oldSize, checkpoint.size);
  const { status, body } = await witness.outbound.send({
    url: `${witness.url}add-checkpoint`,
    method: "POST",
    body: formatAddCheckpoint({ oldSize, proof, checkpoint: note }),
    headers: { "content-type": "text/plain; charset=utf-8" },
  });
  const text = body.toString("utf8");
  if (status === 409 && /^(0|[1-9][0-9]{0,15})\n$/.test(text)) {
    witness.known.set(checkpoint.origin, Number(text));
    return "another size";
  }
  if (status === 422) return { kind: "forked" };
  if (status !== 200) return { kind: "failed", why: `it answered ${status}` };
  const lines = await ownLines(witness, note, text);
  if (lines === "") return { kind: "failed", why: "its cosignature is not of its key" };
  witness.known.set(checkpoint.origin, checkpoint.size);
  return { kind: "cosigned", lines };
}

/** The lines of the witness's own keys; anything else it sent is dropped. */
async function ownLines(witness: Witness, note: string, lines: string): Promise<string> {
  const bytes = Buffer.from(note + lines, "utf8");
  const { signers } = await verifiedSigners(bytes, witness.keys);
  return parseNote(bytes)
    .signatures.filter(({ name, id }) =>
      signers.some(({ key }) => key.name === name && equalBytes(key.id, id)),
    )
    .map(({ name, id, signature }) => signatureLine(name, id, signature))
    .join("");
}

/**
 * The head that the witness serves, when this log's key has signed it and our log is not, or does not begin
 * with, that: proof of a fork that needs no trust in the witness. undefined: no such proof.
 */
export async function provenFork(
  witness: Witness,
  { key, published: head, directory }: ShardHead,
): Promise<Checkpoint | undefined> {
  const hash = createHash("sha256").update(key.origin, "utf8").digest("hex");
  const url = `${witness.url}${hash}/checkpoint`;
  const { status, body } = await witness.outbound.send({ url, method: "GET" });
  const note = body.toString("utf8");
  if (status !== 200 || !key.isOwn(note)) return undefined;
  const theirs = parseCheckpoint(parseNote(body).text);
  const size = head?.checkpoint.size ?? 0;
  if (theirs.size > size) return theirs;
  const ours = theirs.size === 0 ? theirs.root : folderHashes(directory, size)(0, theirs.size);
  return equalBytes(ours, theirs.root) ? undefined : theirs;
}
