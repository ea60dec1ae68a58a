// Tokens of OpenID Connect issuers, verified (RFC 7519, RFC 8725, OpenID Connect Core 1.0 §3.1.3.7,
// RFC 9068 for access tokens) and mapped to principals.
//
// The unverified `iss` only chooses which provider's keys are tried; everything that is believed is
// read from the payload whose signature was checked. Keys come from the provider's key set alone:
// `jwk`, `jku` and `x5u` in a header are never followed.

import { decodeJwt, type JWTPayload } from "jose";
import type { Clock } from "../base/clock.ts";
import type { Secret } from "../base/secret.ts";
import type { Provider } from "../config/config.ts";
import { actorsOf } from "./actors.ts";
import {
  checkSignature,
  type IdentityLimits,
  type Issuer,
  issuedInFuture,
  MAX_TOKEN_LENGTH,
  openIssuer,
  refused,
} from "./issuers.ts";
import { providerId } from "./names.ts";
import type { Principal } from "./principal.ts";
import { type Signal, type SignalKind, verifySignal } from "./signals.ts";

/** What the bearer says the token is; "jwt" leaves it to the provider's configuration. */
export type PresentedType = "id_token" | "access_token" | "jwt";

export interface Identity {
  /**
   * Throws GatewayError: unauthenticated (with what did not fit), dependency_unavailable (the
   * provider's keys cannot be had).
   */
  verify(token: Secret, presented: PresentedType): Promise<Principal>;
  /** What a provider tells us of its own accord. Throws GatewayError: also not_found, invalid. */
  signal(provider: string, kind: SignalKind, token: Secret): Promise<Signal>;
}

/** Of the issuers of a configuration, which may be replaced by those of another. */
export interface LiveIdentity extends Identity, AsyncDisposable {
  /**
   * What did not change keeps the keys it knows. Throws GatewayError "configuration"; then all is as it
   * was.
   */
  replace(providers: Iterable<Provider>): void;
}

const MAX_GROUPS = 512;

export function createIdentity(
  providers: Iterable<Provider>,
  limits: IdentityLimits,
  clock: Clock,
): LiveIdentity {
  let issuers = [...providers].map((provider) => openIssuer(provider, limits, clock));
  return {
    async verify(token, presented) {
      const text = token.reveal();
      const named = claimed(text);
      const candidates = issuers.filter(({ provider }) => isOf(provider, named));
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
    signal: (provider, kind, token) =>
      verifySignal(
        issuers.find((issuer) => issuer.provider.name === provider),
        kind,
        token,
        clock.nowMs(),
      ),
    replace(next) {
      const before = new Map(issuers.map((issuer) => [JSON.stringify(issuer.provider), issuer]));
      const after = [...next].map(
        (provider) => before.get(JSON.stringify(provider)) ?? openIssuer(provider, limits, clock),
      );
      const dropped = issuers.filter((issuer) => !after.includes(issuer));
      issuers = after;
      // What was being asked of one that is gone fails, as it would at a restart.
      for (const { keys } of dropped)
        Promise.resolve(keys[Symbol.asyncDispose]()).catch(() => undefined);
    },
    async [Symbol.asyncDispose]() {
      await Promise.all(issuers.map(({ keys }) => keys[Symbol.asyncDispose]()));
    },
  };
}

/** What the unverified token says of its origin. */
function claimed(text: string): JWTPayload {
  if (text.length > MAX_TOKEN_LENGTH) throw refused("it is too long");
  let payload: JWTPayload;
  try {
    payload = decodeJwt(text);
  } catch (thrown) {
    throw refused("it is not a signed JWT", thrown);
  }
  if (typeof payload.iss === "string" || String(payload.sub).startsWith("spiffe://"))
    return payload;
  throw refused("it names no issuer");
}

function isOf({ preset, issuer }: Provider, { iss, sub }: JWTPayload): boolean {
  return preset === "spiffe"
    ? typeof sub === "string" && sub.startsWith(`${issuer}/`)
    : iss === issuer;
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
  // JWT-SVID section 3 asks for no iat.
  const times = provider.preset === "spiffe" ? ["exp"] : ["exp", "iat"];
  const expected = { audience: provider.audience, requiredClaims: ["sub", ...times] };
  const { payload, protectedHeader } = await checkSignature(issuer, text, expected, nowMs);
  const why =
    (provider.preset === "spiffe" && payload.iat === undefined
      ? undefined
      : issuedInFuture(payload.iat, nowMs / 1000 + skewS)) ??
    wrongType(provider, protectedHeader.typ, payload) ??
    wrongParty(provider, payload) ??
    wrongPin(provider, payload);
  if (why !== undefined) throw refused(why);
  return principalOf(provider, payload, nowMs);
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
  // JWT-SVID section 2.3.
  const svid = provider.preset === "spiffe" && type === "jose";
  const plain = type === undefined || type === "jwt" || svid;
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
    const value = claimOf(payload, claim);
    if (allowed.some((wanted) => wanted === value)) continue;
    const wanted = allowed.map((one) => JSON.stringify(one)).join(" or ");
    return `claim "${claim}" is ${shown(value)}; provider ${provider.name} wants ${wanted}`;
  }
  return undefined;
}

/** The claim of that name; where there is none, `a/b` is b within a. */
function claimOf(payload: JWTPayload, name: string): unknown {
  if (Object.hasOwn(payload, name)) return payload[name];
  // A claim's name may hold a slash itself: "kubernetes.io/serviceaccount/name" is found by its longest
  // first part that is there.
  for (let end = name.lastIndexOf("/"); end > 0; end = name.lastIndexOf("/", end - 1)) {
    const first = name.slice(0, end);
    const value = Object.hasOwn(payload, first) ? payload[first] : undefined;
    if (typeof value === "object" && value !== null && !Array.isArray(value))
      return claimOf({ ...value }, name.slice(end + 1));
  }
  return undefined;
}

function principalOf(provider: Provider, payload: JWTPayload, nowMs: number): Principal {
  const named = (claim: string): string => {
    const value = claimOf(payload, claim);
    // The trust domain is the provider already.
    const inDomain = provider.preset === "spiffe" && claim === "sub";
    const text = inDomain ? String(value).slice(provider.issuer.length + 1) : value;
    const id = providerId(provider.name, text, claim);
    if (!id.ok) throw refused(id.why);
    return id.id;
  };
  const id = named(provider.username);
  const subject = named(provider.subject ?? "sub");
  // An address that its provider did not check is anybody's.
  if (provider.username === "email" && payload.email_verified !== true)
    throw refused('claim "email_verified" is not true, and the e-mail address is the name');
  const issuedAtMs = Math.min(nowMs, (payload.iat ?? nowMs / 1000) * 1000);
  const { jti, sid } = payload;
  if (provider.oneTime === true && typeof jti !== "string")
    throw refused(`claim "jti" is missing, and provider ${provider.name} takes a token once`);
  const foreign = actorsOf(provider.name, payload);
  if (!foreign.ok) throw refused(foreign.why);
  return {
    kind: provider.kind === "users" ? "user" : "workload",
    id,
    name: id.slice(provider.name.length + 1),
    subject,
    groups: groupsOf(provider, payload),
    ...(foreign.actors.length === 0 ? {} : { actors: foreign.actors }),
    verifiedAtMs: issuedAtMs,
    groupsUntilMs:
      provider.groups === undefined || provider.groupsMaxAgeMs === undefined
        ? undefined
        : issuedAtMs + provider.groupsMaxAgeMs,
    voucher: {
      provider: provider.name,
      tokenId: typeof jti === "string" ? jti : undefined,
      expiresAtMs: (payload.exp ?? 0) * 1000,
      session: typeof sid === "string" ? sid : undefined,
      oneTime: provider.oneTime === true,
    },
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
