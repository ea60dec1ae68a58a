// Delegations that were signed without asking: a chain of hop statements, each by the key of the one
// above, the topmost by a delegation that is registered here. At first use the whole chain is checked and
// each hop made a node of the tree, so that it is listed, judged and revoked like any other; after that it
// is the node that counts. Only below roots that allow it.
//
// A hop is registered only when the key of the leaf was proved: otherwise anybody who saw a statement, which
// is no secret, could bring the delegations in it to life.

import { GatewayError } from "../base/errors.ts";
import type { Chain } from "./chain.ts";
import { type HopStatement, statementNodeId, verifyStatement } from "./hop-statement.ts";
import type { PublicKey } from "./key.ts";
import { isRefused, type Minted, type Tree } from "./tree.ts";

export interface OfflineDeps {
  readonly tree: Tree;
  readonly issuer: string;
  /** Whether policies let this chain delegate; asked for each parent that signed. */
  readonly mayDelegate: (chain: Chain) => { readonly allowed: boolean; readonly message?: string };
  /** A hop that was not known before: it goes on record. */
  readonly onCreated: (minted: Minted) => void;
}

/** A chain whose signatures fit one another; whether it fits the tree is checked when it is registered. */
export interface SignedChain {
  readonly statements: readonly HopStatement[];
  /** Of the last one. */
  readonly key: PublicKey;
}

// An agent's claimed name cannot be taken for a user's or a workload's id: no "@" and no "/".
export const AGENT_NAME = /^[A-Za-z0-9]([A-Za-z0-9 ._:-]{0,62}[A-Za-z0-9])?$/;

/** Throws GatewayError "unauthenticated". */
export async function verifySignedChain(
  deps: Pick<OfflineDeps, "tree" | "issuer">,
  texts: readonly [string, ...string[]],
): Promise<SignedChain> {
  let signer = signerOfFirst(deps.tree, texts[0]);
  const statements: HopStatement[] = [];
  for (const text of texts) {
    const statement = await verifyStatement(text, signer, deps.issuer).catch(asUnauthenticated);
    const above = statements[statements.length - 1];
    if (above !== undefined && statement.parentId !== above.delegationId)
      throw refused("parent: a statement is not about a child of the one before it");
    if (statement.key === undefined) throw refused("cnf: a child of this kind has a key");
    signer = statement.key;
    statements.push(statement);
  }
  return { statements, key: signer };
}

/** Call it when the key of the leaf was proved. Throws GatewayError: unauthenticated. */
export function registerSignedChain(deps: OfflineDeps, chain: SignedChain): Chain {
  const { tree } = deps;
  for (const statement of chain.statements) {
    const known = tree.find(statement.delegationId);
    if (known === undefined) register(deps, statement);
    else if (known.statement !== statement.text) throw refused("it is not the one that is known");
  }
  const leaf = chain.statements[chain.statements.length - 1];
  return tree.chain(leaf?.delegationId ?? "");
}

function register(deps: OfflineDeps, statement: HopStatement): void {
  const { actor } = statement;
  if (actor.kind !== "agent" || !AGENT_NAME.test(actor.name))
    throw refused("actor: expected an agent's name of letters, digits, spaces and . _ : -");
  const verdict = deps.mayDelegate(deps.tree.chain(statement.parentId));
  if (!verdict.allowed) throw refused(verdict.message ?? "policies do not let its parent delegate");
  const made = deps.tree.delegate(statement.parentId, {
    actor: { kind: "agent", name: actor.name },
    grant: statement.grant,
    ttlMs: undefined,
    shape: "jwt",
    statement,
    offline: true,
  });
  if (isRefused(made)) throw refused(made.message);
  deps.onCreated(made);
}

/** The key of the registered delegation that signed the first; where the first is known, its parent's. */
function signerOfFirst(tree: Tree, text: string): PublicKey {
  const known = tree.find(statementNodeId(text));
  const parentId = known?.parentId ?? claimedParent(text);
  const signer = parentId === undefined ? undefined : tree.find(parentId)?.key;
  if (signer === undefined) throw refused("its first statement is by nobody that is known here");
  return signer;
}

/** Unverified: it only chooses the key that the signature is checked with. */
function claimedParent(text: string): string | undefined {
  try {
    const claims: unknown = JSON.parse(
      Buffer.from(text.split(".")[1] ?? "", "base64url").toString("utf8"),
    );
    const { parent } = Object(claims);
    return typeof parent === "string" ? parent : undefined;
  } catch {
    return undefined;
  }
}

function asUnauthenticated(thrown: unknown): never {
  if (thrown instanceof GatewayError && thrown.code === "invalid")
    throw new GatewayError("unauthenticated", thrown.message, { cause: thrown });
  throw thrown;
}

function refused(why: string): GatewayError {
  return new GatewayError("unauthenticated", `this offline delegation is not accepted: ${why}`, {
    hint: "ask the parent for another one",
  });
}
