// A verified SAML assertion as a principal (SAML core section 2, profiles section 4.1.4). Reads the very
// bytes whose signature was checked; what the rest of the message said is not looked at here.

import type { SamlProvider } from "../config/config.ts";
import { providerId } from "./names.ts";
import type { Principal } from "./principal.ts";
import {
  attributeOf,
  childrenOf,
  elementChildren,
  onlyChild,
  readAssertion,
  SAML,
  samlRefused,
  textIn,
} from "./saml-document.ts";
import type { Element } from "./saml-xml.ts";

export interface Expectation {
  readonly provider: SamlProvider;
  /** Our entity id. */
  readonly audience: string;
  /** Our assertion consumer service. */
  readonly recipient: string;
  /** The request it answers; undefined: none, and it must not say that it does. */
  readonly requestId: string | undefined;
  readonly nowMs: number;
  readonly skewMs: number;
}

const BEARER = "urn:oasis:names:tc:SAML:2.0:cm:bearer";
const TRANSIENT = "urn:oasis:names:tc:SAML:2.0:nameid-format:transient";
const MAX_GROUPS = 512;
/** Of an assertion's own; the sign-in that it makes is another thing. */
const MAX_LIFE_MS = 3_600_000;
const CONDITIONS = new Set(["AudienceRestriction", "OneTimeUse", "ProxyRestriction"]);

/** Throws GatewayError "unauthenticated" with what does not fit. */
export function principalFrom(verifiedXml: string, expected: Expectation): Principal {
  const { provider, nowMs, skewMs } = expected;
  const assertion = readAssertion(verifiedXml);
  if (attributeOf(assertion, "Version") !== "2.0") throw samlRefused("it is not SAML 2.0");
  const id = attributeOf(assertion, "ID");
  if (id === undefined || id === "" || id.length > 256)
    throw samlRefused("its assertion has no identifier");
  checkIssuer(assertion, provider.entityId);
  const issuedAtMs = instantOf(assertion, "IssueInstant") ?? Number.NaN;
  if (!(issuedAtMs <= nowMs + skewMs)) throw samlRefused("it was issued in the future");
  const untilMs = confirmedUntil(onlyChild(assertion, SAML, "Subject"), expected);
  if (untilMs > issuedAtMs + MAX_LIFE_MS) throw samlRefused("it would be good for too long");
  checkConditions(onlyChild(assertion, SAML, "Conditions"), expected);
  const session = sessionOf(onlyChild(assertion, SAML, "AuthnStatement"));
  const attributes = attributesOf(assertion);
  const nameId = nameIdOf(assertion);
  const verifiedAtMs = Math.min(issuedAtMs, nowMs);
  const groupsUntilMs = earlier(
    provider.groups === undefined ? undefined : verifiedAtMs + provider.groupsMaxAgeMs,
    session.untilMs,
  );
  if ((groupsUntilMs ?? Number.POSITIVE_INFINITY) <= nowMs)
    throw samlRefused("its groups or the provider's session are too old already");
  const name = provider.username === undefined ? nameId : single(attributes, provider.username);
  const entity = idOf(provider.name, name, provider.username ?? "NameID");
  return {
    kind: "user",
    id: entity,
    name: entity.slice(provider.name.length + 1),
    subject: idOf(provider.name, nameId, "NameID"),
    groups: groupsOf(provider, attributes),
    verifiedAtMs,
    groupsUntilMs,
    voucher: {
      provider: provider.name,
      tokenId: id,
      expiresAtMs: untilMs,
      session: session.index,
      oneTime: true,
    },
  };
}

export function checkIssuer(element: Element, entityId: string): void {
  if (textIn(onlyChild(element, SAML, "Issuer")) !== entityId)
    throw samlRefused("its issuer is not the provider's entity id");
}

// Profiles section 4.1.4.3: any one bearer confirmation that fits is enough.
function confirmedUntil(subject: Element, expected: Expectation): number {
  const why = "no confirmation of its subject is for this address, this request and this time";
  for (const confirmation of childrenOf(subject, SAML, "SubjectConfirmation")) {
    if (attributeOf(confirmation, "Method") !== BEARER) continue;
    const data = onlyChild(confirmation, SAML, "SubjectConfirmationData");
    const untilMs = instantOf(data, "NotOnOrAfter") ?? Number.NaN;
    if (
      attributeOf(data, "Recipient") === expected.recipient &&
      attributeOf(data, "InResponseTo") === expected.requestId &&
      attributeOf(data, "NotBefore") === undefined &&
      expected.nowMs - expected.skewMs < untilMs
    )
      return untilMs;
  }
  throw samlRefused(why);
}

// Core section 2.5.1: a condition that is not understood leaves the assertion undecided, so refused.
function checkConditions(conditions: Element, expected: Expectation): void {
  const { nowMs, skewMs, audience } = expected;
  const notBefore = instantOf(conditions, "NotBefore");
  const until = instantOf(conditions, "NotOnOrAfter");
  if (notBefore !== undefined && nowMs + skewMs < notBefore)
    throw samlRefused("it is not valid yet");
  if (until !== undefined && nowMs - skewMs >= until) throw samlRefused("it has expired");
  const parts = elementChildren(conditions);
  if (parts.some((one) => one.namespaceURI !== SAML || !CONDITIONS.has(one.localName)))
    throw samlRefused("it has a condition that is not understood");
  const restrictions = childrenOf(conditions, SAML, "AudienceRestriction");
  const isOurs = (restriction: Element) =>
    childrenOf(restriction, SAML, "Audience").some((one) => textIn(one) === audience);
  if (restrictions.length === 0 || !restrictions.every(isOurs))
    throw samlRefused(`its audience is not "${audience}"`);
}

function sessionOf(statement: Element) {
  return {
    index: attributeOf(statement, "SessionIndex"),
    untilMs: instantOf(statement, "SessionNotOnOrAfter"),
  };
}

function nameIdOf(assertion: Element): string {
  const nameId = onlyChild(onlyChild(assertion, SAML, "Subject"), SAML, "NameID");
  // Another one every time: nobody could be known again by it.
  if (attributeOf(nameId, "Format") === TRANSIENT)
    throw samlRefused("its NameID is transient; the provider has to send a persistent one");
  return textIn(nameId);
}

function attributesOf(assertion: Element): ReadonlyMap<string, readonly string[]> {
  const attributes = new Map<string, readonly string[]>();
  for (const statement of childrenOf(assertion, SAML, "AttributeStatement"))
    for (const attribute of childrenOf(statement, SAML, "Attribute")) {
      const name = attributeOf(attribute, "Name") ?? "";
      if (attributes.has(name)) throw samlRefused("an attribute is given twice");
      attributes.set(name, childrenOf(attribute, SAML, "AttributeValue").map(textIn));
    }
  return attributes;
}

function single(attributes: ReadonlyMap<string, readonly string[]>, name: string): string {
  const [value, ...more] = attributes.get(name) ?? [];
  if (value === undefined || more.length > 0)
    throw samlRefused(`attribute "${name}" does not have exactly one value`);
  return value;
}

function groupsOf(
  { name, groups: claim }: SamlProvider,
  attributes: ReadonlyMap<string, readonly string[]>,
): readonly string[] {
  const values = claim === undefined ? [] : (attributes.get(claim) ?? []);
  if (values.length > MAX_GROUPS) throw samlRefused(`it lists more than ${MAX_GROUPS} groups`);
  return [...new Set(values.map((value) => idOf(name, value, claim ?? "")))];
}

function idOf(provider: string, value: string, what: string): string {
  const result = providerId(provider, value, what);
  if (!result.ok) throw samlRefused(result.why);
  return result.id;
}

/** Milliseconds; undefined: it is not there. SAML times are in UTC (core section 1.3.3). */
function instantOf(element: Element, name: string): number | undefined {
  const text = attributeOf(element, name);
  if (text === undefined) return undefined;
  const instant = /^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d{1,9})?Z$/.test(text)
    ? Date.parse(text)
    : Number.NaN;
  if (Number.isNaN(instant)) throw samlRefused(`its ${name} is not a time in UTC`);
  return instant;
}

function earlier(one: number | undefined, other: number | undefined): number | undefined {
  return one === undefined || other === undefined ? (one ?? other) : Math.min(one, other);
}
