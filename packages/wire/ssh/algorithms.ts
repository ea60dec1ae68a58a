// Which algorithms a connection offers: our defaults, narrowed by the caller, and for a server by the
// keys it has. Only names that are implemented here are taken.

import { certificateType, parseCertificate } from "./certificate.ts";
import { CIPHERS, MACS } from "./ciphers.ts";
import { SshError } from "./errors.ts";
import { KEX_METHODS } from "./kex-methods.ts";
import { algorithmsOfKey, parsePublicKey, publicKeyBlob, SIGNATURE_ALGORITHMS } from "./keys.ts";
import type { SshAlgorithms, SshHostKey } from "./options.ts";

/** Everything there is here, best first; certificates before the keys in them. */
export const SSH_ALGORITHMS: SshAlgorithms = {
  kex: KEX_METHODS.map((one) => one.name),
  hostKey: [...SIGNATURE_ALGORITHMS.map(certificateType), ...SIGNATURE_ALGORITHMS],
  cipher: CIPHERS.map((one) => one.name),
  mac: MACS.map((one) => one.name),
  clientKey: [...SIGNATURE_ALGORITHMS.map(certificateType), ...SIGNATURE_ALGORITHMS],
};

/** @throws SshError "syntax" for a name there is not, or a list without one. */
export function chosenAlgorithms(wanted: Partial<SshAlgorithms> | undefined): SshAlgorithms {
  return {
    kex: chosen("kex", wanted?.kex, SSH_ALGORITHMS.kex),
    hostKey: chosen("hostKey", wanted?.hostKey, SSH_ALGORITHMS.hostKey),
    cipher: chosen("cipher", wanted?.cipher, SSH_ALGORITHMS.cipher),
    mac: chosen("mac", wanted?.mac, SSH_ALGORITHMS.mac),
    clientKey: chosen("clientKey", wanted?.clientKey, SSH_ALGORITHMS.clientKey),
  };
}

function chosen(
  what: string,
  wanted: readonly string[] | undefined,
  all: readonly string[],
): readonly string[] {
  if (wanted === undefined) return all;
  const unknown = wanted.find((name) => !all.includes(name));
  if (unknown !== undefined) throw new SshError("syntax", `${what}: no algorithm ${unknown}`);
  if (wanted.length === 0) throw new SshError("syntax", `${what}: no algorithm at all`);
  return wanted;
}

/** What one of a server's keys is offered as. */
export interface OfferedHostKey {
  readonly algorithm: string;
  /** Public key or certificate. */
  readonly blob: Buffer;
  readonly hostKey: SshHostKey;
}

/** In the order of the keys; of each its certificate first. @throws SshError "syntax", "key" */
export function offeredHostKeys(
  hostKeys: readonly SshHostKey[],
  allowed: readonly string[],
): OfferedHostKey[] {
  const offered = hostKeys.flatMap((hostKey) => {
    const plain = publicKeyBlob(hostKey.privateKey);
    const algorithms = algorithmsOfKey(parsePublicKey(plain).type);
    const plainOffers = algorithms.map((algorithm) => ({ algorithm, blob: plain, hostKey }));
    const blob = hostKey.certificate;
    if (blob === undefined) return plainOffers;
    if (!parseCertificate(blob).key.blob.equals(plain)) {
      throw new SshError("key", "the host certificate is another key's");
    }
    const certified = algorithms.map((name) => ({
      algorithm: certificateType(name),
      blob,
      hostKey,
    }));
    return [...certified, ...plainOffers];
  });
  const usable = offered.filter(({ algorithm }) => allowed.includes(algorithm));
  if (usable.length === 0) throw new SshError("syntax", "no host key to offer");
  return usable;
}
