// Credentials of an API server for one session: a token made for it (TokenRequest), which is bound to an object
// that is deleted when it ends (bound-secrets.ts), or a token or certificate the gateway keeps; and whom the
// cluster is to see: the root of the chain, with the chain itself in its extra, so that the cluster's own audit
// log names both.

import type { Clock } from "../../base/clock.ts";
import { GatewayError } from "../../base/errors.ts";
import { Secret } from "../../base/secret.ts";
import { type ApiServer, openApiServer, ownIdentity } from "../../credential/api-server.ts";
import { type Chain, describeChain, leafOf, rootOf } from "../../delegation/chain.ts";
import type { CredentialBroker, LeaseRequest } from "../../session/broker.ts";
import type { ImpersonatedUser } from "../../session/control.ts";
import type { Impersonation, KubernetesCredential } from "../../target/kubernetes-target.ts";
import type { KubernetesTarget, Target } from "../../target/target.ts";
import {
  type BoundObject,
  type BoundSecrets,
  type BoundSecretsDeps,
  createBoundSecrets,
  type ServiceAccount,
} from "./bound-secrets.ts";
import type { KubernetesCredentialOf } from "./upstream.ts";

export interface KubernetesBrokerDeps extends BoundSecretsDeps {
  readonly clock: Clock;
}

export interface KubernetesBroker extends CredentialBroker<KubernetesTarget>, AsyncDisposable {
  /** Deletes what tokens of an earlier run were bound to; never rejects. */
  clearLeftovers(targets: ReadonlyMap<string, Target>): Promise<void>;
}

/** What an API server gives at least, whatever is asked (TokenRequestSpec.expirationSeconds). */
const MIN_TOKEN_SECONDS = 600;
const MAX_TOKEN_SECONDS = 86_400;

export function createKubernetesBroker(deps: KubernetesBrokerDeps): KubernetesBroker {
  const secrets = createBoundSecrets(deps);
  return {
    async lease(request) {
      const { target, account: name, chain, sessionId } = request;
      const account = target.accounts.find((one) => one.name === name);
      if (account === undefined) throw new RangeError(`no account ${name}`);
      const impersonate =
        account.impersonate === undefined
          ? undefined
          : impersonated(account.impersonate, chain, sessionId);
      const user = impersonate?.user ?? name;
      const shown = await credentialFor(deps, secrets, request, account.credential);
      const credential = { kind: "kubernetes" as const, user, ...shown, impersonate };
      return {
        credential,
        attach: () => undefined,
        release: () => secrets.end([sessionId]),
      };
    },
    // A session that ends closes its own connections, and with each the API server ends what it runs. What its
    // token is bound to goes first.
    endBackends: (sessionIds) => secrets.end(sessionIds),
    clearLeftovers: (targets) => secrets.clearLeftovers(targets),
    [Symbol.asyncDispose]: () => secrets[Symbol.asyncDispose](),
  };
}

/**
 * `custody:corp/ann@example.com`, with the chain beside it. Throws GatewayError "forbidden" for a root whom no
 * header can name.
 */
export function impersonated(
  { prefix, groups, rootGroups }: Impersonation,
  chain: Chain,
  sessionId: string,
): ImpersonatedUser {
  const root = rootOf(chain);
  const user = spelled(prefix + root.id);
  if (user === undefined)
    throw new GatewayError("forbidden", "your name is too long to be told to the cluster");
  const own = rootGroups ? root.groups.map((group) => spelled(prefix + group)) : [];
  return {
    user,
    // A group that cannot be named gives nothing.
    groups: [...groups, ...own.filter((group) => group !== undefined)],
    extra: {
      "custody-chain": [describeChain(chain)],
      "custody-delegation": [leafOf(chain).delegationId],
      "custody-session": [sessionId],
    },
  };
}

const MAX_NAME_LENGTH = 1024;

/**
 * Names are the identity provider's and come as they are, so that no two are to become one: what a header does not
 * keep (RFC 9110 section 5.5: spaces at its end, what is not ASCII) is percent-encoded UTF-8, and so is "%".
 */
function spelled(name: string): string | undefined {
  if (!name.isWellFormed()) return undefined;
  const written = name.replace(/[^\x20-\x24\x26-\x7e]+|^ +| +$/g, (part) =>
    [...Buffer.from(part)]
      .map((byte) => `%${byte.toString(16).toUpperCase().padStart(2, "0")}`)
      .join(""),
  );
  return written.length <= MAX_NAME_LENGTH ? written : undefined;
}

type Shown = Pick<KubernetesCredentialOf, "token" | "certificate" | "untilMs">;

async function credentialFor(
  deps: KubernetesBrokerDeps,
  secrets: BoundSecrets,
  request: LeaseRequest<KubernetesTarget>,
  credential: KubernetesCredential,
): Promise<Shown> {
  if (credential.kind !== "service-account") return ownIdentity(deps.resolveSecret, credential);
  const { account, sessionId, target } = request;
  await using server = await openApiServer(deps, target, credential);
  if (!credential.isBound) return await requestToken(deps, server, request, credential, undefined);
  const place = { sessionId, target, account, credential };
  const bound = await secrets.create(place, server);
  try {
    return await requestToken(deps, server, request, credential, bound);
  } catch (thrown) {
    void secrets.end([sessionId]);
    throw thrown;
  }
}

/** TokenRequest: authentication.k8s.io/v1, POST serviceaccounts/<name>/token. */
async function requestToken(
  deps: KubernetesBrokerDeps,
  server: ApiServer,
  { expiresAtMs }: LeaseRequest<KubernetesTarget>,
  { namespace, serviceAccount }: ServiceAccount,
  boundObjectRef: BoundObject | undefined,
): Promise<Shown> {
  const nowMs = deps.clock.nowMs();
  const leftSeconds = Math.ceil((expiresAtMs - nowMs) / 1000);
  const expirationSeconds = Math.min(MAX_TOKEN_SECONDS, Math.max(MIN_TOKEN_SECONDS, leftSeconds));
  const { status, value } = await server.ask(
    "POST",
    `/api/v1/namespaces/${namespace}/serviceaccounts/${serviceAccount}/token`,
    {
      ...{ apiVersion: "authentication.k8s.io/v1", kind: "TokenRequest" },
      spec: { expirationSeconds, ...(boundObjectRef === undefined ? {} : { boundObjectRef }) },
    },
  );
  const given = status === 201 ? (value as TokenRequest | undefined) : undefined;
  const token = given?.status?.token;
  if (typeof token !== "string") throw refused(serviceAccount, status);
  // A server that ignores what it was asked to bind to would give a token that outlives the session.
  if (boundObjectRef !== undefined && given?.spec?.boundObjectRef?.uid !== boundObjectRef.uid)
    throw refused(serviceAccount, status);
  // By our own clock: a server may give less than it was asked for.
  const seconds = Number(given?.spec?.expirationSeconds ?? expirationSeconds);
  const untilMs = nowMs + Math.max(0, seconds) * 1000;
  return { token: new Secret(token), certificate: undefined, untilMs };
}

/** What is read of an answer; nothing in it is certain. */
interface TokenRequest {
  readonly spec?: {
    readonly expirationSeconds?: unknown;
    readonly boundObjectRef?: { readonly uid?: unknown } | null;
  } | null;
  readonly status?: { readonly token?: unknown } | null;
}

function refused(serviceAccount: string, status: number): GatewayError {
  return new GatewayError(
    "target_unavailable",
    `the API server gives no token for service account ${serviceAccount} (status ${status})`,
    { hint: "custody kubernetes rbac prints what the gateway needs there" },
  );
}
