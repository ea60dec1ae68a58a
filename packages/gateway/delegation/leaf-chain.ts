// The chain as every audit leaf carries it: by delegation and stable subject, no name of a person.

import type { LeafDraft } from "../audit/journal.ts";
import type { Chain } from "./chain.ts";

export function leafChain(chain: Chain): NonNullable<LeafDraft["chain"]> {
  return chain.hops.map((hop) => ({
    d: hop.delegationId,
    s: hop.subject,
    k: hop.kind,
    p: hop.provenance,
  }));
}
