// The only place where the objects are put together. Control (store, delegations, approvals,
// credentials, log) and data (listeners, decisions) meet in `Control` and `Journal` and nowhere else.
//
// Order of the start: what others rest on first (journal, log, store), listeners last; the end is the
// same backwards, so that every session's last leaf is in the journal before it closes.

import { randomBytes } from "node:crypto";
import { existsSync, mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { readFile } from "node:fs/promises";
import { createServer } from "node:net";
import { join } from "node:path";
import { createSecureContext, type SecureContext } from "node:tls";
import { createAccess, DEFAULT_ACCESS_LIMITS } from "./access/authorize.ts";
import { type ControlAccess, createControlAccess } from "./access/control.ts";
import type { Access, Operation } from "./access/operation.ts";
import { type Admin, startAdmin } from "./api/admin.ts";
import type { ApiTls } from "./api/deps.ts";
import { startApi } from "./api/server.ts";
import { createApprovals } from "./approval/approvals.ts";
import { openJournal } from "./audit/journal-writer.ts";
import { openLog } from "./audit/log.ts";
import type { Clock } from "./base/clock.ts";
import { GatewayError } from "./base/errors.ts";
import { systemRandom } from "./base/ids.ts";
import { createDryRuns } from "./compose/dry-runs.ts";
import { type Certificates, createCertificates } from "./config/certificates.ts";
import type { Config } from "./config/config.ts";
import { createSecretResolver } from "./credential/secrets.ts";
import { openStandingConnections } from "./credential/standing.ts";
import { createAuthenticate } from "./delegation/authenticate.ts";
import type { Chain } from "./delegation/chain.ts";
import { createExchange } from "./delegation/exchange.ts";
import { createLifecycle } from "./delegation/lifecycle.ts";
import { createKeyProofs } from "./delegation/proof.ts";
import { createProviderSessions } from "./delegation/provider-sessions.ts";
import { openSigningKey } from "./delegation/signing-key.ts";
import { createTokens } from "./delegation/tokens.ts";
import { createTree } from "./delegation/tree.ts";
import { createIdentity } from "./identity/oidc.ts";
import { createPeople } from "./identity/people.ts";
import { createSignIns } from "./identity/sign-ins.ts";
import type { Settings } from "./live.ts";
import { openDatabases } from "./proxy/postgres/databases.ts";
import { listenPostgres, type PostgresLimits } from "./proxy/postgres/listener.ts";
import { createPostgresBroker, newInstance } from "./proxy/postgres/session-roles.ts";
import { openRecorder } from "./recording/recorder.ts";
import { loadRecordingKeys } from "./recording/recording-keys.ts";
import { readRecording } from "./recording/replay.ts";
import { createControl } from "./session/create-control.ts";
import { createRecentDenials } from "./session/recent-denials.ts";
import { createRegistry } from "./session/registry.ts";
import { createSessions, type Place } from "./session/sessions.ts";
import { openStore, type Store } from "./store/store.ts";

export interface Outside {
  readonly clock: Clock;
  readonly environment: Readonly<Record<string, string | undefined>>;
  /** What happened, for the operator; never content, never a secret. */
  readonly log: (message: string, error?: unknown) => void;
  /** Nothing may go on: the journal or the log cannot be written. */
  readonly onFailure: (error: GatewayError) => void;
}

export interface Address {
  readonly host: string;
  readonly port: number;
}

export interface Gateway extends AsyncDisposable {
  readonly postgres: Address | undefined;
  readonly https: Address;
  readonly admin: Address | undefined;
  readonly fingerprint: string;
  /** Sessions are judged by the new settings from their next command on. */
  apply(settings: Settings): void;
  /** A new configuration was refused, for so many reasons. */
  refuse(problems: number): void;
}

/** One worker in this process; more come as processes with the same data side. */
const WORKER = 0;
/** Commands wait for the journal, never for the tree; each publication rewrites its unfinished edge. */
const PUBLISH_EVERY_MS = 1_000;

export async function compose(first: Settings, outside: Outside): Promise<Gateway> {
  const { clock, log } = outside;
  const { config } = first;
  const { limits, dataDirectory } = config;
  let live = first;
  let people = createPeople(config.people);
  await using stack = new AsyncDisposableStack();

  const { instance } = prepareData(dataDirectory);
  const journal = await openJournal({
    directory: dataDirectory,
    worker: WORKER,
    clock,
    onFailure: outside.onFailure,
    segmentBytes: limits.journalSegmentBytes,
    startDetail: { policyVersion: first.policies.version },
  });
  const auditLog = await openLog({
    dataDirectory,
    journals: [{ worker: WORKER, journal }],
    intervalMs: PUBLISH_EVERY_MS,
    onFailure: outside.onFailure,
  }).catch(async (error) => {
    await journal[Symbol.asyncDispose]();
    throw error;
  });
  stack.use(auditLog);
  stack.use(journal);
  const keys = await loadRecordingKeys(dataDirectory, systemRandom);
  const store = stack.use(openStore(dataDirectory));
  const onFault = (thrown: unknown) => log("a fault that nobody waited for", thrown);
  store.sessions.closeLeftovers(clock.nowMs(), "the gateway restarted");
  keepPruned(store, clock, onFault, stack);

  const access = createAccess({
    policies: () => live.policies,
    clock,
    limits: { ...DEFAULT_ACCESS_LIMITS, decisionsPerSession: limits.decisionCacheEntries },
  });
  const control = createControlAccess({ policies: () => live.policies, clock });
  const certificates = stack.use(
    await createCertificates({ clock, config, onProblem: (error) => log(error.message, error) }),
  );

  // Who asks: providers, the tree, tokens.
  const https = await reserve(config.listen.https);
  const identity = stack.use(createIdentity(config.providers.values(), limits, clock));
  const signIns = createSignIns(identity, store.signIns);
  const tree = createTree({ store: store.delegations, clock, random: systemRandom, limits });
  const tokens = createTokens({
    key: await openSigningKey(join(dataDirectory, "keys", "token.key"), clock),
    issuer: `https://${https.host.includes(":") ? `[${https.host}]` : https.host}:${https.port}`,
    clock,
    random: systemRandom,
  });
  const mayDelegate = (chain: Chain) => answer(control.mayDelegate(chain));
  const authenticate = createAuthenticate({ tree, tokens, journal, clock, mayDelegate });
  const exchange = createExchange({
    tree,
    tokens,
    identity: signIns,
    authenticate,
    journal,
    mayDelegate,
    nowMs: () => clock.nowMs(),
  });

  // Sessions and what they need of targets.
  const resolveSecret = createSecretResolver({
    dataDirectory,
    environment: outside.environment,
    timeoutMs: limits.secretTimeoutMs,
  });
  const standing = stack.use(
    openStandingConnections({
      resolveSecret,
      connectTimeoutMs: limits.targetConnectTimeoutMs,
      queryTimeoutMs: limits.targetConnectTimeoutMs,
    }),
  );
  const broker = createPostgresBroker({
    standing,
    resolveSecret,
    random: systemRandom,
    clock,
    instance,
    log,
  });
  const registry = stack.use(
    createRegistry({
      clock,
      limits,
      endBackends: (sessionIds) => broker.endBackends(sessionIds),
      aliveUntil: (delegationId) => tree.aliveUntil(delegationId),
      chain: (delegationId) => tree.unrevoked(delegationId),
      onFault,
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
    mayAdminister: (chain) => control.mayAdminister(chain).allowed,
    onRevoked,
    onRenewed: (delegationId) => registry.renewed(delegationId),
  });
  const providerSessions = createProviderSessions({
    tree,
    signIns,
    journal,
    onRevoked,
    onRefreshed: (delegationId) => registry.refreshed(delegationId),
  });
  const doorway = () => ({
    targets: live.config.targets,
    mayConnect: (chain: Chain, place: Place) => mayConnect(access, chain, place),
  });
  const sessions = stack.use(
    createSessions(
      {
        authenticate,
        doorway,
        broker,
        registry,
        store: store.sessions,
        journal,
      },
      { clock, random: systemRandom },
    ),
  );
  const approvals = stack.use(
    createApprovals({
      store: store.approvals,
      chains: {
        ofSession: (sessionId) => registry.chainOf(sessionId),
        unrevoked: (delegationId) => tree.unrevoked(delegationId),
      },
      people: () => people,
      mayApprove: (approver, request) => {
        const target = live.config.targets.get(request.target);
        const facts = { name: request.target, tags: target?.tags ?? {} };
        return answer(control.mayApprove(approver, facts, request.requirements));
      },
      journal,
      outside: {
        clock,
        random: systemRandom,
        holdsPerDelegation: limits.holdsPerDelegation,
        onFault,
      },
    }),
  );
  const databases = stack.use(
    openDatabases({ standing, clock, masks: () => live.config.masks, limits, log }),
  );
  const denials = createRecentDenials(clock);
  const dryRun = createDryRuns({
    access,
    random: systemRandom,
    doorway,
    classifierFor: (target, database) => databases.open(target, database),
  });

  const tls = apiTls(certificates);
  const ready = () => ({ journal: journal.failure === undefined, store: works(store.check) });
  const api = await startApi(
    {
      delegations: {
        tree,
        tokens,
        exchange,
        lifecycle,
        authenticate,
        keyProofs: createKeyProofs(clock),
        people: () => people,
        providers: {
          all: () => config.providers.values(),
          signal: identity.signal,
          sessions: providerSessions,
        },
      },
      approvals,
      sessions: {
        registry,
        store: store.sessions,
        targets: () => live.config.targets,
        listeners: () => (postgres === undefined ? {} : { postgres: postgres.address }),
      },
      explaining: { denials, dryRun },
      evidence: {
        journal,
        logDirectory: auditLog.directory,
        vkey: () => auditLog.vkey,
        readRecording: (sessionId) => readRecording({ dataDirectory, keys }, sessionId),
      },
      authority: authorityOf(control, () => live.config),
      outside: {
        clock,
        tls,
        limits,
        ready,
        onFault,
      },
    },
    https,
  );
  stack.use(api);
  const admin = await listenAdmin();

  const postgres = await listen();
  if (postgres !== undefined) stack.use(postgres.listener);
  await broker.clearLeftovers(config.targets.values());
  const disposal = stack.move();

  async function listenAdmin(): Promise<Admin | undefined> {
    if (config.listen.admin === undefined) return undefined;
    const metrics = {
      meter: journal.meter,
      sessions: () => registry.under(undefined).length,
      residentBytes: () => process.memoryUsage.rss(),
    };
    return stack.use(await startAdmin({ tls, metrics, ready }, config.listen.admin));
  }

  async function listen() {
    const at = config.listen.postgres;
    if (at === undefined) return undefined;
    const listener = await listenPostgres({
      host: at.host,
      port: at.port,
      secureContext: contextOf(certificates),
      targets: () => live.config.targets,
      control: createControl(sessions, approvals, denials),
      access,
      journal,
      clock,
      random: systemRandom,
      openRecorder: (session) =>
        openRecorder(
          { journal, clock, keys, random: systemRandom },
          { ...session, maxResponseBytes: limits.recordingResponseBytes },
        ),
      classifierFor: (target, database) => databases.open(target, database),
      targetCa: async ({ tls }) =>
        tls.mode === "verify-full" && tls.caFile !== undefined
          ? await readFile(tls.caFile, "utf8")
          : undefined,
      limits: postgresLimits(config),
      log,
    });
    return { listener, address: { host: at.host, port: listener.port } };
  }

  return {
    postgres: postgres?.address,
    https: { host: api.host, port: api.port },
    admin: admin === undefined ? undefined : { host: admin.host, port: admin.port },
    fingerprint: certificates.fingerprint,
    apply(settings) {
      const before = live;
      live = settings;
      people = createPeople(settings.config.people);
      endChangedTargets(before.config, settings.config);
      journal.append({
        event: "configuration.loaded",
        detail: { policyVersion: settings.policies.version },
      });
    },
    refuse: (problems) => journal.append({ event: "configuration.refused", detail: { problems } }),
    [Symbol.asyncDispose]: () => disposal.disposeAsync(),
  };

  /** A session keeps the catalogue and classes it began with, so one of a changed target ends. */
  function endChangedTargets(before: Config, after: Config): void {
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
}

const CONNECT: Operation = { protocol: "postgres", effects: [], touches: [], summary: "connect" };

/** An operation without effects asks for the connection alone. */
function mayConnect(
  access: Access,
  chain: Chain,
  place: Place,
): { allowed: boolean; message?: string } {
  const decision = access.authorize(
    {
      sessionId: place.sessionId,
      chain,
      target: place.target.name,
      account: place.account,
      targetTags: place.target.tags,
      clientAddress: place.clientAddress,
      justification: undefined,
    },
    CONNECT,
  );
  if (decision.verdict === "permit") return { allowed: true };
  access.forget(place.sessionId);
  if (decision.verdict === "hold")
    return { allowed: false, message: "connecting cannot wait for approval" };
  const { what, message, policyId, hopLabel } = decision.denial;
  const policy = policyId === undefined ? "" : ` Policy ${policyId}.`;
  const hop = hopLabel === undefined ? "" : ` Hop: ${hopLabel}.`;
  return { allowed: false, message: `Custody denied ${what}: ${message}.${policy}${hop}` };
}

function answer(given: ReturnType<ControlAccess["mayDelegate"]>): {
  allowed: boolean;
  message?: string;
  policyId?: string;
} {
  const { allowed, denial } = given;
  if (denial === undefined) return { allowed };
  const { message, policyId } = denial;
  return { allowed, message, ...(policyId === undefined ? {} : { policyId }) };
}

function authorityOf(control: ControlAccess, config: () => Config) {
  const mayReplayTarget = (chain: Chain, name: string) => {
    const target = config().targets.get(name);
    return control.mayReplay(chain, { name, tags: target?.tags ?? {} }).allowed;
  };
  return {
    mayAdminister: (chain: Chain) => control.mayAdminister(chain).allowed,
    mayReplay: (chain: Chain, target: string | undefined) =>
      target === undefined
        ? config().targets.size > 0 &&
          [...config().targets.keys()].every((name) => mayReplayTarget(chain, name))
        : mayReplayTarget(chain, target),
  };
}

function works(check: () => void): boolean {
  try {
    check();
    return true;
  } catch {
    return false;
  }
}

const DAY_MS = 86_400_000;
/** What ended so long ago is forgotten by the store; the log and the recordings keep it. */
const KEPT_MS = 30 * DAY_MS;

function keepPruned(
  store: Store,
  clock: Clock,
  onFault: (thrown: unknown) => void,
  stack: AsyncDisposableStack,
): void {
  const prune = () => {
    try {
      store.forget(clock.nowMs() - KEPT_MS);
    } catch (thrown) {
      onFault(thrown);
    }
  };
  prune();
  const timer = setInterval(prune, DAY_MS);
  timer.unref();
  stack.defer(() => clearInterval(timer));
}

function apiTls(certificates: Certificates): ApiTls {
  return {
    current: () => certificates.current(),
    onRenew(listener) {
      let listening = true;
      certificates.onRenew(() => {
        if (listening) listener();
      });
      return () => {
        listening = false;
      };
    },
  };
}

/** One context until the certificate is renewed. */
function contextOf(certificates: Certificates): () => SecureContext {
  const make = () => {
    const { key, cert } = certificates.current();
    return createSecureContext({ key, cert, minVersion: "TLSv1.2" });
  };
  let context = make();
  certificates.onRenew(() => {
    context = make();
  });
  return () => context;
}

function postgresLimits({ limits }: Config): PostgresLimits {
  return {
    maxConnections: limits.connections,
    startupTimeoutMs: limits.startupTimeoutMs,
    targetConnectTimeoutMs: limits.targetConnectTimeoutMs,
    sessionIdleMs: limits.sessionIdleMs,
    shutdownGraceMs: limits.shutdownGraceMs,
    maxFrameBytes: limits.messageBytes,
    maxOutstanding: limits.pipelineMessages,
    maxNames: limits.pipelineMessages,
    maxBacklogBytes: limits.bufferBytes,
    holdWaitMs: limits.holdWaitMs,
    holdWaitInTransactionMs: limits.holdWaitInTransactionMs,
    holdReminderMs: limits.holdRepeatMs,
  };
}

/** The folders, and the short name that tells this gateway's session roles from another's. */
function prepareData(dataDirectory: string): { instance: string } {
  mkdirSync(join(dataDirectory, "keys"), { recursive: true, mode: 0o700 });
  const file = join(dataDirectory, "instance");
  if (!existsSync(file))
    writeFileSync(file, `${newInstance(randomBytes)}\n`, { mode: 0o600, flag: "wx" });
  return { instance: readFileSync(file, "utf8").trim() };
}

/** Port 0 becomes a number before listening, since tokens name the gateway by its URL. */
async function reserve(at: Address): Promise<Address> {
  if (at.port !== 0) return at;
  const server = createServer();
  await new Promise<void>((resolve, reject) => {
    server.once("error", (cause) =>
      reject(new GatewayError("configuration", `cannot listen on ${at.host}`, { cause })),
    );
    server.listen(0, at.host, resolve);
  });
  const bound = server.address();
  await new Promise((resolve) => server.close(resolve));
  return { host: at.host, port: typeof bound === "object" && bound !== null ? bound.port : 0 };
}
