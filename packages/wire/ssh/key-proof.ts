// A key or certificate used under an algorithm's name, and the signature that proves it: the same for a
// host in a key exchange (RFC 4253 section 8) and a user's public key (RFC 4252 section 7). The name, the
// blob's own type and the signature's algorithm have to agree; nothing is taken from the signature alone.

import {
  certificateType,
  isCertificate,
  parseCertificate,
  signatureAlgorithmOf,
} from "./certificate.ts";
import { SshError } from "./errors.ts";
import { algorithmsOfKey, parsePublicKey, type SshPublicKey, signatureProblem } from "./keys.ts";

/**
 * The plain key in a blob that is used as `algorithm`.
 * @throws SshError "key" and others for a blob that is not of that algorithm
 */
export function keyOfAlgorithm(algorithm: string, blob: Buffer): SshPublicKey {
  const inner = signatureAlgorithmOf(algorithm);
  const certified = inner !== algorithm;
  if (certified !== isCertificate(blob)) {
    throw new SshError("key", `the key is not one for ${algorithm}`);
  }
  const key = certified ? parseCertificate(blob).key : parsePublicKey(blob);
  if (!algorithmsOfKey(key.type).includes(inner)) {
    throw new SshError("key", `a key of type ${key.type} is not one for ${algorithm}`);
  }
  return key;
}

/** What is wrong with the proof; undefined when nothing is. Never throws. */
export function proofProblem(
  algorithm: string,
  blob: Buffer,
  signature: Buffer,
  data: Buffer,
): string | undefined {
  try {
    const key = keyOfAlgorithm(algorithm, blob);
    return signatureProblem(key, signature, data, [signatureAlgorithmOf(algorithm)]);
  } catch (error) {
    if (error instanceof SshError) return error.message;
    throw error;
  }
}

/**
 * The algorithm for a client's key or certificate, best first of what the server said it takes
 * (server-sig-algs) or, when it said nothing, of what every server of ours takes; undefined when none.
 */
export function clientKeyAlgorithm(
  blob: Buffer,
  serverTakes: readonly string[] | undefined,
): string | undefined {
  const certified = isCertificate(blob);
  const key = certified ? parseCertificate(blob).key : parsePublicKey(blob);
  const signing = algorithmsOfKey(key.type).find(
    (name) =>
      serverTakes === undefined ||
      serverTakes.includes(name) ||
      serverTakes.includes(certificateType(name)),
  );
  return signing !== undefined && certified ? certificateType(signing) : signing;
}
