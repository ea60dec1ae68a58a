// The gateway's control side for tests: a real store, journal and HTTPS listener in a folder of their
// own, with what other parts bring (policies, targets, credentials) given by the test.

import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { Leaf } from "@custody/evidence/core/leaf.ts";
import { ED25519, formatKey } from "@custody/evidence/core/note.ts";
import { startApi } from "@custody/gateway/api/server.ts";
import { createApprovals } from "@custody/gateway/approval/approvals.ts";
import type { MayApprove } from "@custody/gateway/approval/eligibility.ts";
import { openJournal } from "@custody/gateway/audit/journal-writer.ts";
import type { Clock } from "@custody/gateway/base/clock.ts";
import { GatewayError } from "@custody/gateway/base/errors.ts";
import { systemRandom } from "@custody/gateway/base/ids.ts";
import { Secret } from "@custody/gateway/base/secret.ts";
import { openClientAuthority } from "@custody/gateway/config/client-authority.ts";
import type { Provider } from "@custody/gateway/config/config.ts";
import {
  createAuthenticate,
  createAuthenticateProof,
} from "@custody/gateway/delegation/authenticate.ts";
import { type Chain, depthOf, leafOf, rootOf } from "@custody/gateway/delegation/chain.ts";
import { createExchange } from "@custody/gateway/delegation/exchange.ts";
import { createLifecycle } from "@custody/gateway/delegation/lifecycle.ts";
import { createKeyProofs } from "@custody/gateway/delegation/proof.ts";
import { createProviderSessions } from "@custody/gateway/delegation/provider-sessions.ts";
import { createAuthenticateOauth } from "@custody/gateway/delegation/provider-token.ts";
import { openSigningKey } from "@custody/gateway/delegation/signing-key.ts";
import { createTokens } from "@custody/gateway/delegation/tokens.ts";
import { createTree, type TreeLimits } from "@custody/gateway/delegation/tree.ts";
import { createIdentity } from "@custody/gateway/identity/oidc.ts";
import { createPeople } from "@custody/gateway/identity/people.ts";
import type { Saml } from "@custody/gateway/identity/saml.ts";
import { createSignIns } from "@custody/gateway/identity/sign-ins.ts";
import { createErasures } from "@custody/gateway/recording/erasures.ts";
import { loadRecordingKeys } from "@custody/gateway/recording/recording-keys.ts";
import type { CredentialBroker } from "@custody/gateway/session/broker.ts";
import { createControl } from "@custody/gateway/session/create-control.ts";
import { createDoorSignIns } from "@custody/gateway/session/door-sign-ins.ts";
import { createParticipants } from "@custody/gateway/session/participants.ts";
import { createRecentDenials } from "@custody/gateway/session/recent-denials.ts";
import { createRegistry } from "@custody/gateway/session/registry.ts";
import { createSessions } from "@custody/gateway/session/sessions.ts";
import { openStore } from "@custody/gateway/store/store.ts";
import type { PostgresTarget, Target } from "@custody/gateway/target/target.ts";
import { createTestAuthority } from "./certificates.ts";

export const HOUR_MS = 3_600_000;

export interface ControlSideOptions {
  readonly providers?: readonly Provider[];
  readonly people?: Readonly<Record<string, readonly string[]>>;
  readonly targets?: readonly Target[];
  readonly limits?: Partial<TreeLimits>;
  readonly sessionsPerDelegation?: number;
  readonly mayApprove?: MayApprove;
  /** Members of this group administer and replay. */
  readonly administrators?: string;
  readonly mayConnect?: (chain: Chain) => { readonly allowed: boolean; readonly message?: string };
  readonly mayDelegate?: (chain: Chain) => { readonly allowed: boolean; readonly message?: string };
  readonly broker?: CredentialBroker;
  /** Whose access tokens the doors take. */
  readonly oauthIssuer?: string;
  readonly saml?: (clock: Clock) => Promise<Saml>;
}

/** A clock that a test moves. */
export function testClock(startMs = Date.now()): Clock & { advance(byMs: number): void } {
  let passedMs = 0;
  return {
    nowMs: () => startMs + passedMs,
    monotonicMs: () => passedMs,
    advance: (byMs) => {
      passedMs += byMs;
    },
  };
}

export function testTarget(name = "orders"): PostgresTarget {
  const admin = {
    user: "admin",
    password: { from: "env", name: "NONE" } as const,
    database: "shop",
  };
  return {
    protocol: "postgres",
    name,
    host: "127.0.0.1",
    port: 5432,
    tls: { mode: "insecure-plaintext" },
    databases: ["shop"],
    searchPath: ["public"],
    accounts: [{ name: "ro", credential: { kind: "session-role", profile: "reader", admin } }],
    catalogue: admin,
    classify: [
      {
        database: undefined,
        schema: "public",
        table: "customers",
        column: "email",
        class: "pii.email",
      },
    ],
    tags: { env: "test" },
  };
}

/** Gives every session a password of its own and writes down what was asked of it. */
export function recordingBroker(): CredentialBroker & {
  readonly ended: string[][];
  readonly released: string[];
} {
  const ended: string[][] = [];
  const released: string[] = [];
  return {
    ended,
    released,
    lease: async ({ sessionId }) => ({
      credential: {
        kind: "password",
        user: `custody_${sessionId}`,
        password: new Secret("made for this session"),
      },
      attach: () => undefined,
      release: async () => {
        released.push(sessionId);
      },
    }),
    endBackends: async (sessionIds) => {
      ended.push([...sessionIds]);
    },
  };
}

export async function startControlSide(options: ControlSideOptions = {}) {
  await using undo = new AsyncDisposableStack();
  const directory = await mkdtemp(join(tmpdir(), "custody-control-"));
  undo.defer(() => rm(directory, { recursive: true, force: true }));
  const clock = testClock();
  const random = systemRandom;
  const faults: unknown[] = [];
  const onFault = (thrown: unknown): void => {
    faults.push(thrown);
  };
  const onFailure = onFault;
  const journal = undo.use(await openJournal({ directory, worker: 0, clock, onFailure }));
  const leaves: Record<string, unknown>[] = [];
  journal.tail((leafJson) => leaves.push(JSON.parse(leafJson)));
  const store = undo.use(openStore(directory));
  const identity = undo.use(
    createIdentity(
      options.providers ?? [],
      { clockSkewMs: 30_000, providerStaleMs: 12 * HOUR_MS },
      clock,
    ),
  );
  const people = createPeople(new Map(Object.entries(options.people ?? {})));
  const limits: TreeLimits = {
    delegationDepth: 8,
    delegationFanOut: 100,
    delegationTtlMs: HOUR_MS,
    delegationMaxTtlMs: 12 * HOUR_MS,
    signInTtlMs: 12 * HOUR_MS,
    ...options.limits,
  };
  const saml = await options.saml?.(clock);
  const signIns = createSignIns(identity, store.signIns, () => saml);
  const tree = createTree({ store: store.delegations, clock, random, limits });
  const key = await openSigningKey(join(directory, "keys", "delegation.key"), clock);
  const issuer = "https://custody.test";
  const tokens = createTokens({ key, issuer, clock, random });
  const mayDelegate = options.mayDelegate ?? (() => ({ allowed: true }));
  const authenticate = createAuthenticate({ tree, tokens, journal, clock, mayDelegate });
  const exchange = createExchange({
    tree,
    tokens,
    identity: signIns,
    authenticate,
    journal,
    mayDelegate,
    nowMs: clock.nowMs,
  });
  const clientAuthority = await openClientAuthority(directory, clock.nowMs());
  const broker = options.broker ?? recordingBroker();
  const registry = undo.use(
    createRegistry({
      clock,
      limits: {
        sessionsPerDelegation: options.sessionsPerDelegation ?? 100,
        sessionMaxMs: 12 * HOUR_MS,
      },
      endBackends: (sessionIds) => broker.endBackends(sessionIds),
      aliveUntil: tree.aliveUntil,
      chain: tree.unrevoked,
      onFault,
    }),
  );
  const targets = new Map((options.targets ?? [testTarget()]).map((one) => [one.name, one]));
  const mayConnect = options.mayConnect ?? (() => ({ allowed: true }));
  const doorway = () => ({ targets, mayConnect });
  const sessions = undo.use(
    createSessions(
      {
        ...{ authenticate, doorway, broker, registry, store: store.sessions, journal },
        authenticateProof: createAuthenticateProof(tree),
        authenticateClientCertificate: (certificate) =>
          tree.chain(clientAuthority.delegationOf(certificate, clock.nowMs())),
        authenticateOauth: createAuthenticateOauth({
          ...{ authenticate, clock, exchange, tree, shownTokens: store.shownTokens },
          providerIssuer: () => options.oauthIssuer,
        }),
      },
      { clock, random },
    ),
  );
  const approvals = undo.use(
    createApprovals({
      store: store.approvals,
      chains: { ofSession: registry.chainOf, unrevoked: tree.unrevoked },
      people: () => people,
      mayApprove: options.mayApprove ?? (() => ({ allowed: true })),
      journal,
      outside: { clock, random, holdsPerDelegation: 20, onFault },
    }),
  );
  const mayAdminister = (chain: Chain): boolean =>
    depthOf(chain) === 0 && rootOf(chain).groups.includes(options.administrators ?? "none");
  const onRevoked = (delegationId: string): number => {
    const message = "the delegation was revoked";
    const count = registry.endUnder(delegationId, { code: "revoked", message, hint: undefined });
    approvals.revoked(delegationId);
    return count;
  };
  const lifecycle = createLifecycle({
    tree,
    journal,
    mayAdminister,
    onRevoked,
    onRenewed: registry.renewed,
  });
  const providerSessions = createProviderSessions({
    tree,
    signIns,
    journal,
    onRevoked,
    onRefreshed: registry.refreshed,
  });
  const denials = createRecentDenials(clock);
  const participants = createParticipants({
    ...{ registry, journal, random: systemRandom },
    isAlive: (delegationId) => (tree.aliveUntil(delegationId) ?? 0) > clock.nowMs(),
  });
  const control = createControl(
    sessions,
    approvals,
    denials,
    createDoorSignIns({
      ...{ clock, exchange, random: systemRandom, providers: () => options.providers ?? [] },
      revoke: (chain) => void lifecycle.revoke(chain, leafOf(chain).delegationId, undefined),
    }),
    participants,
  );
  const authority = createTestAuthority("Throw-away CA of a test control side");
  let certificate = authority.issue(["localhost", "127.0.0.1"]);
  const renewed = new Set<() => void>();
  const tls = {
    current: () => certificate,
    onRenew: (listener: () => void) => {
      renewed.add(listener);
      return () => renewed.delete(listener);
    },
  };
  const keyProofs = createKeyProofs(clock);
  const providers = {
    all: () => options.providers ?? [],
    signal: identity.signal,
    sessions: providerSessions,
    saml,
  };
  const parts = {
    tree,
    tokens,
    exchange,
    lifecycle,
    authenticate,
    keyProofs,
    people: () => people,
    providers,
  };
  const api = undo.use(
    await startApi(
      {
        delegations: parts,
        approvals,
        sessions: {
          registry,
          participants,
          store: store.sessions,
          targets: () => targets,
          listeners: () => ({ postgres: { host: "127.0.0.1", port: 7432 } }),
        },
        explaining: {
          denials,
          dryRun: async () => {
            throw new GatewayError("target_unavailable", "there is no target behind this");
          },
        },
        evidence: {
          journal,
          logDirectory: join(directory, "log"),
          vkey: () => formatKey("custody.test", ED25519, new Uint8Array(32)),
          async *readRecording(sessionId) {
            yield { t: clock.nowMs(), kind: "session", session: sessionId };
          },
          saidIn: async (_sessionId, text) => text === "session",
          // The log behind this is what the journal has had so far.
          async *leaves() {
            yield* leaves as unknown as Leaf[];
          },
          erasures: createErasures({
            ...{ dataDirectory: directory, journal, store: store.erasures },
            keys: await loadRecordingKeys(directory, systemRandom),
            nowMs: () => clock.nowMs(),
            liveSessions: () => registry.under(undefined).map(({ id }) => id),
          }),
          exportEvidence() {
            throw new GatewayError("evidence_unavailable", "there is no log behind this");
          },
        },
        authority: {
          mayAdminister,
          mayReplay: mayAdminister,
          mayTakePart: mayAdminister,
          mayUnmask: mayAdminister,
        },
        clientAuthority,
        outside: {
          clock,
          tls,
          limits: { apiBodyBytes: 128 * 1024, apiRequestsPerMinute: 400 },
          ready: () => ({ store: true }),
          onFault,
        },
      },
      { host: "127.0.0.1", port: 0 },
    ),
  );
  const kept = undo.move();
  return {
    ...parts,
    directory,
    clock,
    faults,
    journal,
    store,
    identity,
    registry,
    approvals,
    control,
    broker,
    issuer,
    key,
    clientAuthority,
    ca: authority.cert,
    renewCertificate() {
      certificate = authority.issue(["localhost", "127.0.0.1"]);
      for (const listener of renewed) listener();
    },
    url: `https://127.0.0.1:${api.port}`,
    /** Leaves in the journal since the start, oldest first. */
    async leaves(): Promise<readonly Record<string, unknown>[]> {
      await journal.settled();
      return leaves;
    },
    [Symbol.asyncDispose]: () => kept.disposeAsync(),
  };
}

export type ControlSide = Awaited<ReturnType<typeof startControlSide>>;
