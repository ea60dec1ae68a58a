// A SAML identity provider that is not ours: samlify reads and verifies the gateway's requests by the
// gateway's own metadata, and signs and encrypts the responses. What it says in them can be altered before
// it signs, which is how a provider that is wrong or hostile is played.

import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { createRequire } from "node:module";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { openSamlKeys } from "@custody/gateway/identity/saml-keys.ts";

// Its types would bring the browser's DOM with them, so what is used of it is typed here.
interface Entity {
  readonly entityMeta: unknown;
}
interface IdentityProvider extends Entity {
  parseLoginRequest(
    sp: Entity,
    binding: string,
    request: { readonly query: Record<string, string>; readonly octetString: string },
  ): Promise<{ readonly extract: { readonly request: { readonly id: string } } }>;
  createLoginResponse(
    sp: Entity,
    request: object,
    binding: string,
    user: object,
    options: {
      readonly customTagReplacement: (template: string) => { id: string; context: string };
      readonly encryptThenSign?: boolean;
    },
  ): Promise<{ readonly context: string }>;
}
interface Samlify {
  IdentityProvider(settings: object): IdentityProvider;
  ServiceProvider(settings: object): Entity;
  setSchemaValidator(validator: { validate(xml: string): Promise<string> }): void;
}
const samlify: Samlify = createRequire(import.meta.url)("samlify");
// Schemas are for the receiver; here that is the gateway.
samlify.setSchemaValidator({ validate: async () => "unchecked" });

export interface SamlWords {
  readonly nameId?: string;
  readonly nameIdFormat?: string;
  readonly groups?: readonly string[];
  readonly issuer?: string;
  readonly audience?: string;
  readonly recipient?: string;
  readonly destination?: string;
  readonly inResponseTo?: string;
  readonly assertionId?: string;
  readonly issuedAtMs?: number;
  readonly untilMs?: number;
  readonly sessionUntilMs?: number;
  readonly status?: string;
  /** Signs this in place of what it would say. */
  readonly edit?: (xml: string) => string;
}

export interface SamlResponder {
  /** Verifies the request of this address, as the gateway sent the browser there. */
  requestOf(url: URL): Promise<{ readonly id: string; readonly relayState: string }>;
  /** A signed response to the request, as XML. */
  respond(requestId: string, words?: SamlWords): Promise<string>;
}

export interface TestSamlProvider extends Disposable {
  readonly entityId: string;
  readonly ssoUrl: string;
  readonly certificateFile: string;
  readonly certificatePem: string;
  readonly privateKeyPem: string;
  /** For the service provider of this metadata. */
  responder(metadata: string, how?: SamlManner): SamlResponder;
}

export interface SamlManner {
  readonly encrypted?: boolean;
  readonly cipher?: string;
  readonly keyTransport?: string;
  readonly signed?: "assertion" | "response" | "both";
  readonly signatureAlgorithm?: string;
  /** Signs with this key instead of the published one. */
  readonly privateKeyPem?: string;
}

const GCM = "http://www.w3.org/2009/xmlenc11#aes256-gcm";
const OAEP = "http://www.w3.org/2001/04/xmlenc#rsa-oaep-mgf1p";
const RSA_SHA256 = "http://www.w3.org/2001/04/xmldsig-more#rsa-sha256";
const REDIRECT = "urn:oasis:names:tc:SAML:2.0:bindings:HTTP-Redirect";
const EMAIL = "urn:oasis:names:tc:SAML:1.1:nameid-format:emailAddress";

export async function createSamlProvider(nowMs: () => number): Promise<TestSamlProvider> {
  const folder = mkdtempSync(join(tmpdir(), "custody-saml-"));
  const keys = await openSamlKeys(folder, { nowMs, monotonicMs: nowMs });
  const certificateFile = join(folder, "idp.pem");
  writeFileSync(certificateFile, keys.certificatePem);
  const entityId = "https://idp.example.com/saml";
  const ssoUrl = "https://idp.example.com/sso";
  return {
    entityId,
    ssoUrl,
    certificateFile,
    ...keys,
    responder(metadata, how = {}) {
      const { signed = "assertion" } = how;
      const settings = {
        entityID: entityId,
        privateKey: how.privateKeyPem ?? keys.privateKeyPem,
        signingCert: keys.certificatePem,
        wantAuthnRequestsSigned: true,
        isAssertionEncrypted: how.encrypted === true,
        dataEncryptionAlgorithm: how.cipher ?? GCM,
        keyEncryptionAlgorithm: how.keyTransport ?? OAEP,
        requestSignatureAlgorithm: how.signatureAlgorithm ?? RSA_SHA256,
        nameIDFormat: [EMAIL],
        singleSignOnService: [{ Binding: REDIRECT, Location: ssoUrl }],
        singleLogoutService: [{ Binding: REDIRECT, Location: ssoUrl }],
      };
      const idp = samlify.IdentityProvider(settings);
      const wanted = metadata
        .replace(/ WantAssertionsSigned="[^"]*"/, "")
        .replace("<SPSSODescriptor ", `$&WantAssertionsSigned="${signed !== "response"}" `);
      const sp = samlify.ServiceProvider({
        metadata: wanted,
        wantMessageSigned: signed !== "assertion",
      });
      const acs = /AssertionConsumerService [^>]*Location="([^"]*)"/.exec(metadata)?.[1] ?? "";
      const audience = /entityID="([^"]*)"/.exec(metadata)?.[1] ?? "";
      return {
        async requestOf(url) {
          const query = Object.fromEntries(url.searchParams);
          // The signature is over the parameters as they were sent (bindings section 3.4.4.1).
          const octetString = url.search.slice(1).replace(/&Signature=[^&]*/, "");
          const parsed = await idp.parseLoginRequest(sp, "redirect", { query, octetString });
          return { id: parsed.extract.request.id, relayState: query.RelayState ?? "" };
        },
        async respond(requestId, words = {}) {
          const fill = (template: string) => {
            const context = filled(template, nowMs(), {
              issuer: entityId,
              audience,
              recipient: acs,
              destination: acs,
              inResponseTo: requestId,
              ...words,
            });
            return { id: "_response", context: words.edit?.(context) ?? context };
          };
          const encryptThenSign = how.encrypted === true && signed !== "assertion";
          const options = { customTagReplacement: fill, encryptThenSign };
          const { context } = await idp.createLoginResponse(sp, {}, "post", {}, options);
          return Buffer.from(context, "base64").toString("utf8");
        },
      };
    },
    [Symbol.dispose]: () => rmSync(folder, { recursive: true, force: true }),
  };
}

let issued = 0;

function filled(template: string, nowMs: number, words: SamlWords): string {
  const number = ++issued;
  const at = (ms: number) => new Date(ms).toISOString();
  const { issuedAtMs = nowMs, untilMs = nowMs + 300_000, groups = ["engineers"] } = words;
  const session =
    words.sessionUntilMs === undefined ? "" : ` SessionNotOnOrAfter="${at(words.sessionUntilMs)}"`;
  const values = groups.map((one) => `<saml:AttributeValue>${one}</saml:AttributeValue>`).join("");
  const tags: Readonly<Record<string, string>> = {
    ID: `_response${number}`,
    AssertionID: words.assertionId ?? `_assertion${number}`,
    Issuer: words.issuer ?? "",
    IssueInstant: at(issuedAtMs),
    Destination: words.destination ?? "",
    InResponseTo: words.inResponseTo ?? "",
    StatusCode: words.status ?? "urn:oasis:names:tc:SAML:2.0:status:Success",
    NameIDFormat: words.nameIdFormat ?? EMAIL,
    NameID: words.nameId ?? "engineer@example.com",
    SubjectRecipient: words.recipient ?? "",
    SubjectConfirmationDataNotOnOrAfter: at(untilMs),
    ConditionsNotBefore: at(issuedAtMs),
    ConditionsNotOnOrAfter: at(untilMs),
    Audience: words.audience ?? "",
    AuthnStatement: `<saml:AuthnStatement AuthnInstant="${at(issuedAtMs)}" SessionIndex="_s${number}"${session}><saml:AuthnContext><saml:AuthnContextClassRef>urn:oasis:names:tc:SAML:2.0:ac:classes:unspecified</saml:AuthnContextClassRef></saml:AuthnContext></saml:AuthnStatement>`,
    AttributeStatement: `<saml:AttributeStatement><saml:Attribute Name="groups">${values}</saml:Attribute></saml:AttributeStatement>`,
  };
  return template.replace(/\{([A-Za-z]+)\}/g, (_whole, name: string) => tags[name] ?? "");
}
