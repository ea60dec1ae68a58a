// The gateway as a SAML 2.0 service provider for the command line (profiles section 4.1, HTTP-Redirect out
// and HTTP-POST in, bindings sections 3.4 and 3.5).
//
//   begin    the browser comes with a challenge (RFC 7636) and the port the command line listens on
//            → a signed request, remembered under its RelayState
//   answer   the provider's response, once a request → a one-time code, sent to that port of 127.0.0.1
//   redeem   the code with the verifier of the challenge → the principal
//
// Signatures are checked by node-saml against the configured certificates only. Before, the message has to
// be of the strict form of saml-document.ts; afterwards what is believed is read from the bytes that were
// verified (saml-assertion.ts). Times, the request and the rest are checked there, by the gateway's clock.
//
// A response that answers no request of ours is refused: nobody waits for it. Where the operator allows it
// (profiles section 4.1.5), such a one gives a code that the person types; the assertion it came from is
// spent with the sign-in it makes, as every other is.
//
// Owns what was begun and what was not yet redeemed, in memory: a restart ends both.

import { createHash, timingSafeEqual, X509Certificate } from "node:crypto";
import { readFileSync } from "node:fs";
import { SAML as NodeSaml, ValidateInResponseTo } from "@node-saml/node-saml";
import { decrypt } from "xml-encryption";
import type { Clock } from "../base/clock.ts";
import { GatewayError } from "../base/errors.ts";
import type { RandomBytes } from "../base/ids.ts";
import type { Secret } from "../base/secret.ts";
import type { SamlProvider } from "../config/config.ts";
import type { Principal } from "./principal.ts";
import { checkIssuer, principalFrom } from "./saml-assertion.ts";
import {
  attributeOf,
  childrenOf,
  decodeMessage,
  readAssertion,
  readResponse,
  SAML,
  samlRefused,
} from "./saml-document.ts";
import type { SamlKeys } from "./saml-keys.ts";

export interface Beginning {
  /** SHA-256 of the verifier, base64url. */
  readonly challenge: string;
  /** Where on 127.0.0.1 the command line listens. */
  readonly port: number;
  /** Given back to it as it came. */
  readonly state: string;
}

export interface Saml {
  readonly providers: readonly SamlProvider[];
  /** Our entity id at this provider. Throws GatewayError "not_found". */
  entityId(provider: string): string;
  /** XML. Throws GatewayError "not_found". */
  metadata(provider: string): string;
  /** Where the browser goes. Throws GatewayError: not_found, limit. */
  begin(provider: string, beginning: Beginning): Promise<URL>;
  /** Throws GatewayError: not_found; unauthenticated where no request of ours is answered. */
  answer(provider: string, response: string, relayState: string | undefined): Promise<Answer>;
  /** `<code>.<verifier>`, once; the verifier of a code that was shown is empty. Throws GatewayError "unauthenticated". */
  redeem(token: Secret): Principal;
}

export type Answer =
  /** Where the browser goes: with a code, or with what was wrong as `refusal`. */
  | { readonly kind: "redirect"; readonly url: URL; readonly refusal: GatewayError | undefined }
  /** What the browser shows: nobody waits for it but the person. */
  | { readonly kind: "shown"; readonly code: string };

export interface SamlDeps {
  readonly providers: readonly SamlProvider[];
  /** `https://…` of this gateway, where a provider does not say another. */
  readonly baseUrl: string;
  readonly keys: SamlKeys;
  readonly clockSkewMs: number;
  readonly clock: Clock;
  readonly random: RandomBytes;
}

interface Pending extends Beginning {
  readonly provider: string;
  readonly requestId: string;
}

const REQUEST_LIFE_MS = 10 * 60_000;
const CODE_LIFE_MS = 60_000;
const MAX_WAITING = 10_000;
const MIN_RSA_BITS = 2048;
/** The challenge of an empty verifier. */
const NO_VERIFIER = createHash("sha256").update("").digest("base64url");

/** Throws GatewayError "configuration". */
export function createSaml(deps: SamlDeps): Saml {
  const { clock, random } = deps;
  const services = new Map(deps.providers.map((one) => [one.name, openService(deps, one)]));
  const pending = createWaiting<Pending>(clock, REQUEST_LIFE_MS);
  const codes = createWaiting<{ readonly challenge: string; readonly principal: Principal }>(
    clock,
    CODE_LIFE_MS,
  );
  const serviceOf = (name: string): Service => {
    const service = services.get(name);
    if (service === undefined)
      throw new GatewayError("not_found", "there is no SAML provider of this name");
    return service;
  };
  return {
    providers: deps.providers,
    entityId: (name) => serviceOf(name).entityId,
    metadata: (name) => serviceOf(name).metadata(),
    async begin(name, beginning) {
      const service = serviceOf(name);
      const requestId = `_${random(20).toString("hex")}`;
      const relayState = random(32).toString("base64url");
      pending.put(relayState, { ...beginning, provider: name, requestId });
      return new URL(await service.requestUrl(requestId, relayState));
    },
    async answer(name, response, relayState) {
      const service = serviceOf(name);
      const asked = relayState === undefined ? undefined : pending.take(relayState);
      if (asked === undefined && service.idpInitiated) {
        const principal = await service.verify(response, undefined, clock.nowMs());
        // It is typed, or put into a command line, where a dash would be an option.
        const code = random(16).toString("hex");
        codes.put(code, { challenge: NO_VERIFIER, principal });
        return { kind: "shown", code };
      }
      if (asked === undefined || asked.provider !== name)
        throw samlRefused("it answers no request of this gateway; sign in with custody login");
      try {
        const principal = await service.verify(response, asked.requestId, clock.nowMs());
        const code = random(32).toString("base64url");
        codes.put(code, { challenge: asked.challenge, principal });
        return { kind: "redirect", url: loopback(asked, { code }), refusal: undefined };
      } catch (thrown) {
        if (!(thrown instanceof GatewayError) || thrown.code !== "unauthenticated") throw thrown;
        const refusal = { error: "access_denied", error_description: thrown.message };
        return { kind: "redirect", url: loopback(asked, refusal), refusal: thrown };
      }
    },
    redeem(token) {
      const [code = "", verifier = "", ...rest] = token.reveal().split(".");
      const found = rest.length > 0 ? undefined : codes.take(code);
      const challenge = createHash("sha256").update(verifier).digest();
      const wanted = Buffer.from(found?.challenge ?? "", "base64url");
      const fits = wanted.length === challenge.length && timingSafeEqual(wanted, challenge);
      if (found === undefined || !fits)
        throw samlRefused("the code is not good, or no longer; sign in again");
      return found.principal;
    },
  };
}

function loopback({ port, state }: Beginning, parameters: Readonly<Record<string, string>>): URL {
  const url = new URL(`http://127.0.0.1:${port}/callback`);
  url.search = new URLSearchParams({ ...parameters, state }).toString();
  return url;
}

interface Waiting<Value> {
  /** Throws GatewayError "limit". */
  put(key: string, value: Value): void;
  /** Once; undefined: unknown, taken or too old. */
  take(key: string): Value | undefined;
}

/** Kept under a digest, so that looking one up tells nothing of it by how long it takes. */
function createWaiting<Value>(clock: Clock, lifeMs: number): Waiting<Value> {
  const kept = new Map<string, { readonly value: Value; readonly untilMs: number }>();
  const digest = (key: string) => createHash("sha256").update(key).digest("base64url");
  return {
    put(key, value) {
      const nowMs = clock.nowMs();
      // All live equally long, so the oldest come first.
      for (const [old, { untilMs }] of kept) {
        if (untilMs > nowMs) break;
        kept.delete(old);
      }
      if (kept.size >= MAX_WAITING)
        throw new GatewayError("limit", "too many sign-ins at once; wait a minute");
      kept.set(digest(key), { value, untilMs: nowMs + lifeMs });
    },
    take(key) {
      const found = kept.get(digest(key));
      kept.delete(digest(key));
      return found !== undefined && found.untilMs > clock.nowMs() ? found.value : undefined;
    },
  };
}

interface Service {
  readonly entityId: string;
  readonly idpInitiated: boolean;
  metadata(): string;
  requestUrl(requestId: string, relayState: string): Promise<string>;
  /** `requestId` undefined: it must answer none. */
  verify(response: string, requestId: string | undefined, nowMs: number): Promise<Principal>;
}

function openService(deps: SamlDeps, provider: SamlProvider): Service {
  const { keys, clockSkewMs: skewMs } = deps;
  const base = provider.url ?? deps.baseUrl;
  const at = (path: string) => new URL(`/saml/${provider.name}/${path}`, base).href;
  const recipient = at("acs");
  const entityId = at("metadata");
  const options = {
    callbackUrl: recipient,
    issuer: entityId,
    entryPoint: provider.ssoUrl,
    idpCert: certificatesOf(provider),
    identifierFormat: null,
    disableRequestedAuthnContext: true,
    privateKey: keys.privateKeyPem,
    publicCert: keys.certificatePem,
    decryptionPvk: keys.privateKeyPem,
    signatureAlgorithm: "sha256" as const,
    digestAlgorithm: "sha256",
    wantAssertionsSigned: provider.signed !== "response",
    wantAuthnResponseSigned: provider.signed !== "assertion",
    // By our own clock and memory instead, with words that help (saml-assertion.ts).
    audience: false as const,
    acceptedClockSkewMs: -1,
    validateInResponseTo: ValidateInResponseTo.never,
  };
  const node = new NodeSaml(options);
  return {
    entityId,
    idpInitiated: provider.idpInitiated,
    metadata: () => node.generateServiceProviderMetadata(keys.certificatePem, keys.certificatePem),
    requestUrl: (requestId, relayState) =>
      new NodeSaml({ ...options, generateUniqueId: () => requestId }).getAuthorizeUrlAsync(
        relayState,
        undefined,
        {},
      ),
    async verify(response, requestId, nowMs) {
      const text = decodeMessage(response);
      await checkMessage(text, { provider, recipient, requestId, key: keys.privateKeyPem });
      const verified = await verifiedAssertion(node, text);
      const audience = entityId;
      return principalFrom(verified, { provider, audience, recipient, requestId, nowMs, skewMs });
    },
  };
}

/** What the message as a whole has to be, signed or not. */
async function checkMessage(
  text: string,
  expected: {
    readonly provider: SamlProvider;
    readonly recipient: string;
    readonly requestId: string | undefined;
    readonly key: string;
  },
): Promise<void> {
  const { provider, recipient, requestId, key } = expected;
  const { root, assertion, isEncrypted } = readResponse(text);
  if (attributeOf(root, "Version") !== "2.0") throw samlRefused("it is not SAML 2.0");
  if (attributeOf(root, "InResponseTo") !== requestId)
    throw samlRefused("it answers another request");
  // Bindings section 3.5.5.2: a signed message has to say where it is sent; here every one has to.
  if (attributeOf(root, "Destination") !== recipient) throw samlRefused("it was sent elsewhere");
  if (childrenOf(root, SAML, "Issuer").length > 0) checkIssuer(root, provider.entityId);
  if (isEncrypted) readAssertion(await decrypted(assertion.toString(), key));
  else if (provider.encrypted) throw samlRefused("its assertion is not encrypted");
}

/** Why it failed is not told: whoever alters ciphertext should learn nothing from the answer. */
function decrypted(xml: string, key: string): Promise<string> {
  return new Promise((resolve, reject) => {
    const options = { key, disallowDecryptionWithInsecureAlgorithm: true };
    decrypt(xml, options, (error, text) => {
      if (error === null || error === undefined) resolve(String(text));
      else reject(samlRefused("it cannot be decrypted", error));
    });
  });
}

/** The canonical bytes of the assertion whose signature was checked. */
async function verifiedAssertion(node: NodeSaml, text: string): Promise<string> {
  try {
    const SAMLResponse = Buffer.from(text, "utf8").toString("base64");
    const { profile } = await node.validatePostResponseAsync({ SAMLResponse });
    const xml = profile?.getAssertionXml?.();
    if (xml !== undefined) return xml;
  } catch (thrown) {
    throw samlRefused("its signature is not one of the provider", thrown);
  }
  throw samlRefused("nothing in it is signed");
}

/** Pinned: their dates and issuers say nothing here. */
function certificatesOf({ name, certificateFiles }: SamlProvider): string[] {
  return certificateFiles.map((file) => {
    let certificate: X509Certificate;
    try {
      certificate = new X509Certificate(readFileSync(file));
    } catch (cause) {
      throw new GatewayError("configuration", `provider ${name}: ${file} is no certificate`, {
        cause,
      });
    }
    const { asymmetricKeyType, asymmetricKeyDetails } = certificate.publicKey;
    const isStrong = (asymmetricKeyDetails?.modulusLength ?? 0) >= MIN_RSA_BITS;
    if (asymmetricKeyType !== "rsa" || !isStrong)
      throw new GatewayError(
        "configuration",
        `provider ${name}: the key in ${file} is not RSA with at least ${MIN_RSA_BITS} bits`,
      );
    return certificate.toString();
  });
}
