// The only place where the objects are put together, part by part from compose/. Control (store,
// delegations, approvals, credentials, log) and data (listeners, decisions) meet in `Control` and
// `Journal` and nowhere else.
//
// Order of the start: what others rest on first (journal, log, store), listeners last; the end is the
// same backwards, so that every session's last leaf is in the journal before it closes.

import { createAccess, DEFAULT_ACCESS_LIMITS } from "./access/authorize.ts";
import { createControlAccess } from "./access/control.ts";
import type { Access } from "./access/operation.ts";
import { type Admin, startAdmin } from "./api/admin.ts";
import { startApi } from "./api/server.ts";
import { exportEvidence } from "./audit/evidence-export.ts";
import { sumOfMeters } from "./audit/journal-meter.ts";
import { createLogFiles } from "./audit/log-files.ts";
import { leavesWithin } from "./audit/log-search.ts";
import { GatewayError } from "./base/errors.ts";
import { systemRandom } from "./base/ids.ts";
import { authorityOf } from "./compose/authority.ts";
import { openKeptStore, prepareData } from "./compose/data-folder.ts";
import { type DataSides, journalsOf, startDataSides, workersOf } from "./compose/data-sides.ts";
import { composeDelegation } from "./compose/delegation.ts";
import { createDryRuns } from "./compose/dry-runs.ts";
import { openEvidence } from "./compose/evidence.ts";
import { startExports } from "./compose/exports.ts";
import { type Address, httpsUrl, reserve } from "./compose/listeners.ts";
import type { Outside } from "./compose/outside.ts";
import { composeProviders, providerNames } from "./compose/providers.ts";
import { provedRecording, type RecordingSources } from "./compose/recordings.ts";
import { composeSessions, endChangedTargets } from "./compose/sessions.ts";
import { sshParts } from "./compose/ssh-parts.ts";
import { apiTls } from "./compose/tls.ts";
import { createCertificates } from "./config/certificates.ts";
import { openClientAuthority } from "./config/client-authority.ts";
import { createSecretResolver } from "./credential/secrets.ts";
import { openSshKeys } from "./credential/ssh-keys.ts";
import { rootOf } from "./delegation/chain.ts";
import { createKeyProofs } from "./delegation/proof.ts";
import { createPeople } from "./identity/people.ts";
import { createSignIns } from "./identity/sign-ins.ts";
import type { Settings } from "./live.ts";
import { openPolicyArchive } from "./policy/archive.ts";
import { createErasures } from "./recording/erasures.ts";
import { openRecording } from "./recording/replay.ts";
import { holdsText } from "./recording/text-search.ts";
import { brokerOf } from "./session/broker.ts";
import type { Control } from "./session/control.ts";
import { createControl } from "./session/create-control.ts";
import { createRecentDenials } from "./session/recent-denials.ts";
import { speaks } from "./target/target.ts";

export interface Gateway extends AsyncDisposable {
  readonly postgres: Address | undefined;
  readonly ssh: Address | undefined;
  readonly kubernetes: Address | undefined;
  readonly https: Address;
  readonly admin: Address | undefined;
  readonly fingerprint: string;
  /**
   * Sessions are judged by the new settings from their next command on. Throws GatewayError
   * "configuration"; then all is as it was.
   */
  apply(settings: Settings): Promise<void>;
  /** A new configuration was refused, for so many reasons. */
  refuse(problems: number): void;
}

export async function compose(first: Settings, outside: Outside): Promise<Gateway> {
  const { clock, log, onFault } = outside;
  const { config } = first;
  const { limits, dataDirectory } = config;
  let live = first;
  let people = createPeople(config.people);
  await using stack = new AsyncDisposableStack();

  const { instance } = prepareData(dataDirectory);
  const sshKeys = openSshKeys(dataDirectory);
  const clientAuthority = await openClientAuthority(dataDirectory, clock.nowMs());
  const workers = workersOf(config);
  const policyArchive = openPolicyArchive(dataDirectory, createLogFiles().replace);
  policyArchive.keep(first.policies);
  const evidence = await openEvidence(first, outside, stack, workers);
  const { journal, auditLog, keys, follow, outwardState } = evidence;
  const store = openKeptStore(dataDirectory, clock, onFault, stack);
  const access = createAccess({
    policies: () => live.policies,
    clock,
    limits: { ...DEFAULT_ACCESS_LIMITS, decisionsPerSession: limits.decisionCacheEntries },
  });
  const control = createControlAccess({ policies: () => live.policies, clock });
  const certificates = stack.use(
    await createCertificates({ clock, config, onProblem: (error) => log(error.message, error) }),
  );

  const https = await reserve(config.listen.https);
  const issuer = httpsUrl(https);
  const { environment } = outside;
  const resolveSecret = createSecretResolver({
    ...{ dataDirectory, environment, timeoutMs: limits.secretTimeoutMs },
  });
  const providers = stack.use(
    await composeProviders({ config, resolveSecret, baseUrl: issuer, clock }),
  );
  const signIns = createSignIns(providers.identity, store.signIns, providers.saml);
  const delegation = await composeDelegation({
    ...{ config, clock, store, journal, signIns, control, issuer },
  });
  const parts = composeSessions(
    {
      ...{ delegation, signIns, store, journal, access, control, outside, instance, sshKeys },
      clientAuthority,
      live: { config: () => live.config, people: () => people },
    },
    stack,
  );
  parts.providerSessions.keepOnly(providerNames(config));
  const { approvals, brokers, databases, doorway, registry } = parts;
  const denials = createRecentDenials(clock);

  const tls = apiTls(certificates);
  let data: DataSides | undefined;
  const dataSides = (): DataSides => {
    if (data !== undefined) return data;
    throw new GatewayError("shutdown", "the gateway is starting", { hint: "in a moment" });
  };
  const ready = () => ({
    journal: journal.failure === undefined,
    store: works(store.check),
    listeners: data?.complete === true,
  });
  const recordings: RecordingSources = {
    ...{ dataDirectory, keys, clock, logDirectory: auditLog.directory, sessions: store.sessions },
  };
  const api = await startApi(
    {
      delegations: {
        ...delegation,
        lifecycle: parts.lifecycle,
        keyProofs: createKeyProofs(clock),
        people: () => people,
        providers: {
          all: () => live.config.providers.values(),
          signal: providers.identity.signal,
          sessions: parts.providerSessions,
          get saml() {
            return providers.saml();
          },
        },
      },
      approvals,
      sessions: {
        registry,
        participants: parts.participants,
        store: store.sessions,
        targets: () => live.config.targets,
        listeners: () => {
          const { postgres, ssh, kubernetes } = dataSides().addresses;
          return {
            ...(postgres && { postgres }),
            ...(ssh && { ssh }),
            ...(kubernetes && { kubernetes }),
          };
        },
      },
      clientAuthority,
      ssh: config.listen.ssh === undefined ? undefined : sshParts(sshKeys, clock),
      explaining: {
        denials,
        dryRun: createDryRuns({
          access,
          random: systemRandom,
          doorway,
          classifierFor: (target, database) => databases.open(target, database),
          grammars: () => live.config.grammars,
        }),
      },
      evidence: {
        journal: journalsOf(journal, dataSides),
        logDirectory: auditLog.directory,
        vkey: () => auditLog.vkey,
        readRecording: (sessionId, mayUnmask, fromMs, withScreen) =>
          provedRecording(recordings, sessionId, mayUnmask, fromMs, withScreen),
        saidIn: (sessionId, text, mayUnmask) =>
          holdsText(provedRecording(recordings, sessionId, mayUnmask), text),
        leaves: (window, words) => leavesWithin(auditLog.directory, window, words),
        erasures: createErasures({
          ...{ dataDirectory, keys, journal, store: store.erasures },
          nowMs: () => clock.nowMs(),
          liveSessions: (of) =>
            registry
              .under(undefined)
              .filter(({ id, chain }) =>
                "session" in of ? id === of.session : rootOf(chain).subject === of.subject,
              )
              .map(({ id }) => id),
        }),
        exportEvidence: (wanted) =>
          exportEvidence(
            {
              journal,
              logDirectory: auditLog.directory,
              async published() {
                await journalsOf(journal, dataSides).settled();
                await auditLog.sync();
              },
              openRecording: (sessionId) => openRecording({ dataDirectory, keys }, sessionId),
              findPolicies: policyArchive.find,
            },
            wanted,
          ),
      },
      authority: authorityOf(control, access, () => live.config),
      outside: { clock, tls, limits, ready, onFault },
    },
    https,
  );
  stack.use(api);
  const exports = startExports(config, auditLog.directory, { resolveSecret, log }, stack);
  const admin = await listenAdmin();

  data = await startDataSides(
    {
      ...{ access, catalogue: parts.catalogue, certificates, clock, databases, journal, keys, log },
      issuer,
      settings: () => live,
      control: forgetting(
        access,
        createControl(parts.sessions, approvals, denials, parts.doorSignIns, parts.participants),
      ),
      endBackends: (sessionIds) => brokerOf(brokers).endBackends(sessionIds),
      onDurable: follow,
      onFault,
      onFailure: outside.onFailure,
    },
    stack,
  );
  if (workers.length > 0) {
    // What data processes found of a run before is in the log when this one says it is ready.
    await data.settled();
    await auditLog.sync();
  }
  await brokers.postgres.clearLeftovers(
    config.targets.values().filter((target) => speaks(target, "postgres")),
  );
  // A cluster that is not there just now keeps nobody else waiting.
  void brokers.kubernetes.clearLeftovers(config.targets);
  const disposal = stack.move();

  async function listenAdmin(): Promise<Admin | undefined> {
    if (config.listen.admin === undefined) return undefined;
    const metrics = {
      meter: () => sumOfMeters([journal.meter, ...(data?.meters ?? [])]),
      sessions: () => registry.under(undefined).length,
      residentBytes: () => process.memoryUsage.rss() + (data?.residentBytes ?? 0),
      exportLag: () => exports.map(({ name, lag }) => [name, lag] as const),
      logHeads: () => ({
        published: auditLog.size,
        cosigned: outwardState.cosignedSize(),
        anchored: outwardState.anchoredSize(),
      }),
    };
    return stack.use(await startAdmin({ tls, metrics, ready }, config.listen.admin));
  }

  return {
    postgres: data.addresses.postgres,
    ssh: data.addresses.ssh,
    kubernetes: data.addresses.kubernetes,
    https: { host: api.host, port: api.port },
    admin: admin === undefined ? undefined : { host: admin.host, port: admin.port },
    fingerprint: certificates.fingerprint,
    async apply(settings) {
      policyArchive.keep(settings.policies);
      await providers.replace(settings.config);
      const before = live;
      live = settings;
      parts.providerSessions.keepOnly(providerNames(settings.config));
      people = createPeople(settings.config.people);
      endChangedTargets(parts, before.config, settings.config);
      await dataSides().apply(settings);
      journal.append({
        event: "configuration.loaded",
        detail: {
          policyVersion: settings.policies.version,
          policyDigest: settings.policies.digest,
        },
      });
    },
    refuse: (problems) => journal.append({ event: "configuration.refused", detail: { problems } }),
    [Symbol.asyncDispose]: () => disposal.disposeAsync(),
  };
}

/** What was decided for a session at its door is forgotten with it, wherever its commands are judged. */
function forgetting(access: Access, control: Control): Control {
  return {
    ...control,
    async closeSession(sessionId, reason, recording) {
      access.forget(sessionId);
      await control.closeSession(sessionId, reason, recording);
    },
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
