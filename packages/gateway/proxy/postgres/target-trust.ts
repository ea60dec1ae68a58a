// TLS contexts for connections to targets, one for each authority that is trusted: to make one parses the
// authority and keeps a store of its own, 3 KiB of each session and 0.3 ms of each connection otherwise.
//
// Owns the contexts; they are found by the authority's text, so a file that changed makes another.

import { createSecureContext, type SecureContext } from "node:tls";

const MAX_CONTEXTS = 64;

const contexts = new Map<string | undefined, SecureContext>();

/** `ca`: PEM; undefined: the system's roots. */
export function trustIn(ca: string | undefined): SecureContext {
  const known = contexts.get(ca);
  if (known !== undefined) return known;
  const made = createSecureContext({
    minVersion: "TLSv1.2",
    ...(ca === undefined ? undefined : { ca }),
  });
  contexts.set(ca, made);
  for (const oldest of contexts.keys()) {
    if (contexts.size <= MAX_CONTEXTS) break;
    contexts.delete(oldest);
  }
  return made;
}
