// Opening and closing sessions on the control side: who is it, may it be there, one credential for it,
// and the book-keeping that lets a revocation end it.
//
// Owns the leases. Between the first check and the answer the chain may be revoked: the session is
// registered before the first wait and looked at again after the last.

import type { Journal, LeafDraft } from "../audit/journal.ts";
import type { Clock } from "../base/clock.ts";
import { GatewayError, toGatewayError } from "../base/errors.ts";
import { newId, type RandomBytes } from "../base/ids.ts";
import { Secret } from "../base/secret.ts";
import type { Authenticate, AuthenticateProof, ProvedHandle } from "../delegation/authenticate.ts";
import { type Chain, leafOf } from "../delegation/chain.ts";
import { leafChain } from "../delegation/leaf-chain.ts";
import type { AuthenticateOauth } from "../delegation/provider-token.ts";
import { type Protocol, speaks, type Target, type TargetOf } from "../target/target.ts";
import type { CredentialBroker, Lease } from "./broker.ts";
import type { Control, OpenedSession, OpenSession, SessionEvents } from "./control.ts";
import { createRefusedSignIns, type RefusedSignIns } from "./refused-sign-ins.ts";
import type { LiveSession, Registry } from "./registry.ts";
import { createRowCloser } from "./row-closer.ts";
import type { SessionStore } from "./store.ts";

export interface Place<P extends Protocol = Protocol> {
  readonly sessionId: string;
  readonly target: TargetOf<P>;
  readonly account: string;
  readonly clientAddress: string;
}

/** Where a session may go; a reload gives another. */
export interface Doorway {
  readonly targets: ReadonlyMap<string, Target>;
  /**
   * Whether grants and policies let the chain connect there, before a credential is made for it; the
   * message when not.
   */
  readonly mayConnect: (
    chain: Chain,
    place: Place,
  ) => { readonly allowed: boolean; readonly message?: string };
}

export interface SessionDeps {
  readonly authenticate: Authenticate;
  /** Absent: handles are taken as passwords only. */
  readonly authenticateProof?: AuthenticateProof;
  /** Absent: no token of others is taken. */
  readonly authenticateOauth?: AuthenticateOauth;
  /** The chain an SSH certificate of ours stands for. Throws GatewayError "unauthenticated". */
  readonly authenticateCertificate?: (certificate: Uint8Array, clientAddress: string) => Chain;
  /** The same of an X.509 certificate (DER). Throws GatewayError "unauthenticated". */
  readonly authenticateClientCertificate?: (certificate: Uint8Array) => Chain;
  readonly doorway: () => Doorway;
  readonly broker: CredentialBroker;
  readonly registry: Registry;
  readonly store: SessionStore;
  readonly journal: Journal;
}

export interface Sessions
  extends Pick<Control, "openSession" | "attachBackend" | "closeSession">,
    Required<Pick<Control, "commandCredential">>,
    Disposable {}

const ID_LENGTH = 12;
const MAX_REASON_LENGTH = 200;

export function createSessions(
  deps: SessionDeps,
  outside: { readonly clock: Clock; readonly random: RandomBytes },
): Sessions {
  const { clock, random } = outside;
  const leases = new Map<string, Held>();
  const refusals = createRefusedSignIns(deps.journal, clock);
  const rows = createRowCloser(deps.store);
  return {
    openSession: (request, events) =>
      open({ ...deps, leases, refusals }, newId("s", ID_LENGTH, random), request, events),
    attachBackend: (sessionId, processId) => leases.get(sessionId)?.lease.attach(processId),
    async commandCredential(sessionId, line) {
      const session = deps.registry.get(sessionId);
      const held = leases.get(sessionId);
      if (session === undefined || held === undefined)
        throw new GatewayError("not_found", "the session is over");
      assertStillOpen(deps.registry, session);
      return held.lease.forCommand?.(line);
    },
    async closeSession(sessionId, reason, recording) {
      const session = deps.registry.get(sessionId);
      if (session === undefined) return;
      const held = leases.get(sessionId);
      deps.registry.remove(sessionId);
      leases.delete(sessionId);
      const why = session.ending?.message ?? reason.slice(0, MAX_REASON_LENGTH);
      held?.record({
        event: "session.closed",
        session: sessionId,
        target: session.target,
        account: session.account,
        chain: leafChain(session.chain),
        outcome: session.ending?.code ?? "closed",
        ...(recording === undefined
          ? {}
          : { detail: { pieces: recording.pieces, digest: recording.digest } }),
      });
      rows.close(sessionId, clock.nowMs(), why);
      await held?.lease.release();
    },
    [Symbol.dispose]() {
      refusals[Symbol.dispose]();
      rows[Symbol.dispose]();
    },
  };
}

/** What a session has while it is open. */
interface Held {
  readonly lease: Lease;
  /** To the journal that the leaves of its commands go to. */
  readonly record: (leaf: LeafDraft) => void;
}

interface State extends SessionDeps {
  readonly leases: Map<string, Held>;
  readonly refusals: RefusedSignIns;
}

async function open(
  deps: State,
  sessionId: string,
  request: OpenSession,
  events: SessionEvents,
): Promise<OpenedSession> {
  let chain: Chain | undefined;
  try {
    const known = await whoIs(deps, request);
    chain = known.chain;
    const place = placeOf(deps.doorway(), chain, sessionId, request);
    const opened = await enter(deps, chain, place, request, events);
    return { ...opened, serverProof: known.serverProof };
  } catch (thrown) {
    const error = toGatewayError(thrown);
    const source = `${request.clientAddress} ${chain === undefined ? "" : leafOf(chain).delegationId}`;
    deps.refusals.tell(source, {
      event: "session.refused",
      session: sessionId,
      // Before it is known who asks, nothing of what they sent is written down.
      ...(chain === undefined ? {} : { target: request.target, chain: leafChain(chain) }),
      outcome: error.code,
    });
    throw error;
  }
}

async function whoIs(
  deps: State,
  { credential, clientAddress }: OpenSession,
): Promise<Pick<ProvedHandle, "chain"> & Partial<ProvedHandle>> {
  const { authenticate, authenticateCertificate, authenticateOauth, authenticateProof } = deps;
  if (credential instanceof Secret) return { chain: await authenticate(credential) };
  if (credential.kind === "oauth-token")
    return { chain: await (authenticateOauth ?? authenticate)(credential.token) };
  if (credential.kind === "handle-proof") {
    if (authenticateProof === undefined)
      throw new GatewayError("unauthenticated", "this gateway takes no proofs of handles");
    return authenticateProof(credential);
  }
  if (credential.kind === "client-certificate") {
    if (deps.authenticateClientCertificate === undefined)
      throw new GatewayError("unauthenticated", "this gateway knows no client certificates");
    return { chain: deps.authenticateClientCertificate(credential.certificate) };
  }
  if (authenticateCertificate === undefined)
    throw new GatewayError("unauthenticated", "this gateway knows no certificates");
  return { chain: authenticateCertificate(credential.certificate, clientAddress) };
}

/** Throws GatewayError: not_found, forbidden. */
export function placeOf<P extends Protocol>(
  doorway: Doorway,
  chain: Chain,
  sessionId: string,
  request: Pick<OpenSession, "target" | "account" | "database" | "clientAddress"> & {
    readonly protocol: P;
  },
): Place<P> {
  const target = doorway.targets.get(request.target);
  // Of a target behind another door no more is told than of one that is not there.
  if (target === undefined || !speaks(target, request.protocol))
    throw new GatewayError("not_found", `there is no target ${quoted(request.target)}`, {
      hint: "custody targets lists them",
    });
  const account = accountOf(target, request.account);
  if (!hasDatabase(target, request.database))
    throw new GatewayError(
      "not_found",
      `target ${target.name} has no database ${quoted(request.database)} for you`,
    );
  const { clientAddress } = request;
  const place = { sessionId, target, account, clientAddress };
  const verdict = doorway.mayConnect(chain, place);
  if (!verdict.allowed)
    throw new GatewayError(
      "forbidden",
      verdict.message ?? `this chain may not connect to ${account}~${target.name}`,
    );
  return place;
}

function hasDatabase(target: Target, database: string): boolean {
  if (target.protocol !== "postgres" || target.databases === undefined) return true;
  // Empty: all of the server, which is for the action `replicate` to permit.
  return database === "" || target.databases.includes(database);
}

function accountOf(target: Target, named: string | undefined): string {
  const names = target.accounts.map(({ name }) => name);
  if (named !== undefined && names.includes(named)) return named;
  const only = names.length === 1 ? names[0] : undefined;
  if (named === undefined && only !== undefined) return only;
  const what =
    named === undefined
      ? `target ${target.name} has several accounts`
      : `target ${target.name} has no account ${quoted(named)}`;
  throw new GatewayError("not_found", what, {
    hint: `give the user name as one of ${names.map((name) => `${name}~${target.name}`).join(", ")}`,
  });
}

async function enter(
  deps: State,
  chain: Chain,
  place: Place,
  request: OpenSession,
  events: SessionEvents,
): Promise<OpenedSession> {
  const { sessionId, target, account, clientAddress } = place;
  const { database } = request;
  const session = deps.registry.add(
    { id: sessionId, chain, target: target.name, account, database, clientAddress },
    events,
  );
  let lease: Lease | undefined;
  try {
    const { expiresAtMs } = session;
    lease = await deps.broker.lease({ sessionId, target, account, chain, expiresAtMs });
    assertStillOpen(deps.registry, session);
    deps.store.insert({
      ...session,
      id: sessionId,
      protocol: request.protocol,
      delegationId: leafOf(chain).delegationId,
      closedAtMs: undefined,
      closeReason: undefined,
    });
  } catch (thrown) {
    deps.registry.remove(sessionId);
    await lease?.release();
    throw thrown;
  }
  const record = events.record ?? ((leaf: LeafDraft) => void deps.journal.append(leaf));
  deps.leases.set(sessionId, { lease, record });
  record({
    event: "session.opened",
    session: sessionId,
    target: target.name,
    account,
    chain: leafChain(chain),
  });
  return {
    sessionId,
    chain,
    account,
    expiresAtMs: session.expiresAtMs,
    upstream: lease.credential,
  };
}

function assertStillOpen(registry: Registry, session: LiveSession): void {
  const { ending } = registry.get(session.id) ?? {};
  if (ending === undefined) return;
  throw new GatewayError(ending.code, ending.message, {
    ...(ending.hint === undefined ? {} : { hint: ending.hint }),
  });
}

/** What a client sent, bounded, in a message. */
function quoted(text: string): string {
  return JSON.stringify(text.length > 64 ? `${text.slice(0, 64)}…` : text);
}
