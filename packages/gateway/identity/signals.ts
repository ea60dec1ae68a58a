// What a provider tells of its own accord: a session of its own has ended.
//
//   logout            OpenID Connect Back-Channel Logout 1.0 section 2.6
//   session-revoked   OpenID CAEP 1.0 section 3.1 in a security event token (RFC 8417), the subject
//                     named as RFC 9493 does
//
// Each is taken once and soon: the caller keeps `tokenId` until `keptUntilMs` and refuses it again.

import type { JWTPayload } from "jose";
import { GatewayError } from "../base/errors.ts";
import type { Secret } from "../base/secret.ts";
import type { Provider } from "../config/config.ts";
import {
  checkSignature,
  type Issuer,
  issuedInFuture,
  MAX_TOKEN_LENGTH,
  refused,
} from "./issuers.ts";
import { providerId } from "./names.ts";

export type SignalKind = "logout" | "session-revoked";

export interface Signal {
  readonly provider: string;
  readonly kind: SignalKind;
  readonly tokenId: string;
  readonly issuedAtMs: number;
  /** Afterwards it would be refused as too old. */
  readonly keptUntilMs: number;
  readonly whom: SignalSubject;
}

/** At least one is there. Several narrow each other: this session of this subject. */
export interface SignalSubject {
  /** `<provider>/<subject>` */
  readonly subject: string | undefined;
  /** `<provider>/<e-mail address>`, where the address is the name. */
  readonly id: string | undefined;
  /** The provider's session. */
  readonly session: string | undefined;
}

const LOGOUT_EVENT = "http://schemas.openid.net/event/backchannel-logout";
const REVOKED_EVENT = "https://schemas.openid.net/secevent/caep/event-type/session-revoked";
/** The age at which one is refused: long enough for a provider that tries again for a while. */
const MAX_AGE_S: Readonly<Record<SignalKind, number>> = {
  logout: 10 * 60,
  "session-revoked": 24 * 3600,
};

export async function verifySignal(
  issuer: Issuer | undefined,
  kind: SignalKind,
  token: Secret,
  nowMs: number,
): Promise<Signal> {
  if (issuer === undefined || issuer.provider.preset !== undefined)
    throw new GatewayError("not_found", "there is no such provider, or it has no sessions");
  const { provider, skewS } = issuer;
  const text = token.reveal();
  if (text.length > MAX_TOKEN_LENGTH) throw refused("it is too long");
  const { payload } = await checkSignature(issuer, text, expectedOf(provider, kind), nowMs);
  const { iat = 0, jti } = payload;
  const nowS = nowMs / 1000;
  const future = issuedInFuture(iat, nowS + skewS);
  if (future !== undefined) throw refused(future);
  if (iat < nowS - MAX_AGE_S[kind] - skewS) throw refused("it is too old");
  if (typeof jti !== "string" || jti === "") throw refused('claim "jti" is missing');
  const event = eventOf(payload, kind === "logout" ? LOGOUT_EVENT : REVOKED_EVENT);
  return {
    provider: provider.name,
    kind,
    tokenId: jti,
    issuedAtMs: iat * 1000,
    keptUntilMs: (iat + MAX_AGE_S[kind] + 2 * skewS) * 1000,
    whom:
      kind === "logout"
        ? logoutSubject(provider, payload)
        : revokedSubject(provider, payload.sub_id ?? event.subject),
  };
}

function expectedOf(provider: Provider, kind: SignalKind) {
  const client = provider.clientId ?? provider.audience;
  return kind === "logout"
    ? { typ: "logout+jwt", audience: client, requiredClaims: ["iat", "exp", "jti", "events"] }
    : {
        typ: "secevent+jwt",
        audience: [...new Set([client, provider.audience])],
        requiredClaims: ["iat", "jti", "events"],
      };
}

/** The one event it has to be about; of any other we would not know what it asks. */
function eventOf(payload: JWTPayload, name: string): Readonly<Record<string, unknown>> {
  const events = Object(payload.events);
  const event: unknown = Object.hasOwn(events, name) ? events[name] : undefined;
  if (typeof event !== "object" || event === null || Array.isArray(event))
    throw refused(`it does not hold the event ${name}`);
  return { ...event };
}

function logoutSubject(provider: Provider, payload: JWTPayload): SignalSubject {
  // Section 2.4: what has a nonce is an ID token that somebody passes off as a logout token.
  if (Object.hasOwn(payload, "nonce")) throw refused("it has a nonce, which no logout token has");
  const { sub, sid } = payload;
  return oneAtLeast({
    subject: sub === undefined ? undefined : subjectId(provider, sub),
    id: undefined,
    session: sid === undefined ? undefined : sessionId(sid),
  });
}

/** RFC 9493 section 3: iss_sub, email, opaque (a session) and a complex subject of these. */
function revokedSubject(provider: Provider, value: unknown): SignalSubject {
  const subject = Object(value);
  const isComplex =
    subject.format === "complex" ||
    (subject.format === undefined && (subject.user ?? subject.session) !== undefined);
  if (!isComplex) return oneAtLeast(simpleSubject(provider, subject));
  for (const part of Object.keys(subject))
    if (!["format", "user", "session"].includes(part))
      throw refused(`its subject has a part "${part.slice(0, 32)}" that is not known here`);
  const user = subject.user === undefined ? NOBODY : simpleSubject(provider, subject.user);
  const session = subject.session === undefined ? NOBODY : simpleSubject(provider, subject.session);
  return oneAtLeast({ ...user, session: session.session });
}

const NOBODY: SignalSubject = { subject: undefined, id: undefined, session: undefined };

function simpleSubject(provider: Provider, value: unknown): SignalSubject {
  const { format, iss, sub, email, id } = Object(value);
  if (format === "iss_sub") {
    if (iss !== provider.issuer) throw refused("its subject is of another issuer");
    return { ...NOBODY, subject: subjectId(provider, sub) };
  }
  if (format === "opaque") return { ...NOBODY, session: sessionId(id) };
  if (format === "email" && provider.username === "email") {
    const named = providerId(provider.name, email, "email");
    if (!named.ok) throw refused(named.why);
    return { ...NOBODY, id: named.id };
  }
  throw refused("its subject is in a format that is not taken here: iss_sub, opaque or email");
}

function subjectId(provider: Provider, sub: unknown): string {
  const subject = providerId(provider.name, sub, "sub");
  if (!subject.ok) throw refused(subject.why);
  return subject.id;
}

function sessionId(sid: unknown): string {
  if (typeof sid === "string" && sid.length > 0 && sid.length <= 256) return sid;
  throw refused('claim "sid" is not a session of the provider');
}

function oneAtLeast(whom: SignalSubject): SignalSubject {
  if (whom.subject === undefined && whom.id === undefined && whom.session === undefined)
    throw refused("it names neither a subject nor a session");
  return whom;
}
