// From what a client shows to the chain it stands for. Used by every door: the control API, the
// protocols' password fields, the subject of a token exchange.

import { GatewayError } from "../base/errors.ts";
import type { Secret } from "../base/secret.ts";
import type { Chain } from "./chain.ts";
import { looksLikeHandle, parseHandle, verifyHandle } from "./handles.ts";
import type { Tokens } from "./tokens.ts";
import type { Tree } from "./tree.ts";

/** Throws GatewayError: unauthenticated, dependency_unavailable. */
export type Authenticate = (credential: Secret) => Promise<Chain>;

const MAX_CREDENTIAL_LENGTH = 16_384;

export function createAuthenticate(tree: Tree, tokens: Tokens): Authenticate {
  return async (credential) => {
    const text = credential.reveal();
    if (text.length > MAX_CREDENTIAL_LENGTH) throw notOurs();
    if (looksLikeHandle(text)) return byHandle(tree, text);
    const token = await tokens.verify(text);
    const chain = tree.chain(token.delegationId);
    if (!token.agreesWith(chain)) throw notOurs();
    return chain;
  };
}

function byHandle(tree: Tree, text: string): Chain {
  const handle = parseHandle(text);
  if (handle === undefined) throw notOurs();
  // Whether it expired or was revoked is told only to who knows the secret.
  if (!verifyHandle(handle, tree.find(handle.delegationId)?.handleVerifier)) throw notOurs();
  return tree.chain(handle.delegationId);
}

function notOurs(): GatewayError {
  return new GatewayError("unauthenticated", "this credential is not one of this gateway's", {
    hint: "a person: custody login; an agent: ask the parent for a delegation",
  });
}
