// From what a client shows to the chain it stands for. Used by every door: the control API, the
// protocols' password fields, the subject of a token exchange.
//
// A delegation that is bound to a key is worth nothing without a proof of it: over HTTP a DPoP proof
// (proof.ts), in a password field a presentation (credential.ts).

import type { Journal } from "../audit/journal.ts";
import type { Clock } from "../base/clock.ts";
import { GatewayError } from "../base/errors.ts";
import type { Secret } from "../base/secret.ts";
import type { Chain } from "./chain.ts";
import { leafOf } from "./chain.ts";
import { createdLeaf } from "./created-leaf.ts";
import { type Presented, parseCredential, verifyPresentation } from "./credential.ts";
import { type HandleProof, verifyProof } from "./handle-proof.ts";
import { parseHandle, verifyHandle } from "./handles.ts";
import type { PublicKey } from "./key.ts";
import { type OfflineDeps, registerSignedChain, verifySignedChain } from "./offline.ts";
import type { Tokens } from "./tokens.ts";
import type { Minted, Tree } from "./tree.ts";

/** How the holder's key was proved besides what the credential itself says. */
export type Shown =
  /** A DPoP proof about this credential, checked, was made with this key. */
  | { readonly jkt: string }
  /** What is asked does no good to a thief (to give a token back), or is proved otherwise. */
  | "unproved-will-do";

/** Throws GatewayError: unauthenticated, dependency_unavailable. */
export type Authenticate = (credential: Secret, shown?: Shown) => Promise<Chain>;

export interface AuthenticateDeps {
  readonly tree: Tree;
  readonly tokens: Tokens;
  readonly journal: Journal;
  readonly clock: Clock;
  /** Whether policies let this chain delegate: asked when a child that it signed offline first shows. */
  readonly mayDelegate: OfflineDeps["mayDelegate"];
}

/** A handle that was proved and not shown. Throws GatewayError "unauthenticated". */
export type AuthenticateProof = (shown: HandleProof) => ProvedHandle;

export interface ProvedHandle {
  readonly chain: Chain;
  /** What proves to the client that it speaks to who knows its handle. */
  readonly serverProof: Uint8Array;
}

const MAX_CREDENTIAL_LENGTH = 16_384;

export function createAuthenticate(deps: AuthenticateDeps): Authenticate {
  const { tree, tokens, journal, clock, mayDelegate } = deps;
  const { issuer } = tokens;
  const onCreated = (minted: Minted) => journal.append(createdLeaf(minted, "offline"));
  const offline: OfflineDeps = { tree, issuer, mayDelegate, onCreated };
  const provePresented = (presented: Presented, key: PublicKey | undefined, shown?: Shown) =>
    prove(presented, key, shown, issuer, clock.nowMs());
  return async (credential, shown) => {
    const text = credential.reveal();
    if (text.length > MAX_CREDENTIAL_LENGTH) throw notOurs();
    const presented = parseCredential(text);
    if (presented === undefined) throw notOurs();
    const { base } = presented;
    if (base.kind === "statements") {
      const signed = await verifySignedChain(offline, base.texts);
      await provePresented(presented, signed.key, shown);
      return registerSignedChain(offline, signed);
    }
    const chain =
      base.kind === "handle" ? byHandle(tree, base.text) : await byToken(tree, tokens, base.text);
    await provePresented(presented, tree.find(leafOf(chain).delegationId)?.key, shown);
    return chain;
  };
}

export function createAuthenticateProof(tree: Tree): AuthenticateProof {
  return (shown) => {
    const node = tree.find(shown.delegationId);
    const serverProof = verifyProof(shown, node?.proofKeys);
    // Whether it expired or was revoked is told only to who knows the secret.
    if (serverProof === undefined) throw notOurs();
    const chain = tree.chain(shown.delegationId);
    if (node?.key !== undefined) throw keyNotProved();
    return { chain, serverProof };
  };
}

async function prove(
  presented: Presented,
  key: PublicKey | undefined,
  shown: Shown | undefined,
  issuer: string,
  nowMs: number,
): Promise<void> {
  const { presentation } = presented;
  if (key === undefined) {
    // RFC 9449 section 7.1: a token without a key is not to pass for one that has been proved.
    if (presentation === undefined && typeof shown !== "object") return;
    throw new GatewayError("unauthenticated", "this delegation is bound to no key to be proved");
  }
  // Statements are no secret: unproved they are worth nothing for anything.
  if (shown === "unproved-will-do" && presented.base.kind !== "statements") return;
  if (typeof shown === "object") {
    if (shown.jkt === key.jkt) return;
    throw new GatewayError("unauthenticated", "the key proved is not the one of this delegation");
  }
  if (presentation === undefined) throw keyNotProved();
  await verifyPresentation({ ...presented, presentation }, key, issuer, nowMs);
}

async function byToken(tree: Tree, tokens: Tokens, text: string): Promise<Chain> {
  const token = await tokens.verify(text);
  const chain = tree.chain(token.delegationId);
  if (!token.agreesWith(chain)) throw notOurs();
  return chain;
}

function byHandle(tree: Tree, text: string): Chain {
  const handle = parseHandle(text);
  if (handle === undefined) throw notOurs();
  // Whether it expired or was revoked is told only to who knows the secret.
  if (!verifyHandle(handle, tree.find(handle.delegationId)?.handleVerifier)) throw notOurs();
  return tree.chain(handle.delegationId);
}

function keyNotProved(): GatewayError {
  return new GatewayError(
    "unauthenticated",
    "this delegation is bound to a key, and the key was not proved",
    { hint: "with its key: custody token" },
  );
}

function notOurs(): GatewayError {
  return new GatewayError("unauthenticated", "this credential is not one of this gateway's", {
    hint: "a person: custody login; an agent: ask the parent for a delegation",
  });
}
