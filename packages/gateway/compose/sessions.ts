// Sessions and what they need of targets: credentials, the register of who is where, what ends them,
// and the approvals they wait for.

import { join } from "node:path";
import type { ControlAccess } from "../access/control.ts";
import type { Access } from "../access/operation.ts";
import { type Approvals, createApprovals } from "../approval/approvals.ts";
import type { Journal } from "../audit/journal.ts";
import { systemRandom } from "../base/ids.ts";
import type { ClientAuthority } from "../config/client-authority.ts";
import type { Config } from "../config/config.ts";
import { createSecretResolver } from "../credential/secrets.ts";
import type { SshKeys } from "../credential/ssh-keys.ts";
import { openStandingConnections } from "../credential/standing.ts";
import { createAuthenticateProof } from "../delegation/authenticate.ts";
import { type Chain, leafOf } from "../delegation/chain.ts";
import { createLifecycle, type Lifecycle } from "../delegation/lifecycle.ts";
import { createProviderSessions, type ProviderSessions } from "../delegation/provider-sessions.ts";
import { createAuthenticateOauth } from "../delegation/provider-token.ts";
import type { People } from "../identity/people.ts";
import type { SignIns } from "../identity/sign-ins.ts";
import {
  createKubernetesBroker,
  type KubernetesBroker,
} from "../proxy/kubernetes/session-credentials.ts";
import { openClassMemory } from "../proxy/postgres/class-memory.ts";
import {
  type CatalogueReader,
  catalogueOver,
  type Databases,
  openDatabases,
} from "../proxy/postgres/databases.ts";
import { createPostgresBroker, type PostgresBroker } from "../proxy/postgres/session-roles.ts";
import { delegationOf } from "../proxy/ssh/certificates.ts";
import { createSshBroker } from "../proxy/ssh/session-credentials.ts";
import { type Brokers, brokerOf } from "../session/broker.ts";
import { createDoorSignIns, type DoorSignIns } from "../session/door-sign-ins.ts";
import { createParticipants, type Participants } from "../session/participants.ts";
import { createRegistry, type Registry } from "../session/registry.ts";
import { createSessions, type Doorway, type Sessions } from "../session/sessions.ts";
import type { Store } from "../store/store.ts";
import { answer, mayConnect } from "./authority.ts";
import type { DelegationParts } from "./delegation.ts";
import type { Outside } from "./outside.ts";

export interface SessionsParts {
  /** What runs on targets for sessions, and what an earlier run left there. */
  readonly brokers: Brokers & {
    readonly postgres: PostgresBroker;
    readonly kubernetes: KubernetesBroker;
  };
  readonly registry: Registry;
  readonly lifecycle: Lifecycle;
  readonly providerSessions: ProviderSessions;
  readonly sessions: Sessions;
  readonly approvals: Approvals;
  readonly participants: Participants;
  readonly doorSignIns: DoorSignIns;
  readonly catalogue: CatalogueReader;
  readonly databases: Databases;
  readonly doorway: () => Doorway;
}

export interface SessionsDeps {
  readonly delegation: DelegationParts;
  readonly signIns: SignIns;
  readonly store: Store;
  readonly journal: Journal;
  readonly access: Access;
  readonly control: ControlAccess;
  /** What a reload replaces. */
  readonly live: { readonly config: () => Config; readonly people: () => People };
  readonly outside: Outside;
  readonly sshKeys: SshKeys;
  readonly clientAuthority: ClientAuthority;
  /** Tells this gateway's session roles from another's. */
  readonly instance: string;
}

export function composeSessions(deps: SessionsDeps, stack: AsyncDisposableStack): SessionsParts {
  const { access, journal, live, outside, store } = deps;
  const { authenticate, tree } = deps.delegation;
  const { limits } = live.config();
  const targets = composeTargets(deps, stack);
  const brokers = {
    postgres: targets.broker,
    ssh: targets.sshBroker,
    kubernetes: targets.kubernetesBroker,
  };
  const broker = brokerOf(brokers);
  const registry = stack.use(
    createRegistry({
      clock: outside.clock,
      limits,
      endBackends: (sessionIds) => broker.endBackends(sessionIds),
      aliveUntil: (delegationId) => tree.aliveUntil(delegationId),
      chain: (delegationId) => tree.unrevoked(delegationId),
      onFault: outside.onFault,
    }),
  );
  const onRevoked = (delegationId: string, reason: string | undefined): number => {
    const ended = registry.endUnder(delegationId, {
      code: "revoked",
      message: "the delegation of this session was revoked",
      hint: reason === undefined ? "sign in again, or ask the parent for another" : reason,
    });
    approvals.revoked(delegationId);
    return ended;
  };
  const lifecycle = createLifecycle({
    tree,
    journal,
    mayAdminister: (chain) => deps.control.mayAdminister(chain).allowed,
    onRevoked,
    onRenewed: (delegationId) => registry.renewed(delegationId),
  });
  const providerSessions = createProviderSessions({
    tree,
    signIns: deps.signIns,
    journal,
    onRevoked,
    onRefreshed: (delegationId) => registry.refreshed(delegationId),
  });
  const doorway = (): Doorway => ({
    targets: live.config().targets,
    mayConnect: (chain, place) => mayConnect(access, chain, place),
  });
  const sessions = stack.use(
    createSessions(
      {
        authenticate,
        authenticateProof: createAuthenticateProof(tree),
        authenticateOauth: createAuthenticateOauth({
          ...{ authenticate, tree, exchange: deps.delegation.exchange, clock: outside.clock },
          shownTokens: store.shownTokens,
          providerIssuer() {
            const { postgres, providers } = live.config();
            return providers.get(postgres.oauthProvider ?? "")?.issuer;
          },
        }),
        authenticateCertificate: (certificate, clientAddress) =>
          tree.chain(
            delegationOf(outside, deps.sshKeys.userCa, Buffer.from(certificate), clientAddress),
          ),
        authenticateClientCertificate: (certificate) =>
          tree.chain(deps.clientAuthority.delegationOf(certificate, outside.clock.nowMs())),
        doorway,
        broker,
        registry,
        store: store.sessions,
        journal,
      },
      { clock: outside.clock, random: systemRandom },
    ),
  );
  const approvals = stack.use(composeApprovals(deps, registry));
  const participants = createParticipants({
    ...{ registry, journal, random: systemRandom },
    isAlive: (delegationId) => (tree.aliveUntil(delegationId) ?? 0) > outside.clock.nowMs(),
  });
  const doorSignIns = createDoorSignIns({
    ...{ clock: outside.clock, random: systemRandom, exchange: deps.delegation.exchange },
    providers: () => live.config().providers.values(),
    revoke: (chain) =>
      void lifecycle.revoke(chain, leafOf(chain).delegationId, "the connection has ended"),
  });
  const databases = stack.use(targets.openDatabases());
  return {
    ...{ brokers, registry, lifecycle, providerSessions },
    ...{
      sessions,
      approvals,
      participants,
      doorSignIns,
      databases,
      doorway,
      catalogue: targets.catalogue,
    },
  };
}

/** A session keeps the catalogue and classes it began with, so one of a changed target ends. */
export function endChangedTargets(
  { databases, registry }: Pick<SessionsParts, "databases" | "registry">,
  before: Config,
  after: Config,
): void {
  for (const [name, target] of before.targets) {
    if (JSON.stringify(target) === JSON.stringify(after.targets.get(name))) continue;
    databases.forget(name);
    for (const session of registry.under(undefined))
      if (session.target === name)
        registry.end(session.id, {
          code: "shutdown",
          message: `the configuration of target ${name} changed`,
          hint: "connect again",
        });
  }
}

/** The gateway's own logins at targets, and what they are used for. */
function composeTargets(deps: SessionsDeps, stack: AsyncDisposableStack) {
  const { instance, live } = deps;
  const { clock, environment, log } = deps.outside;
  const { limits, dataDirectory } = live.config();
  const resolveSecret = createSecretResolver({
    dataDirectory,
    environment,
    timeoutMs: limits.secretTimeoutMs,
  });
  const standing = stack.use(
    openStandingConnections({
      resolveSecret,
      connectTimeoutMs: limits.targetConnectTimeoutMs,
      queryTimeoutMs: limits.targetConnectTimeoutMs,
    }),
  );
  // Of many thousand objects, or by a busy server, it takes longer than connecting may.
  const catalogue = catalogueOver({
    query: (target, login, database, sql) =>
      standing.query(target, login, database, sql, [], limits.catalogueTimeoutMs),
  });
  return {
    catalogue,
    broker: createPostgresBroker({
      standing,
      resolveSecret,
      random: systemRandom,
      clock,
      instance,
      log,
    }),
    sshBroker: createSshBroker({
      targetCa: deps.sshKeys.targetCa,
      resolveSecret,
      random: systemRandom,
      clock,
    }),
    kubernetesBroker: stack.use(
      createKubernetesBroker({
        ...{ resolveSecret, clock, instance, log, timeoutMs: limits.targetConnectTimeoutMs },
        folder: join(dataDirectory, "bound-secrets"),
      }),
    ),
    openDatabases: () =>
      openDatabases({
        ...{ catalogue, clock, limits, log },
        masks: () => live.config().masks,
        memory: openClassMemory(join(dataDirectory, "classes"), process.pid),
      }),
  };
}

function composeApprovals(deps: SessionsDeps, registry: Registry): Approvals {
  const { control, journal, live, outside, store } = deps;
  const { tree } = deps.delegation;
  return createApprovals({
    store: store.approvals,
    chains: {
      ofSession: (sessionId) => registry.chainOf(sessionId),
      unrevoked: (delegationId) => tree.unrevoked(delegationId),
    },
    people: live.people,
    mayApprove: (approver: Chain, request) => {
      const target = live.config().targets.get(request.target);
      const facts = { name: request.target, tags: target?.tags ?? {} };
      return answer(control.mayApprove(approver, facts, request.requirements));
    },
    journal,
    outside: {
      clock: outside.clock,
      random: systemRandom,
      holdsPerDelegation: live.config().limits.holdsPerDelegation,
      onFault: outside.onFault,
    },
  });
}
