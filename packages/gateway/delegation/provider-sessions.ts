// What a provider's word does to the tree after the sign-in: refreshed groups reach live sessions, and
// a session ended at the provider ends everything that was derived from it (I9).

import type { Journal } from "../audit/journal.ts";
import { GatewayError } from "../base/errors.ts";
import type { Secret } from "../base/secret.ts";
import type { PresentedType } from "../identity/oidc.ts";
import type { SignIns } from "../identity/sign-ins.ts";
import type { Signal } from "../identity/signals.ts";
import { type Chain, depthOf, leafOf } from "./chain.ts";
import { leafChain } from "./leaf-chain.ts";
import type { DelegationNode } from "./node.ts";
import type { Tree } from "./tree.ts";

export interface ProviderSessionDeps {
  readonly tree: Tree;
  readonly signIns: SignIns;
  readonly journal: Journal;
  /** Ends what lives at or below the delegation; returns how many sessions. */
  readonly onRevoked: (delegationId: string, reason: string | undefined) => number;
  /** The chains at or below it are others now: other groups, a later end. */
  readonly onRefreshed: (delegationId: string) => void;
}

export interface ProviderSessions {
  /**
   * The caller's own sign-in, vouched for anew. Throws GatewayError: forbidden, invalid,
   * unauthenticated, dependency_unavailable.
   */
  refresh(caller: Chain, token: Secret, presented: PresentedType): Promise<DelegationNode>;
  /** How many delegations were revoked. Throws GatewayError: unauthenticated, dependency_unavailable. */
  end(signal: Signal): number;
  /**
   * What other providers vouched for ends: they are not in the configuration any more. How many
   * delegations were revoked. Throws GatewayError "dependency_unavailable".
   */
  keepOnly(providers: ReadonlySet<string>): number;
}

const REASONS: Readonly<Record<Signal["kind"], string>> = {
  logout: "signed out at the identity provider",
  "session-revoked": "the identity provider revoked the session",
};

export function createProviderSessions(deps: ProviderSessionDeps): ProviderSessions {
  return {
    async refresh(caller, token, presented) {
      const id = leafOf(caller).delegationId;
      if (depthOf(caller) > 0)
        throw new GatewayError("forbidden", "only the sign-in at the head of a chain is refreshed");
      const principal = await deps.signIns.verify(token, presented);
      const { node, groupsChanged } = deps.signIns.admit(
        principal,
        () => deps.tree.refresh(id, principal),
        () => id,
      );
      deps.onRefreshed(id);
      deps.journal.append({
        event: "delegation.renewed",
        chain: leafChain(caller),
        detail: { by: node.subject, expires: node.expiresAtMs, groupsRead: true, groupsChanged },
      });
      return node;
    },
    end(signal) {
      const ids = deps.signIns.end(signal);
      const how = { by: signal.provider, kind: signal.kind, reason: REASONS[signal.kind] };
      return ids.reduce((total, id) => total + revoke(deps, id, how), 0);
    },
    keepOnly(providers) {
      let total = 0;
      for (const [provider, ids] of deps.signIns.ofOthers(providers)) {
        const how = {
          by: provider,
          kind: "provider-removed",
          reason: `the identity provider ${provider} was taken out of the configuration`,
        };
        for (const id of ids) {
          const node = deps.tree.find(id);
          if (node !== undefined && deps.tree.status(node) === "active")
            total += revoke(deps, id, how);
        }
      }
      return total;
    },
  };
}

interface How {
  /** The provider. */
  readonly by: string;
  readonly kind: string;
  readonly reason: string;
}

function revoke(deps: ProviderSessionDeps, id: string, { by, kind, reason }: How): number {
  const path = deps.tree.path(id);
  const revoked = deps.tree.revoke(id, by, reason).length;
  const sessionsEnded = deps.onRevoked(id, reason);
  if (revoked > 0)
    deps.journal.append({
      event: "delegation.revoked",
      chain: path.map((node) => ({
        d: node.id,
        s: node.subject,
        k: node.kind,
        p: node.provenance,
      })),
      detail: { by, how: kind, revoked, sessionsEnded },
    });
  return revoked;
}
