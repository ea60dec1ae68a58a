// Kubernetes service accounts, known by asking the cluster (TokenReview, authentication.k8s.io/v1): it says
// at once when a pod or its account is gone, which a signature alone does not, and needs no issuer that
// the gateway can reach from outside.
//
// What is believed is the cluster's answer over a connection whose certificate is of the configured CA, and
// of the token only times, which the cluster has just verified with the rest of it. An answer that does
// not name our audience is a cluster's that does not know of audiences, and worth nothing (TokenReview,
// `status.audiences`).
//
// Owns one pool of connections to each cluster.

import { readFileSync } from "node:fs";
import { decodeJwt, type JWTPayload } from "jose";
import { Agent, fetch } from "undici";
import { z } from "zod";
import type { Clock } from "../base/clock.ts";
import { GatewayError } from "../base/errors.ts";
import type { Secret } from "../base/secret.ts";
import type { KubernetesProvider } from "../config/config.ts";
import type { ResolveSecret } from "../credential/secrets.ts";
import { type IdentityLimits, issuedInFuture, MAX_TOKEN_LENGTH, refused } from "./issuers.ts";
import { providerId } from "./names.ts";
import type { Principal } from "./principal.ts";

export interface TokenReviews extends AsyncDisposable {
  readonly provider: KubernetesProvider;
  /**
   * Throws GatewayError: unauthenticated (with what did not fit), dependency_unavailable (the cluster
   * cannot be asked).
   */
  verify(token: Secret): Promise<Principal>;
}

export interface TokenReviewDeps {
  readonly resolveSecret: ResolveSecret;
  readonly limits: Pick<IdentityLimits, "clockSkewMs">;
  readonly clock: Clock;
}

const TIMEOUT_MS = 5_000;
const MAX_ANSWER_BYTES = 256 * 1024;
const MAX_GROUPS = 512;
const ACCOUNT = /^system:serviceaccount:([a-z0-9.-]{1,63}):([a-z0-9.-]{1,253})$/;

/** Only what is read; a cluster adds fields as it grows. */
const review = z.object({
  apiVersion: z.literal("authentication.k8s.io/v1"),
  kind: z.literal("TokenReview"),
  status: z.object({
    authenticated: z.boolean().default(false),
    audiences: z.array(z.string()).default([]),
    error: z.string().optional(),
    user: z
      .object({
        // An unknown token has a user without anything.
        username: z.string().default(""),
        uid: z.string().default(""),
        groups: z.array(z.string()).max(MAX_GROUPS).default([]),
        extra: z.record(z.string(), z.array(z.string())).default({}),
      })
      .optional(),
  }),
});

type Reviewed = z.infer<typeof review>["status"];

/** Throws GatewayError "configuration". */
export function openTokenReviews(
  provider: KubernetesProvider,
  deps: TokenReviewDeps,
): TokenReviews {
  const agent = new Agent({
    connect: { ca: caOf(provider), timeout: TIMEOUT_MS },
    headersTimeout: TIMEOUT_MS,
    bodyTimeout: TIMEOUT_MS,
  });
  return {
    provider,
    async verify(token) {
      const text = token.reveal();
      const nowMs = deps.clock.nowMs();
      const times = timesOf(text, nowMs, deps.limits.clockSkewMs);
      const status = await ask(provider, deps, agent, text);
      return principalOf(provider, status, times, nowMs);
    },
    [Symbol.asyncDispose]: () => agent.destroy(),
  };
}

function caOf({ name, caFile }: KubernetesProvider): string {
  try {
    return readFileSync(caFile, "utf8");
  } catch (thrown) {
    throw new GatewayError("configuration", `provider ${name}: ${caFile} cannot be read`, {
      cause: thrown,
    });
  }
}

interface Times {
  readonly expiresAtMs: number;
  readonly tokenId: string | undefined;
}

/** Refused before the cluster is asked: what is no bound token, which has an end. */
function timesOf(text: string, nowMs: number, skewMs: number): Times {
  if (text.length > MAX_TOKEN_LENGTH) throw refused("it is too long");
  let payload: JWTPayload;
  try {
    payload = decodeJwt(text);
  } catch (thrown) {
    throw refused("it is not a signed JWT", thrown);
  }
  const { iat, exp, jti } = payload;
  if (typeof exp !== "number" || typeof iat !== "number")
    throw refused("it is not a bound service account token: it has no end");
  if (exp * 1000 + skewMs <= nowMs) throw refused("it has expired");
  const future = issuedInFuture(iat, (nowMs + skewMs) / 1000);
  if (future !== undefined) throw refused(future);
  return {
    expiresAtMs: exp * 1000,
    tokenId: typeof jti === "string" ? jti : undefined,
  };
}

async function ask(
  provider: KubernetesProvider,
  deps: TokenReviewDeps,
  agent: Agent,
  token: string,
): Promise<Reviewed> {
  const { name, server, audience } = provider;
  const own = await deps.resolveSecret(provider.token);
  const body = {
    apiVersion: "authentication.k8s.io/v1",
    kind: "TokenReview",
    spec: { token, audiences: [audience] },
  };
  let answer: unknown;
  try {
    const response = await fetch(new URL("/apis/authentication.k8s.io/v1/tokenreviews", server), {
      method: "POST",
      dispatcher: agent,
      redirect: "error",
      headers: {
        accept: "application/json",
        "content-type": "application/json",
        authorization: `Bearer ${own.reveal()}`,
      },
      body: JSON.stringify(body),
      signal: AbortSignal.timeout(TIMEOUT_MS),
    });
    const { status } = response;
    if (status === 401 || status === 403)
      throw unavailable(
        name,
        "it does not let the gateway ask: its own token needs system:auth-delegator",
      );
    // Created, as the API answers what it does not keep; nothing else is an answer.
    if (status !== 201 && status !== 200) throw unavailable(name, `it answered ${status}`);
    answer = JSON.parse(await boundedText(response.body ?? []));
  } catch (thrown) {
    if (thrown instanceof GatewayError) throw thrown;
    throw unavailable(name, "it cannot be asked now", thrown);
  }
  const parsed = review.safeParse(answer);
  if (!parsed.success) throw unavailable(name, "its answer is no TokenReview", parsed.error);
  return parsed.data.status;
}

async function boundedText(body: AsyncIterable<Uint8Array> | Iterable<Uint8Array>) {
  const chunks: Uint8Array[] = [];
  let size = 0;
  for await (const chunk of body) {
    size += chunk.byteLength;
    if (size > MAX_ANSWER_BYTES) throw new TypeError("the answer is too large");
    chunks.push(chunk);
  }
  return Buffer.concat(chunks).toString("utf8");
}

function principalOf(
  provider: KubernetesProvider,
  { authenticated, audiences, error, user }: Reviewed,
  { expiresAtMs, tokenId }: Times,
  nowMs: number,
): Principal {
  const { name, audience } = provider;
  // The cluster's own words may be about anything; they are for the operator.
  if (!authenticated || user === undefined)
    throw refused(`the cluster ${name} does not know it`, new Error(error ?? "no reason given"));
  if (!audiences.includes(audience)) throw refused(`its audience is not "${audience}"`);
  const [, namespace = "", account = ""] = ACCOUNT.exec(user.username) ?? [];
  if (account === "") throw refused("it is not a service account's");
  const id = named(name, user.username, "username");
  if (!provider.serviceAccounts.some((pattern) => fits(pattern, `${namespace}/${account}`)))
    throw refused(
      `service account "${namespace}/${account}" is not one of ${provider.serviceAccounts.join(", ")}, which provider ${name} wants`,
    );
  return {
    kind: "workload",
    id,
    name: user.username,
    // An account that was removed and made again under its name is another.
    subject: named(name, user.uid, "uid"),
    groups: [...new Set(user.groups.map((group) => named(name, group, "groups")))],
    // Vouched for now; the token itself may be an hour old.
    verifiedAtMs: nowMs,
    voucher: { provider: name, tokenId, expiresAtMs, session: undefined, oneTime: false },
  };
}

function named(provider: string, value: string, what: string): string {
  const result = providerId(provider, value, what);
  if (!result.ok) throw refused(result.why);
  return result.id;
}

/** `ci/deployer`, or every account of a namespace: `ci/*`. */
function fits(pattern: string, account: string): boolean {
  return pattern.endsWith("/*") ? account.startsWith(pattern.slice(0, -1)) : pattern === account;
}

function unavailable(name: string, why: string, cause?: unknown): GatewayError {
  return new GatewayError("dependency_unavailable", `the cluster of provider ${name}: ${why}`, {
    hint: "try again; delegations that exist go on working",
    cause,
  });
}
