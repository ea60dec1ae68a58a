// People signing in with `custody login` at the real gateway with a SAML provider that is not ours, and
// the published attacks on what it answers. The whole corpus is in packages/gateway/identity/saml.test.ts;
// here those that reach the gateway over HTTP as an attacker would send them.

import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { Agent, fetch } from "undici";
import { runCustody } from "../support/command-line.ts";
import { startGateway, type TestGateway } from "../support/gateway.ts";
import type { Cases } from "./cases.ts";
import { createSamlProvider, type SamlWords } from "./saml-provider.ts";
import { custodyWhile, type Stage, succeed } from "./stage.ts";

type Alter = (xml: string) => string;

export async function samlCases(cases: Cases, stage: Stage): Promise<void> {
  const { check } = cases;
  using idp = await createSamlProvider(Date.now);
  await using gateway = await startGateway({
    folder: join(stage.folder, "saml-gateway"),
    configuration: `
limits: { apiRequestsPerMinute: 60000 }
providers:
  staff:
    saml: { entityId: ${idp.entityId}, ssoUrl: ${idp.ssoUrl}, certificates: [${JSON.stringify(idp.certificateFile)}], groups: groups }
  sealed:
    saml: { entityId: ${idp.entityId}, ssoUrl: ${idp.ssoUrl}, certificates: [${JSON.stringify(idp.certificateFile)}], signed: both, encrypted: true }
  portal:
    saml: { entityId: ${idp.entityId}, ssoUrl: ${idp.ssoUrl}, certificates: [${JSON.stringify(idp.certificateFile)}], idpInitiated: true }
people: { erin: [staff/engineer@example.com] }
`,
  });
  const agent = new Agent({ connect: { ca: readFileSync(gateway.caFile, "utf8") } });
  const login = ["login", gateway.url, "--ca-fingerprint", gateway.fingerprint];
  const browse = browser(gateway, agent, idp);

  for (const [provider, manner] of [
    ["staff", {}],
    ["sealed", { signed: "both", encrypted: true }],
  ] as const)
    await check(`custody login --provider ${provider}, its metadata read by samlify`, async () => {
      const home = stage.home(`saml-${provider}`);
      const args = [...login, "--provider", provider, "--json"];
      const result = await custodyWhile(args, home, {}, browse(provider, manner));
      assert.equal(result.code, 0, result.stderr);
      const whoami = Object(await succeed(["whoami"], home));
      assert.equal(whoami.delegation.actor, `${provider}/engineer@example.com`);
      assert.equal(whoami.delegation.provenance ?? whoami.chain[0].provenance, "attested");
      const groups = provider === "staff" ? ["staff/engineers"] : [];
      assert.deepEqual(whoami.delegation.groups, groups);
      await succeed(["logout"], home);
    });

  const attacks: readonly (readonly [string, Alter | undefined, SamlWords])[] = [
    ["an altered name", (xml) => xml.replace("engineer@", "admin@"), {}],
    ["no signature", (xml) => xml.replace(/<ds:Signature .*?<\/ds:Signature>/s, ""), {}],
    ["a wrapped assertion", wrapped, {}],
    ["a comment in the name", (xml) => xml.replace("engineer@", "engineer<!-- -->@"), {}],
    ["a document type", (xml) => `<!DOCTYPE x [<!ENTITY y "z">]>${xml}`, {}],
    ["another audience", undefined, { audience: "https://other.example.com" }],
    ["another recipient", undefined, { recipient: "https://other.example.com" }],
    [
      "another time",
      undefined,
      { issuedAtMs: Date.now() - 7_200_000, untilMs: Date.now() - 7_000_000 },
    ],
  ];
  for (const [what, alter, words] of attacks)
    await check(`custody login is refused: ${what}`, async () => {
      const args = [...login, "--provider", "staff", "--json"];
      const meanwhile = browse("staff", {}, alter, words);
      const result = await custodyWhile(args, stage.home("saml-attack"), {}, meanwhile);
      assert.notEqual(result.code, 0);
      assert.match(result.stderr + result.stdout, /this SAML response is not accepted/);
    });
  await portalCases(cases, stage, { gateway, agent, idp, login });
  await agent.destroy();
}

/** Sign-ins that begin at the provider, where the operator allows them. */
async function portalCases(
  { check }: Cases,
  stage: Stage,
  at: {
    readonly gateway: TestGateway;
    readonly agent: Agent;
    readonly idp: Awaited<ReturnType<typeof createSamlProvider>>;
    readonly login: readonly string[];
  },
): Promise<void> {
  const { gateway, agent, idp, login } = at;
  const unasked = async (provider: string) => {
    const base = `${gateway.url}/saml/${provider}`;
    const metadata = await (await fetch(`${base}/metadata`, { dispatcher: agent })).text();
    const xml = await idp.responder(metadata).respond("_none", {
      edit: (said) => said.replaceAll(/ InResponseTo="[^"]*"/g, ""),
    });
    const body = { SAMLResponse: Buffer.from(xml).toString("base64"), RelayState: "/" };
    return async () => {
      const answer = await fetch(`${base}/acs`, {
        method: "POST",
        dispatcher: agent,
        redirect: "manual",
        headers: { "content-type": "application/x-www-form-urlencoded" },
        body: new URLSearchParams(body).toString(),
      });
      const text = await answer.text();
      return { status: answer.status, code: /--code ([0-9a-f]{32})/.exec(text)?.[1] ?? "" };
    };
  };
  await check(
    "a sign-in that begins at the provider is refused where nobody allowed it",
    async () => {
      assert.deepEqual(await (await unasked("staff"))(), { status: 401, code: "" });
    },
  );
  await check(
    "where it is allowed, the code that is shown signs in, and its assertion once",
    async () => {
      const post = await unasked("portal");
      const home = stage.home("saml-portal");
      const { status, code } = await post();
      assert.equal(status, 200);
      await succeed([...login, "--provider", "portal", "--code", code], home);
      const whoami = Object(await succeed(["whoami"], home));
      assert.equal(whoami.delegation.actor, "portal/engineer@example.com");
      const again = await runCustody([...login, "--provider", "portal", "--code", code], { home });
      assert.notEqual(again.exitCode, 0);
      const replayed = (await post()).code;
      const spent = await runCustody([...login, "--provider", "portal", "--code", replayed], {
        home,
      });
      assert.notEqual(spent.exitCode, 0);
      assert.match(spent.stderr, /takes each token once/);
    },
  );
}

/** A browser that is signed in at the provider, for the address that `custody login` shows. */
function browser(
  gateway: TestGateway,
  agent: Agent,
  idp: Awaited<ReturnType<typeof createSamlProvider>>,
) {
  const visit = (url: URL | string, init: object = {}) =>
    fetch(url, { dispatcher: agent, redirect: "manual", ...init });
  return (
    provider: string,
    manner: Parameters<typeof idp.responder>[1],
    alter: Alter = (xml) => xml,
    words: SamlWords = {},
  ) =>
    async (stderr: string): Promise<boolean> => {
      const shown = /browser on this machine:\s+(https:\S+)/.exec(stderr)?.[1];
      if (shown === undefined) return false;
      const base = `${gateway.url}/saml/${provider}`;
      const responder = idp.responder(await (await visit(`${base}/metadata`)).text(), manner);
      const start = await visit(shown);
      const asked = new URL(start.headers.get("location") ?? "");
      const { id, relayState } = await responder.requestOf(asked);
      const response = alter(await responder.respond(id, words));
      const back = await visit(`${base}/acs`, {
        method: "POST",
        headers: { "content-type": "application/x-www-form-urlencoded" },
        body: new URLSearchParams({
          SAMLResponse: Buffer.from(response).toString("base64"),
          RelayState: relayState,
        }).toString(),
      });
      assert.equal(back.status, 303, await back.text());
      await (await fetch(back.headers.get("location") ?? "")).text();
      return true;
    };
}

/** XSW3: a forged assertion before the signed one. */
function wrapped(xml: string): string {
  const genuine = /<saml:Assertion .*<\/saml:Assertion>/s.exec(xml)?.[0] ?? "";
  const forged = genuine
    .replace(/<ds:Signature .*?<\/ds:Signature>/s, "")
    .replace("engineer@", "admin@")
    .replace(' ID="_', ' ID="_forged');
  return xml.replace(genuine, forged + genuine);
}
