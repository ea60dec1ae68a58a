// Credentials of an API server for one session: a token made for it (TokenRequest), or a token or
// certificate the gateway keeps; and whom the cluster is to see: the root of the chain, with the chain
// itself in its extra, so that the cluster's own audit log names both.

import { readFile } from "node:fs/promises";
import type { Clock } from "../../base/clock.ts";
import { GatewayError } from "../../base/errors.ts";
import { Secret } from "../../base/secret.ts";
import type { ResolveSecret } from "../../credential/secrets.ts";
import { type Chain, describeChain, leafOf, rootOf } from "../../delegation/chain.ts";
import type { CredentialBroker, LeaseRequest } from "../../session/broker.ts";
import type { ImpersonatedUser } from "../../session/control.ts";
import type { Impersonation, KubernetesCredential } from "../../target/kubernetes-target.ts";
import type { KubernetesTarget } from "../../target/target.ts";
import { wholeBody } from "./answer-body.ts";
import { type KubernetesCredentialOf, openUpstream } from "./upstream.ts";

export interface KubernetesBrokerDeps {
  readonly resolveSecret: ResolveSecret;
  readonly clock: Clock;
  readonly connectTimeoutMs: number;
}

/** What an API server gives at least, whatever is asked (TokenRequestSpec.expirationSeconds). */
const MIN_TOKEN_SECONDS = 600;
const MAX_TOKEN_SECONDS = 86_400;
const MAX_ANSWER_BYTES = 256 << 10;

export function createKubernetesBroker(
  deps: KubernetesBrokerDeps,
): CredentialBroker<KubernetesTarget> {
  return {
    async lease(request) {
      const { target, account: name, chain, sessionId } = request;
      const account = target.accounts.find((one) => one.name === name);
      if (account === undefined) throw new RangeError(`no account ${name}`);
      const shown = await credentialFor(deps, request, account.credential);
      const impersonate =
        account.impersonate === undefined
          ? undefined
          : impersonated(account.impersonate, chain, sessionId);
      const user = impersonate?.user ?? name;
      const credential = { kind: "kubernetes" as const, user, ...shown, impersonate };
      return { credential, attach: () => undefined, release: async () => undefined };
    },
    // A session that ends closes its own connections, and with each the API server ends what it runs.
    endBackends: async () => undefined,
  };
}

/** `custody:corp/ann@example.com`, with the chain beside it. */
export function impersonated(
  { prefix, groups, rootGroups }: Impersonation,
  chain: Chain,
  sessionId: string,
): ImpersonatedUser {
  const root = rootOf(chain);
  return {
    user: prefix + root.id,
    groups: [...groups, ...(rootGroups ? root.groups.map((group) => prefix + group) : [])],
    extra: {
      "custody-chain": [describeChain(chain)],
      "custody-delegation": [leafOf(chain).delegationId],
      "custody-session": [sessionId],
    },
  };
}

type Shown = Pick<KubernetesCredentialOf, "token" | "certificate">;

async function credentialFor(
  deps: KubernetesBrokerDeps,
  { target, expiresAtMs }: LeaseRequest<KubernetesTarget>,
  credential: KubernetesCredential,
): Promise<Shown> {
  switch (credential.kind) {
    case "token":
      return { token: await deps.resolveSecret(credential.token), certificate: undefined };
    case "certificate": {
      const certificate = await readPem(credential.certFile);
      const privateKey = await deps.resolveSecret(credential.key);
      return { token: undefined, certificate: { certificate, privateKey } };
    }
    case "service-account": {
      const token = await requestToken(deps, target, credential, expiresAtMs);
      return { token, certificate: undefined };
    }
  }
}

/** TokenRequest: authentication.k8s.io/v1, POST serviceaccounts/<name>/token. */
async function requestToken(
  deps: KubernetesBrokerDeps,
  target: KubernetesTarget,
  credential: Extract<KubernetesCredential, { kind: "service-account" }>,
  expiresAtMs: number,
): Promise<Secret> {
  const { namespace, serviceAccount } = credential;
  const own = await deps.resolveSecret(credential.token);
  const ca = target.caFile === undefined ? undefined : await readPem(target.caFile);
  const { connectTimeoutMs } = deps;
  await using upstream = openUpstream(
    { server: target.server, ca, connectTimeoutMs },
    { kind: "kubernetes", user: "", token: own, certificate: undefined, impersonate: undefined },
  );
  const leftSeconds = Math.ceil((expiresAtMs - deps.clock.nowMs()) / 1000);
  const expirationSeconds = Math.min(MAX_TOKEN_SECONDS, Math.max(MIN_TOKEN_SECONDS, leftSeconds));
  const answer = await upstream.request({
    method: "POST",
    path: `/api/v1/namespaces/${namespace}/serviceaccounts/${serviceAccount}/token`,
    headers: { "content-type": "application/json", accept: "application/json" },
    body: Buffer.from(
      JSON.stringify({
        apiVersion: "authentication.k8s.io/v1",
        kind: "TokenRequest",
        spec: { expirationSeconds },
      }),
    ),
    signal: AbortSignal.timeout(connectTimeoutMs),
  });
  const length = Number(answer.headers["content-length"] ?? 0);
  if (answer.status !== 201 || !(length <= MAX_ANSWER_BYTES)) {
    answer.body.destroy();
    throw refused(serviceAccount, answer.status);
  }
  const token = tokenOf((await wholeBody(answer.body, MAX_ANSWER_BYTES)).toString("utf8"));
  if (token === undefined) throw refused(serviceAccount, answer.status);
  return new Secret(token);
}

function tokenOf(answer: string): string | undefined {
  try {
    const { status } = JSON.parse(answer) as { status?: { token?: unknown } };
    return typeof status?.token === "string" ? status.token : undefined;
  } catch {
    return undefined;
  }
}

function refused(serviceAccount: string, status: number): GatewayError {
  return new GatewayError(
    "target_unavailable",
    `the API server gives no token for service account ${serviceAccount} (status ${status})`,
    { hint: "custody kubernetes rbac prints what the gateway needs there" },
  );
}

async function readPem(file: string): Promise<string> {
  try {
    return await readFile(file, "utf8");
  } catch (cause) {
    throw new GatewayError("dependency_unavailable", `${file} cannot be read`, { cause });
  }
}
