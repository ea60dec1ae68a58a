// A provider that is not ours (samlify) against the gateway as its service provider, and what attackers
// make of its responses.

import assert from "node:assert/strict";
import { createHash, randomBytes } from "node:crypto";
import { chmodSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, describe, test } from "node:test";
import { inflateRawSync } from "node:zlib";
import {
  createSamlProvider,
  type SamlManner,
  type SamlWords,
} from "../../../conformance/identity/saml-provider.ts";
import { createTestAuthority } from "../../../conformance/support/certificates.ts";
import { GatewayError } from "../base/errors.ts";
import { Secret } from "../base/secret.ts";
import type { SamlProvider } from "../config/config.ts";
import { type Answer, createSaml } from "./saml.ts";
import { openSamlKeys } from "./saml-keys.ts";

const MINUTE_MS = 60_000;
let nowMs = Date.now();
const clock = { nowMs: () => nowMs, monotonicMs: () => nowMs };
const folder = mkdtempSync(join(tmpdir(), "custody-saml-test-"));
const keys = await openSamlKeys(folder, clock);
const idp = await createSamlProvider(clock.nowMs);
const other = await createSamlProvider(clock.nowMs);
after(() => {
  idp[Symbol.dispose]();
  other[Symbol.dispose]();
  rmSync(folder, { recursive: true, force: true });
});

const verifier = randomBytes(32).toString("base64url");
const challenge = createHash("sha256").update(verifier).digest("base64url");
const beginning = { challenge, port: 5000, state: "state" };

function gateway(how: SamlManner = {}, more: Partial<SamlProvider> = {}) {
  const provider: SamlProvider = {
    name: "corp",
    entityId: idp.entityId,
    ssoUrl: idp.ssoUrl,
    certificateFiles: [idp.certificateFile],
    username: undefined,
    groups: "groups",
    groupsMaxAgeMs: 60 * MINUTE_MS,
    signed: how.signed ?? "assertion",
    encrypted: how.encrypted ?? false,
    idpInitiated: false,
    url: undefined,
    ...more,
  };
  const baseUrl = "https://gw.example.com:7443";
  const providers = [provider];
  const deps = { providers, baseUrl, keys, clockSkewMs: 30_000, clock, random: randomBytes };
  const saml = createSaml(deps);
  return { saml, responder: idp.responder(saml.metadata("corp"), how) };
}

interface Attempt {
  readonly how?: SamlManner;
  readonly provider?: Partial<SamlProvider>;
  readonly words?: SamlWords | ((requestId: string) => SamlWords);
  /** What an attacker makes of it on the way. */
  readonly alter?: (xml: string) => string;
  readonly laterMs?: number;
}

/** The principal, or why not. */
async function attempt({ how, provider, words = {}, alter, laterMs = 0 }: Attempt) {
  const { saml, responder } = gateway(how, provider);
  const { id, relayState } = await responder.requestOf(await saml.begin("corp", beginning));
  const said = typeof words === "function" ? words(id) : words;
  const genuine = await responder.respond(id, said);
  const sent = alter === undefined ? genuine : alter(genuine);
  if (alter !== undefined) assert.notEqual(sent, genuine, "nothing was altered");
  nowMs += laterMs;
  try {
    const { url, refusal } = redirected(await saml.answer("corp", base64(sent), relayState));
    if (refusal === undefined) return saml.redeem(redemption(url));
    assert.equal(url.searchParams.get("code"), null);
    assert.equal(url.searchParams.get("error"), "access_denied");
    return refusal.message;
  } finally {
    nowMs -= laterMs;
  }
}

function redirected(answer: Answer) {
  assert.ok(answer.kind === "redirect");
  return answer;
}

const base64 = (xml: string) => Buffer.from(xml, "utf8").toString("base64");
const redemption = (url: URL) => new Secret(`${url.searchParams.get("code")}.${verifier}`);

async function refuses(name: string, how: Attempt, why: RegExp) {
  await test(name, async () => {
    const outcome = await attempt(how);
    assert.equal(typeof outcome, "string", `it was accepted: ${JSON.stringify(outcome)}`);
    assert.match(String(outcome), why);
  });
}

describe("a provider's responses are taken", () => {
  const manners: SamlManner[] = (["assertion", "response", "both"] as const).flatMap((signed) => [
    { signed },
    { signed, encrypted: true },
  ]);
  for (const how of manners)
    test(`${how.signed} signed${how.encrypted ? ", encrypted" : ""}`, async () => {
      const principal = await attempt({ how, words: { groups: ["engineers", "oncall"] } });
      assert.ok(typeof principal === "object", String(principal));
      assert.equal(principal.kind, "user");
      assert.equal(principal.id, "corp/engineer@example.com");
      assert.deepEqual(principal.groups, ["corp/engineers", "corp/oncall"]);
      assert.equal(principal.voucher?.oneTime, true);
      assert.equal(principal.groupsUntilMs, principal.verifiedAtMs + 60 * MINUTE_MS);
    });

  test("the provider's session ends the sign-in where it is the earlier end", async () => {
    const sessionUntilMs = nowMs + 10 * MINUTE_MS;
    const principal = await attempt({ words: { sessionUntilMs } });
    assert.equal(Object(principal).groupsUntilMs, sessionUntilMs);
  });

  test("clocks may differ by what is allowed, both ways", async () => {
    for (const issuedAtMs of [nowMs - 20_000, nowMs + 20_000])
      assert.equal(typeof (await attempt({ words: { issuedAtMs } })), "object");
  });

  test("as many groups as are taken fit in, whatever is written around each", async () => {
    const edit = (xml: string) => xml.replaceAll("<saml:AttributeValue", "$& a='' b='' c=''");
    const groups = Array.from({ length: 512 }, (_, index) => `g${index}=a=b=c`);
    assert.equal(Object(await attempt({ words: { groups, edit } })).groups?.length, 512);
  });

  test("the user name may be an attribute, with one value", async () => {
    const provider = { username: "groups", groups: undefined };
    const principal = await attempt({ provider, words: { groups: ["ann"] } });
    assert.equal(Object(principal).id, "corp/ann");
    const two = await attempt({ provider, words: { groups: ["ann", "bob"] } });
    assert.match(String(two), /does not have exactly one value/);
  });

  test("the request is signed and names where to answer", async () => {
    const { saml } = gateway();
    const url = await saml.begin("corp", beginning);
    assert.equal(url.origin + url.pathname, idp.ssoUrl);
    assert.match(url.searchParams.get("SigAlg") ?? "", /rsa-sha256$/);
    const packed = Buffer.from(url.searchParams.get("SAMLRequest") ?? "", "base64");
    const request = inflateRawSync(packed).toString();
    assert.match(
      request,
      /AssertionConsumerServiceURL="https:\/\/gw.example.com:7443\/saml\/corp\/acs"/,
    );
  });
});

// Somain, Mayer, Schwenk, Jensen: On Breaking SAML (USENIX Security 2012), in the numbering of SAML Raider.
describe("signature wrapping", () => {
  const assertionIn = (xml: string) => /<saml:Assertion .*<\/saml:Assertion>/s.exec(xml)?.[0] ?? "";
  const signatureIn = (xml: string) => /<ds:Signature .*?<\/ds:Signature>/s.exec(xml)?.[0] ?? "";
  const unsigned = (xml: string) => xml.replace(signatureIn(xml), "");
  const forged = (xml: string) =>
    xml
      .replace("engineer@example.com", "admin@example.com")
      .replace(/( ID=")_(assertion|response)/g, "$1_evil$2");
  const inside = (xml: string, tag: string, more: string) =>
    xml.replace(new RegExp(`</${tag}>(?!.*</${tag}>)`, "s"), `${more}</${tag}>`);
  const response: SamlManner = { signed: "response" };
  const why =
    /another response|more than one assertion|does not stand in|is not about|has parts|given twice|is signed twice|where it belongs|outside of one/;

  refuses(
    "XSW1: the signed response inside the forged one's signature",
    {
      how: response,
      alter: (xml) => forged(xml).replace("</ds:Signature>", `${unsigned(xml)}</ds:Signature>`),
    },
    why,
  );
  refuses(
    "XSW2: the signed response beside a detached signature",
    {
      how: response,
      alter: (xml) => forged(xml).replace("<ds:Signature ", `${unsigned(xml)}<ds:Signature `),
    },
    why,
  );
  refuses(
    "XSW3: a forged assertion before the signed one",
    {
      alter: (xml) =>
        xml.replace(assertionIn(xml), forged(unsigned(assertionIn(xml))) + assertionIn(xml)),
    },
    why,
  );
  refuses(
    "XSW4: the signed assertion inside the forged one",
    {
      alter: (xml) =>
        xml.replace(
          assertionIn(xml),
          inside(forged(unsigned(assertionIn(xml))), "saml:Assertion", assertionIn(xml)),
        ),
    },
    why,
  );
  refuses(
    "XSW5: the forged assertion keeps the signature, the signed one is at the end",
    {
      alter: (xml) =>
        xml.replace(assertionIn(xml), forged(assertionIn(xml)) + unsigned(assertionIn(xml))),
    },
    why,
  );
  refuses(
    "XSW6: the signed assertion inside the forged one's signature",
    {
      alter: (xml) =>
        xml.replace(
          assertionIn(xml),
          forged(assertionIn(xml)).replace(
            "</ds:Signature>",
            `${unsigned(assertionIn(xml))}</ds:Signature>`,
          ),
        ),
    },
    why,
  );
  refuses(
    "XSW7: a forged assertion of the same identifier in the extensions",
    {
      alter: (xml) =>
        xml.replace(
          assertionIn(xml),
          `<samlp:Extensions>${unsigned(assertionIn(xml)).replace("engineer@", "admin@")}</samlp:Extensions>${assertionIn(xml)}`,
        ),
    },
    why,
  );
  refuses(
    "XSW8: the signed assertion in an object of the forged one's signature",
    {
      alter: (xml) =>
        xml.replace(
          assertionIn(xml),
          assertionIn(xml)
            .replace("engineer@", "admin@")
            .replace(
              "</ds:Signature>",
              `<ds:Object>${unsigned(assertionIn(xml))}</ds:Object></ds:Signature>`,
            ),
        ),
    },
    why,
  );
  refuses(
    "a signed response that holds an assertion of somebody else's after its end",
    { how: response, alter: (xml) => xml + forged(assertionIn(xml)) },
    /well-formed|follows its end/,
  );
});

describe("signatures", () => {
  refuses(
    "stripped",
    { alter: (xml) => xml.replace(/<ds:Signature .*?<\/ds:Signature>/s, "") },
    /signature/,
  );
  for (const signed of ["assertion", "response", "both"] as const)
    refuses(
      `${signed} altered`,
      { how: { signed }, alter: (xml) => xml.replace("engineer@", "admin@") },
      /its signature is not one of the provider/,
    );
  refuses(
    "only the response, where the assertion has to be signed",
    { how: { signed: "response" }, provider: { signed: "assertion" } },
    /signature/,
  );
  refuses(
    "only the assertion, where the response has to be signed",
    { how: { signed: "assertion" }, provider: { signed: "response" } },
    /signature/,
  );
  refuses(
    "by another key, with its certificate in the message",
    {
      how: { privateKeyPem: other.privateKeyPem },
      alter: (xml) => xml.replaceAll(pemBody(idp.certificatePem), pemBody(other.certificatePem)),
    },
    /signature/,
  );
  for (const algorithm of ["rsa-sha1", "hmac-sha1"])
    refuses(
      `of an algorithm that is not accepted: ${algorithm}`,
      {
        alter: (xml) =>
          xml.replace(
            "http://www.w3.org/2001/04/xmldsig-more#rsa-sha256",
            `http://www.w3.org/2000/09/xmldsig#${algorithm}`,
          ),
      },
      /SignatureMethod is an algorithm/,
    );
  refuses(
    "genuine, but made with SHA-1",
    { how: { signatureAlgorithm: "http://www.w3.org/2000/09/xmldsig#rsa-sha1" } },
    /is an algorithm/,
  );
  refuses(
    "a second SignedInfo (CVE-2025-29774)",
    {
      alter: (xml) => {
        const info = /<ds:SignedInfo>.*?<\/ds:SignedInfo>/s.exec(xml)?.[0] ?? "";
        return xml.replace(info, info + info.replace(/DigestValue>[^<]*/, "DigestValue>AAAA"));
      },
    },
    /has parts/,
  );
  refuses(
    "a comment in the digest (CVE-2025-29775)",
    { alter: (xml) => xml.replace(/(<ds:DigestValue>)/, "$1<!--AAAA-->") },
    /comment/,
  );
  refuses(
    "a second reference",
    {
      alter: (xml) => {
        const reference = /<ds:Reference .*?<\/ds:Reference>/s.exec(xml)?.[0] ?? "";
        return xml.replace(reference, reference + reference);
      },
    },
    /exactly one Reference/,
  );
  for (const uri of ["", "#xpointer(/)", "#_response1"])
    refuses(
      `about "${uri}"`,
      { alter: (xml) => xml.replace(/(<ds:Reference URI=")[^"]*/, `$1${uri}`) },
      /is not about/,
    );
  refuses(
    "with a transform that chooses what is signed",
    {
      alter: (xml) =>
        xml.replace(
          "</ds:Transforms>",
          '<ds:Transform Algorithm="http://www.w3.org/TR/1999/REC-xpath-19991116"/></ds:Transforms>',
        ),
    },
    /transforms what it signs/,
  );
});

function pemBody(pem: string): string {
  return pem.replace(/-----[^-]*-----|\s/g, "");
}

describe("text that two parsers read as two", () => {
  const name = "engineer@example.com";
  const insert = (text: string) => (xml: string) =>
    xml.replace(name, `engineer@example.com${text}.evil.com`);
  // Signed by the provider as they are, so that nothing but the form speaks against them.
  for (const [what, text] of [
    ["a comment", "<!-- -->"],
    ["CDATA", "<![CDATA[]]>"],
    ["an instruction", "<?x y?>"],
  ] as const)
    refuses(`${what} in the NameID`, { alter: insert(text) }, /comment, CDATA/);
  refuses(
    "a document type with an external entity",
    {
      alter: (xml) =>
        `<!DOCTYPE r [<!ENTITY x SYSTEM "file:///etc/passwd">]>${xml.replace(name, "&x;")}`,
    },
    /document type/,
  );
  refuses("an entity without one", { alter: (xml) => xml.replace(name, "&x;") }, /an entity/);
  refuses("an element in the NameID", { words: { nameId: "ann<b/>@x" } }, /more than text/);
  refuses(
    "a name with a control character",
    { words: { nameId: "ann&#9;bob" } },
    /no name may have/,
  );
  refuses("not UTF-8, not XML", { alter: () => "<a" }, /well-formed/);
  refuses(
    "deep nesting",
    {
      alter: (xml) =>
        xml.replace("<samlp:Status>", `${"<a>".repeat(100)}${"</a>".repeat(100)}<samlp:Status>`),
    },
    /nested too deeply/,
  );
  const attributes = " a='x'".repeat(3001);
  const alter = (xml: string) => xml.replace("<saml:Assertion ", `$&${attributes} `);
  refuses("very many attributes", { alter }, /too many attributes/);
  refuses(
    "very many elements",
    { alter: (xml) => xml.replace("<samlp:Status>", `${"<a/>".repeat(9000)}<samlp:Status>`) },
    /too many elements/,
  );
  refuses(
    "a very long one",
    { alter: (xml) => xml.replace("<samlp:Status>", `${" ".repeat(200_000)}<samlp:Status>`) },
    /too long/,
  );
});

describe("genuine responses that are not for here, not for now or not for this", () => {
  const elsewhere = "https://elsewhere.example.com/acs";
  refuses("another audience", { words: { audience: elsewhere } }, /audience/);
  refuses("another recipient", { words: { recipient: elsewhere } }, /confirmation/);
  refuses("another destination", { words: { destination: elsewhere } }, /sent elsewhere/);
  refuses("another issuer", { words: { issuer: elsewhere } }, /issuer/);
  refuses("another request", { words: { inResponseTo: "_other" } }, /another request/);
  refuses(
    "the request's answer, confirmed for another request",
    {
      words: (id) => ({
        edit: (xml) =>
          xml.replace(
            `Recipient="${recipient}" InResponseTo="${id}"`,
            `Recipient="${recipient}" InResponseTo="_other"`,
          ),
      }),
    },
    /confirmation/,
  );
  refuses("expired", { laterMs: 6 * MINUTE_MS }, /confirmation/);
  refuses("from the future", { words: { issuedAtMs: nowMs + 5 * MINUTE_MS } }, /future/);
  refuses("good for a day", { words: { untilMs: nowMs + 86_400_000 } }, /too long/);
  refuses("of a session that ended", { words: { sessionUntilMs: nowMs - 1000 } }, /too old/);
  refuses(
    "of groups older than they may get",
    { provider: { groupsMaxAgeMs: MINUTE_MS }, laterMs: 2 * MINUTE_MS },
    /too old/,
  );
  refuses(
    "a transient NameID",
    { words: { nameIdFormat: "urn:oasis:names:tc:SAML:2.0:nameid-format:transient" } },
    /transient/,
  );
  refuses(
    "a failure",
    { words: { status: "urn:oasis:names:tc:SAML:2.0:status:Responder" } },
    /answered Responder/,
  );
  for (const [what, from, to, why] of [
    [
      "without confirmation",
      /<saml:SubjectConfirmation .*?<\/saml:SubjectConfirmation>/s,
      "",
      /confirmation/,
    ],
    ["not confirmed by bearer", /cm:bearer/, "cm:holder-of-key", /confirmation/],
    ["without conditions", /<saml:Conditions .*<\/saml:Conditions>/s, "", /Conditions|signature/],
    [
      "without an audience",
      /<saml:AudienceRestriction>.*<\/saml:AudienceRestriction>/s,
      "",
      /audience|signature/,
    ],
    [
      "with a condition of its own",
      /<saml:AudienceRestriction>/,
      '<saml:Condition xmlns:x="urn:x"/><saml:AudienceRestriction>',
      /not understood/,
    ],
    ["with two NameIDs", /(<saml:NameID .*?<\/saml:NameID>)/s, "$1$1", /exactly one NameID/],
    [
      "without an authentication",
      /<saml:AuthnStatement .*<\/saml:AuthnStatement>/s,
      "",
      /AuthnStatement/,
    ],
    ["with a local time", /(IssueInstant="[^"]*)Z"/g, '$1"', /time in UTC/],
  ] as const)
    refuses(what, { words: { edit: (xml) => xml.replace(from, to) } }, why);
  const recipient = "https://gw.example.com:7443/saml/corp/acs";
});

describe("encryption", () => {
  refuses(
    "is asked for where it is configured",
    { provider: { encrypted: true } },
    /not encrypted/,
  );
  for (const cipher of ["aes256-cbc", "tripledes-cbc"])
    refuses(
      `is not by ${cipher}`,
      { how: { encrypted: true, cipher: `http://www.w3.org/2001/04/xmlenc#${cipher}` } },
      /EncryptionMethod is an algorithm/,
    );
  refuses(
    "has no key transport with PKCS #1 v1.5",
    { how: { encrypted: true, keyTransport: "http://www.w3.org/2001/04/xmlenc#rsa-1_5" } },
    /EncryptionMethod is an algorithm/,
  );
  refuses(
    "does not bring altered ciphertext in",
    {
      how: { encrypted: true },
      alter: (xml) =>
        xml.replace(
          /(.*<xenc:CipherValue>.{40})(.)/s,
          (_all, head, one) => `${head}${one === "A" ? "B" : "A"}`,
        ),
    },
    /cannot be decrypted/,
  );
  refuses(
    "does not stand for a signature",
    { how: { encrypted: true, privateKeyPem: other.privateKeyPem } },
    /signature/,
  );
});

describe("requests and codes are used once", () => {
  async function signedIn() {
    const { saml, responder } = gateway();
    const { id, relayState } = await responder.requestOf(await saml.begin("corp", beginning));
    const response = base64(await responder.respond(id));
    return { saml, responder, relayState, response };
  }
  const isRefused = (thrown: unknown) =>
    thrown instanceof GatewayError && thrown.code === "unauthenticated";

  test("a response is refused the second time", async () => {
    const { saml, relayState, response } = await signedIn();
    assert.equal(redirected(await saml.answer("corp", response, relayState)).refusal, undefined);
    await assert.rejects(saml.answer("corp", response, relayState), isRefused);
  });

  test("a response does not answer a later request", async () => {
    const { saml, responder, response } = await signedIn();
    const again = await responder.requestOf(await saml.begin("corp", beginning));
    const { refusal } = redirected(await saml.answer("corp", response, again.relayState));
    assert.match(refusal?.message ?? "", /another request/);
  });

  test("a response that nobody asked for is refused", async () => {
    const { saml, response } = await signedIn();
    await assert.rejects(saml.answer("corp", response, undefined), isRefused);
    await assert.rejects(saml.answer("corp", response, "x".repeat(43)), isRefused);
  });

  test("a request is forgotten after ten minutes", async () => {
    const { saml, relayState, response } = await signedIn();
    nowMs += 11 * MINUTE_MS;
    await assert.rejects(saml.answer("corp", response, relayState), isRefused);
    nowMs -= 11 * MINUTE_MS;
  });

  test("a code is redeemed once, soon, and with its verifier", async () => {
    const codeOf = async () => {
      const { saml, relayState, response } = await signedIn();
      const { url } = redirected(await saml.answer("corp", response, relayState));
      assert.equal(`${url.origin}${url.pathname}`, "http://127.0.0.1:5000/callback");
      assert.equal(url.searchParams.get("state"), "state");
      return { saml, url, code: url.searchParams.get("code") };
    };
    const first = await codeOf();
    assert.equal(first.saml.redeem(redemption(first.url)).kind, "user");
    assert.throws(() => first.saml.redeem(redemption(first.url)), isRefused);
    const stolen = await codeOf();
    for (const wrong of [`${stolen.code}`, `${stolen.code}.`, `${stolen.code}.${"x".repeat(43)}`])
      assert.throws(() => stolen.saml.redeem(new Secret(wrong)), isRefused);
    // Tried with another verifier, it was somebody else's try: the code is gone.
    assert.throws(() => stolen.saml.redeem(redemption(stolen.url)), isRefused);
    const late = await codeOf();
    nowMs += 2 * MINUTE_MS;
    assert.throws(() => late.saml.redeem(redemption(late.url)), isRefused);
    nowMs -= 2 * MINUTE_MS;
  });
});

test("the key is the same after a restart, and refused where others can read it", async () => {
  assert.deepEqual(await openSamlKeys(folder, clock), keys);
  const file = join(folder, "keys", "saml.key");
  chmodSync(file, 0o644);
  await assert.rejects(openSamlKeys(folder, clock), { code: "configuration" });
  chmodSync(file, 0o600);
  rmSync(join(folder, "keys", "saml.pem"));
  await assert.rejects(openSamlKeys(folder, clock), { code: "configuration" });
});

test("a certificate that is none, or whose key is weak, is refused at the start", () => {
  const start = (file: string) => () => gateway({}, { certificateFiles: [file] });
  assert.throws(start(join(folder, "keys", "saml.key")), /is no certificate/);
  const authority = createTestAuthority("Elliptic");
  const elliptic = join(folder, "elliptic.pem");
  writeFileSync(elliptic, authority.issue(["localhost"]).cert);
  assert.throws(start(elliptic), /is not RSA/);
});
