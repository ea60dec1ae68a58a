// The leaf that says a delegation was made: its chain, what it carries, its key, and the digest of what its
// parent signed about it, so that the statement kept beside the log can be held against it.

import { createHash } from "node:crypto";
import type { LeafDraft } from "../audit/journal.ts";
import { grantToDetails } from "./grant.ts";
import { statementDigest } from "./hop-statement.ts";
import { leafChain } from "./leaf-chain.ts";
import type { Minted, Shape } from "./tree.ts";

/** In a leaf; of a longer one there is the digest. */
const MAX_LOGGED_GRANT_LENGTH = 2048;

export function createdLeaf(minted: Minted, shape: Shape | "offline"): LeafDraft {
  const { node, chain } = minted;
  const grant = node.grant === undefined ? undefined : JSON.stringify(grantToDetails(node.grant));
  return {
    event: "delegation.created",
    chain: leafChain(chain),
    detail: {
      shape,
      expires: node.expiresAtMs,
      ...(node.key === undefined ? {} : { jkt: node.key.jkt }),
      ...(node.statement === undefined ? {} : { statement: statementDigest(node.statement) }),
      ...(grant === undefined
        ? {}
        : {
            grantDigest: createHash("sha256").update(grant).digest("base64url"),
            ...(grant.length <= MAX_LOGGED_GRANT_LENGTH ? { grant } : {}),
          }),
    },
  };
}
