// Proofs of host keys beside the one of the key exchange (hostkeys-prove-00@openssh.com, OpenSSH's
// PROTOCOL section 2.5): a server signs for each of its keys that it belongs to this session.

import type { KeyObject } from "node:crypto";
import { SshError } from "./errors.ts";
import { SshReader, stringField, textField } from "./fields.ts";
import {
  algorithmsOfKey,
  parsePublicKey,
  publicKeyBlob,
  signatureProblem,
  signBlob,
} from "./keys.ts";

/** The data of the reply; undefined when a key asked about is none of ours: then the reply is a failure. */
export function hostKeyProof(
  keys: readonly Buffer[],
  sessionId: Buffer,
  privateKeys: readonly KeyObject[],
): Buffer | undefined {
  const proofs: Buffer[] = [];
  for (const blob of keys) {
    const privateKey = privateKeys.find((one) => publicKeyBlob(one).equals(blob));
    if (privateKey === undefined) return undefined;
    const algorithm = algorithmsOfKey(parsePublicKey(blob).type)[0]!;
    proofs.push(stringField(signBlob(privateKey, algorithm, proofPart(blob, sessionId))));
  }
  return Buffer.concat(proofs);
}

/** What is wrong with a server's proof of these keys; undefined when nothing is. Never throws. */
export function hostKeyProofProblem(
  keys: readonly Buffer[],
  sessionId: Buffer,
  data: Buffer,
): string | undefined {
  try {
    const reader = new SshReader(data);
    for (const blob of keys) {
      const key = parsePublicKey(blob);
      const part = proofPart(blob, sessionId);
      const problem = signatureProblem(key, reader.string(), part, algorithmsOfKey(key.type));
      if (problem !== undefined) return problem;
    }
    reader.done();
    return undefined;
  } catch (error) {
    if (error instanceof SshError) return error.message;
    throw error;
  }
}

function proofPart(blob: Buffer, sessionId: Buffer): Buffer {
  return Buffer.concat([
    textField("hostkeys-prove-00@openssh.com"),
    stringField(sessionId),
    stringField(blob),
  ]);
}
