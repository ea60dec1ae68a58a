// Who am I, what can I reach, and the tree below me.

import { GatewayError } from "../base/errors.ts";
import { type Chain, leafOf, rootOf } from "../delegation/chain.ts";
import { looksLikeHandle } from "../delegation/handles.ts";
import type { DelegationNode } from "../delegation/node.ts";
import type { ApiDeps } from "./deps.ts";
import type { Router } from "./routing.ts";
import { chainView, delegationView, grantView, targetView } from "./views.ts";

const MAX_LISTED = 1000;

export function addDelegationRoutes(router: Router, deps: ApiDeps): void {
  const { tree, lifecycle, people, tokens } = deps.delegations;
  const { registry } = deps.sessions;
  const view = (node: DelegationNode) =>
    delegationView(node, tree.status(node), registry.countUnder(node.id));

  router.holder("whoami", async ({ chain }) => ({
    delegation: view(own(deps, chain)),
    chain: chainView(chain).map((hop, depth) => {
      const grant = chain.hops[depth]?.grant;
      return { ...hop, grant: grant === undefined ? null : grantView(grant) };
    }),
    person: chain.hops.length === 1 ? (people().personOf(rootOf(chain)) ?? null) : null,
    administrator: deps.authority.mayAdminister(chain),
  }));
  router.holder("targets", async () => ({
    targets: [...deps.sessions.targets().values()].map(targetView),
    listeners: deps.sessions.listeners(),
  }));
  router.holder("delegations", async ({ chain }) => {
    const top = deps.authority.mayAdminister(chain) ? undefined : leafOf(chain).delegationId;
    const nodes = tree.subtree(top, MAX_LISTED + 1);
    return {
      delegations: nodes.slice(0, MAX_LISTED).map(view),
      truncated: nodes.length > MAX_LISTED,
    };
  });
  router.holder("delegation", async ({ chain, parameters }) => {
    const node = lifecycle.visible(chain, parameters.id ?? "");
    const { key, statement = null } = node;
    return { ...view(node), key: key === undefined ? null : { ...key.jwk }, statement };
  });
  router.holder("revokeDelegation", async ({ chain, parameters, body }) => {
    const done = lifecycle.revoke(chain, parameters.id ?? "", body.reason);
    return {
      delegation: view(done.node),
      revoked: done.revoked,
      sessionsEnded: done.sessionsEnded,
    };
  });
  router.holder("renewDelegation", async ({ chain, credential, parameters, body }) => {
    const ttlMs = body.expiresIn === undefined ? undefined : body.expiresIn * 1000;
    const node = lifecycle.renew(chain, parameters.id ?? "", ttlMs);
    // A token of the renewed node goes to its own holder only: for anybody else it would be a way to
    // act as the child.
    const isOwnJwt =
      node.id === leafOf(chain).delegationId && !looksLikeHandle(credential.reveal());
    if (!isOwnJwt) return { delegation: view(node) };
    return { delegation: view(node), accessToken: await tokens.sign(tree.chain(node.id)) };
  });
}

function own(deps: ApiDeps, chain: Chain): DelegationNode {
  const node = deps.delegations.tree.find(leafOf(chain).delegationId);
  if (node === undefined) throw new GatewayError("not_found", "this delegation is gone");
  return node;
}
