// Tokens of OpenID Connect issuers, verified (RFC 7519, RFC 8725, OpenID Connect Core 1.0 §3.1.3.7,
// RFC 9068 for access tokens) and mapped to principals.
//
// The unverified `iss` only chooses which provider's keys are tried; everything that is believed is
// read from the payload whose signature was checked. Keys come from the provider's key set alone:
// `jwk`, `jku` and `x5u` in a header are never followed.

import { readFileSync } from "node:fs";
import { decodeJwt, errors, type JWTPayload, type JWTVerifyResult, jwtVerify } from "jose";
import type { Clock } from "../base/clock.ts";
import { GatewayError } from "../base/errors.ts";
import type { Secret } from "../base/secret.ts";
import type { Provider } from "../config/config.ts";
import { createProviderKeys, type ProviderKeys } from "./keys.ts";
import { providerId } from "./names.ts";
import type { Principal } from "./principal.ts";

/** What the bearer says the token is; "jwt" leaves it to the provider's configuration. */
export type PresentedType = "id_token" | "access_token" | "jwt";

export interface IdentityLimits {
  /** How far a provider's clock may be from ours. */
  readonly clockSkewMs: number;
  readonly providerStaleMs: number;
}

export interface Identity extends AsyncDisposable {
  /**
   * Throws GatewayError: unauthenticated (with what did not fit), dependency_unavailable (the
   * provider's keys cannot be had).
   */
  verify(token: Secret, presented: PresentedType): Promise<Principal>;
}

const MAX_TOKEN_LENGTH = 16_384;
const MAX_GROUPS = 512;
// Asymmetric only, whatever a configuration says: an HMAC "key" would be the provider's public key.
const ASYMMETRIC = /^(RS|PS|ES)(256|384|512)$|^EdDSA$|^Ed25519$/;

interface Issuer {
  readonly provider: Provider;
  readonly keys: ProviderKeys;
  readonly skewS: number;
}

export function createIdentity(
  providers: Iterable<Provider>,
  limits: IdentityLimits,
  clock: Clock,
): Identity {
  const issuers = [...providers].map((provider) => openIssuer(provider, limits, clock));
  return {
    async verify(token, presented) {
      const text = token.reveal();
      const named = issuerOf(text);
      const candidates = issuers.filter(({ provider }) => provider.issuer === named);
      if (candidates.length === 0) throw refused("its issuer is not a provider of this gateway");
      let last: unknown;
      // Two providers of one issuer differ in audience or pinned claims: the first that fits.
      for (const issuer of candidates)
        try {
          return await verifyWith(issuer, text, presented, clock);
        } catch (thrown) {
          last = thrown;
        }
      throw last;
    },
    async [Symbol.asyncDispose]() {
      await Promise.all(issuers.map(({ keys }) => keys[Symbol.asyncDispose]()));
    },
  };
}

function openIssuer(provider: Provider, limits: IdentityLimits, clock: Clock): Issuer {
  const unfit = provider.algorithms.find((algorithm) => !ASYMMETRIC.test(algorithm));
  if (unfit !== undefined || provider.algorithms.length === 0)
    throw new GatewayError(
      "configuration",
      `provider ${provider.name}: algorithms must be asymmetric signatures such as RS256, ES256 or EdDSA`,
    );
  const { name, issuer, insecureHttp } = provider;
  const ca = provider.caFile === undefined ? undefined : readCa(provider.name, provider.caFile);
  const source = { name, issuer, ca, insecureHttp, staleMs: limits.providerStaleMs };
  return { provider, keys: createProviderKeys(source, clock), skewS: limits.clockSkewMs / 1000 };
}

function readCa(provider: string, file: string): string {
  try {
    return readFileSync(file, "utf8");
  } catch (thrown) {
    throw new GatewayError("configuration", `provider ${provider}: ${file} cannot be read`, {
      cause: thrown,
    });
  }
}

function issuerOf(text: string): string {
  if (text.length > MAX_TOKEN_LENGTH) throw refused("it is too long");
  try {
    const { iss } = decodeJwt(text);
    if (typeof iss === "string") return iss;
  } catch (thrown) {
    throw refused("it is not a signed JWT", thrown);
  }
  throw refused("it names no issuer");
}

async function verifyWith(
  issuer: Issuer,
  text: string,
  presented: PresentedType,
  clock: Clock,
): Promise<Principal> {
  const { provider, skewS } = issuer;
  if (presented !== "jwt" && presented !== provider.token)
    throw refused(
      `provider ${provider.name} takes ${words(provider.token)}, and this was presented as ${words(presented)}`,
    );
  const nowMs = clock.nowMs();
  const { payload, protectedHeader } = await checkSignature(issuer, text, nowMs);
  const why =
    wrongTimes(payload, nowMs / 1000 + skewS) ??
    wrongType(provider, protectedHeader.typ, payload) ??
    wrongParty(provider, payload) ??
    wrongPin(provider, payload);
  if (why !== undefined) throw refused(why);
  return principalOf(provider, payload, nowMs);
}

async function checkSignature(
  { provider, keys, skewS }: Issuer,
  text: string,
  nowMs: number,
): Promise<JWTVerifyResult> {
  try {
    return await jwtVerify(text, keys.getKey, {
      algorithms: [...provider.algorithms],
      issuer: provider.issuer,
      audience: provider.audience,
      clockTolerance: skewS,
      requiredClaims: ["sub", "exp", "iat"],
      currentDate: new Date(nowMs),
    });
  } catch (thrown) {
    if (thrown instanceof GatewayError) throw thrown;
    throw refused(explain(provider, thrown), thrown);
  }
}

function explain(provider: Provider, thrown: unknown): string {
  if (thrown instanceof errors.JWTExpired) return "it has expired";
  if (thrown instanceof errors.JWTClaimValidationFailed) {
    if (thrown.claim === "aud") return `its audience is not "${provider.audience}"`;
    return `its claim "${thrown.claim}" ${thrown.reason === "missing" ? "is missing" : "does not fit"}`;
  }
  if (thrown instanceof errors.JOSEAlgNotAllowed)
    return `its algorithm is not one of ${provider.algorithms.join(", ")}`;
  if (thrown instanceof errors.JWKSNoMatchingKey)
    return `no key of the provider ${provider.name} fits it`;
  return `its signature is not one of the provider ${provider.name}`;
}

// jose checks exp and nbf; a token "issued" in the future is a clock or a forger to be told about.
function wrongTimes(payload: JWTPayload, latestS: number): string | undefined {
  const issuedAtS = payload.iat ?? Number.NaN;
  return issuedAtS <= latestS ? undefined : "it was issued in the future";
}

// RFC 8725 section 3.11, 3.12: one kind of JWT must not pass for another. Access tokens say so in
// their type (RFC 9068); ID tokens have no type of their own, but never a scope.
function wrongType(
  provider: Provider,
  headerType: string | undefined,
  payload: JWTPayload,
): string | undefined {
  const type = headerType?.toLowerCase().replace(/^application\//, "");
  if (provider.token === "access_token")
    return type === "at+jwt" ? undefined : "it is not an access token (typ at+jwt)";
  const plain = type === undefined || type === "jwt";
  const inside = payload.typ === undefined || payload.typ === "ID";
  const scoped = payload.scope !== undefined || payload.scp !== undefined;
  return plain && inside && !scoped ? undefined : "it is not an ID token";
}

// OpenID Connect Core 3.1.3.7, items 3 to 5: a token for several audiences names the one it was
// issued to, and that one is us.
function wrongParty(provider: Provider, payload: JWTPayload): string | undefined {
  const expected = provider.clientId ?? provider.audience;
  const party = payload.azp ?? (provider.token === "access_token" ? payload.client_id : undefined);
  const several = Array.isArray(payload.aud) && payload.aud.length > 1;
  if (party === undefined)
    return several || (provider.clientId !== undefined && provider.token === "access_token")
      ? "it does not say which client it was issued to"
      : undefined;
  const checked = provider.clientId !== undefined || provider.token === "id_token";
  return !checked || party === expected ? undefined : "it was issued to another client";
}

function wrongPin(provider: Provider, payload: JWTPayload): string | undefined {
  for (const [claim, allowed] of Object.entries(provider.claims)) {
    const value = Object.hasOwn(payload, claim) ? payload[claim] : undefined;
    if (allowed.some((wanted) => wanted === value)) continue;
    const wanted = allowed.map((one) => JSON.stringify(one)).join(" or ");
    return `claim "${claim}" is ${shown(value)}; provider ${provider.name} wants ${wanted}`;
  }
  return undefined;
}

function principalOf(provider: Provider, payload: JWTPayload, nowMs: number): Principal {
  const claim = (name: string): unknown =>
    Object.hasOwn(payload, name) ? payload[name] : undefined;
  const id = providerId(provider.name, claim(provider.username), provider.username);
  if (!id.ok) throw refused(id.why);
  const subject = providerId(provider.name, payload.sub, "sub");
  if (!subject.ok) throw refused(subject.why);
  // An address that its provider did not check is anybody's.
  if (provider.username === "email" && payload.email_verified !== true)
    throw refused('claim "email_verified" is not true, and the e-mail address is the name');
  return {
    kind: provider.kind === "users" ? "user" : "workload",
    id: id.id,
    name: String(claim(provider.username)),
    subject: subject.id,
    groups: groupsOf(provider, payload),
    verifiedAtMs: nowMs,
  };
}

function groupsOf(provider: Provider, payload: JWTPayload): readonly string[] {
  if (provider.groups === undefined) return [];
  // A provider that leaves out a long list says so here; a forbid on a group must not be passed by it.
  if (Object.hasOwn(Object(payload._claim_names), provider.groups))
    throw refused(`claim "${provider.groups}" was left out by the provider because it is too long`);
  const list = payload[provider.groups] ?? [];
  if (!Array.isArray(list)) throw refused(`claim "${provider.groups}" is not a list`);
  if (list.length > MAX_GROUPS)
    throw refused(`claim "${provider.groups}" lists more than ${MAX_GROUPS} groups`);
  const groups = new Set<string>();
  for (const value of list) {
    const group = providerId(provider.name, value, provider.groups);
    if (!group.ok) throw refused(group.why);
    groups.add(group.id);
  }
  return [...groups];
}

/** The bearer's own claim, bounded and escaped. */
function shown(value: unknown): string {
  if (value === undefined) return "missing";
  const text = JSON.stringify(value);
  return text.length > 100 ? `${text.slice(0, 100)}…` : text;
}

function words(type: PresentedType): string {
  return type === "id_token" ? "ID tokens" : type === "access_token" ? "access tokens" : "JWTs";
}

function refused(why: string, cause?: unknown): GatewayError {
  return new GatewayError("unauthenticated", `this token is not accepted: ${why}`, {
    ...(cause === undefined ? {} : { cause }),
  });
}
