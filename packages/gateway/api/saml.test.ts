// The browser's way through the control API with a SAML provider, and the code at the token endpoint.

import assert from "node:assert/strict";
import { createHash, randomBytes } from "node:crypto";
import { after, beforeEach, describe, test } from "node:test";
import { TOKEN_TYPE } from "@custody/contract/oauth.ts";
import { Agent, fetch } from "undici";
import { createSamlProvider } from "../../../conformance/identity/saml-provider.ts";
import { HOUR_MS, startControlSide } from "../../../conformance/support/control-side.ts";
import { depthOf, rootOf } from "../delegation/chain.ts";
import { createSaml } from "../identity/saml.ts";
import { openSamlKeys } from "../identity/saml-keys.ts";
import { parseForm } from "./form.ts";

let nowMs: () => number = Date.now;
const idp = await createSamlProvider(() => nowMs());
const side = await startControlSide({
  saml: async (clock) => {
    const provider = {
      name: "corp",
      entityId: idp.entityId,
      ssoUrl: idp.ssoUrl,
      certificateFiles: [idp.certificateFile],
      username: undefined,
      groups: "groups",
      groupsMaxAgeMs: HOUR_MS,
      signed: "assertion" as const,
      encrypted: false,
      idpInitiated: false,
      url: undefined,
    };
    const keys = await openSamlKeys(folderOf(idp.certificateFile), clock);
    const baseUrl = "https://custody.test";
    const fixed = { baseUrl, keys, clockSkewMs: 30_000, random: randomBytes };
    return createSaml({ ...fixed, providers: [provider], clock });
  },
});
nowMs = side.clock.nowMs;
const agent = new Agent({ connect: { ca: side.ca } });
after(async () => {
  await agent.destroy();
  await side[Symbol.asyncDispose]();
  idp[Symbol.dispose]();
});
beforeEach(() => side.clock.advance(10_000));

const verifier = randomBytes(32).toString("base64url");
const challenge = createHash("sha256").update(verifier).digest("base64url");
const state = randomBytes(32).toString("base64url");
const BEGINNING = { code_challenge: challenge, port: "5000", state };

function folderOf(file: string): string {
  return file.replace(/idp\.pem$/, "gateway");
}

async function call(path: string, fields?: Record<string, string>) {
  const answer = await fetch(`${side.url}${path}`, {
    dispatcher: agent,
    redirect: "manual",
    ...(fields === undefined
      ? {}
      : {
          method: "POST",
          headers: { "content-type": "application/x-www-form-urlencoded" },
          body: new URLSearchParams(fields).toString(),
        }),
  });
  return { status: answer.status, headers: answer.headers, text: await answer.text() };
}

const start = (more: Record<string, string> = {}) =>
  call(`/saml/corp/login?${new URLSearchParams({ ...BEGINNING, ...more })}`);

async function answered(alter = (xml: string) => xml) {
  const responder = idp.responder((await call("/saml/corp/metadata")).text);
  const location = (await start()).headers.get("location") ?? "";
  const { id, relayState } = await responder.requestOf(new URL(location));
  const SAMLResponse = Buffer.from(alter(await responder.respond(id))).toString("base64");
  return { SAMLResponse, RelayState: relayState };
}

const redeem = (code: string, more: Record<string, string> = {}) =>
  call("/token", {
    grant_type: "urn:ietf:params:oauth:grant-type:token-exchange",
    subject_token: code,
    subject_token_type: TOKEN_TYPE.samlSignIn,
    requested_token_type: TOKEN_TYPE.handle,
    ...more,
  });

async function code(): Promise<string> {
  const back = await call("/saml/corp/acs", await answered());
  assert.equal(back.status, 303, back.text);
  const url = new URL(back.headers.get("location") ?? "");
  assert.equal(`${url.origin}${url.pathname}`, "http://127.0.0.1:5000/callback");
  assert.equal(url.searchParams.get("state"), state);
  return `${url.searchParams.get("code")}.${verifier}`;
}

describe("signing in with SAML", () => {
  test("ends with a root whose provider vouched for it", async () => {
    const answer = await redeem(await code());
    assert.equal(answer.status, 200, answer.text);
    const { access_token, delegation_id } = JSON.parse(answer.text);
    const chain = side.tree.chain(delegation_id);
    const root = rootOf(chain);
    assert.equal(depthOf(chain), 0);
    assert.equal(root.provenance, "attested");
    assert.equal(root.id, "corp/engineer@example.com");
    assert.match(access_token, /^cst_/);
    const leaves = await side.leaves();
    assert.equal(leaves.at(-1)?.event, "delegation.created");
  });

  test("the provider is listed as one the gateway is the service provider of", async () => {
    const { providers } = JSON.parse((await call("/v1/providers")).text);
    assert.deepEqual(providers, [
      {
        name: "corp",
        issuer: idp.entityId,
        clientId: "https://custody.test/saml/corp/metadata",
        scopes: [],
        flows: ["saml"],
        ca: null,
        insecureHttp: false,
      },
    ]);
  });

  test("metadata says what is signed and where to answer", async () => {
    const { text, headers } = await call("/saml/corp/metadata");
    assert.equal(headers.get("content-type"), "application/samlmetadata+xml");
    assert.match(text, /AuthnRequestsSigned="true"/);
    assert.match(text, /WantAssertionsSigned="true"/);
    assert.match(text, /Location="https:\/\/custody.test\/saml\/corp\/acs"/);
  });

  test("a code is good once, for its verifier, and is no actor", async () => {
    const used = await code();
    assert.equal((await redeem(used)).status, 200);
    assert.equal((await redeem(used)).status, 400);
    const [stolen = ""] = (await code()).split(".");
    assert.equal((await redeem(`${stolen}.${"x".repeat(43)}`)).status, 400);
    const actor = { actor_token: await code(), actor_token_type: TOKEN_TYPE.samlSignIn };
    assert.match((await redeem(await code(), actor)).text, /actor_token_type/);
    const asJwt = await redeem(await code(), { subject_token_type: TOKEN_TYPE.idToken });
    assert.equal(asJwt.status, 400);
  });

  test("an assertion that made a root makes no second one, though the gateway forgot its requests", async () => {
    const words = { assertionId: "_same" };
    const responder = idp.responder((await call("/saml/corp/metadata")).text);
    const statuses: number[] = [];
    for (let round = 0; round < 2; round++) {
      const location = (await start()).headers.get("location") ?? "";
      const { id, relayState } = await responder.requestOf(new URL(location));
      const SAMLResponse = Buffer.from(await responder.respond(id, words)).toString("base64");
      const back = await call("/saml/corp/acs", { SAMLResponse, RelayState: relayState });
      const url = new URL(back.headers.get("location") ?? "");
      statuses.push((await redeem(`${url.searchParams.get("code")}.${verifier}`)).status);
    }
    assert.deepEqual(statuses, [200, 400]);
  });

  test("what is refused goes to the command line that waits, and into the log", async () => {
    const altered = await answered((xml) => xml.replace("engineer@", "admin@"));
    const back = await call("/saml/corp/acs", altered);
    const url = new URL(back.headers.get("location") ?? "");
    assert.equal(url.searchParams.get("error"), "access_denied");
    assert.equal(url.searchParams.get("code"), null);
    assert.equal((await side.leaves()).at(-1)?.event, "delegation.refused");
  });

  test("a response that nobody waits for goes nowhere", async () => {
    const { SAMLResponse } = await answered();
    for (const fields of [{ SAMLResponse }, { SAMLResponse, RelayState: "https://evil.test" }]) {
      const back = await call("/saml/corp/acs", fields);
      assert.equal(back.status, 401);
      assert.equal(back.headers.get("location"), null);
    }
    assert.equal((await call("/saml/other/acs", await answered())).status, 404);
    assert.equal((await call("/saml/other/metadata")).status, 404);
  });

  test("the start takes a challenge, an unprivileged port and a state, nothing else", async () => {
    const wrong: Record<string, string>[] = [
      { port: "80" },
      { port: "99999" },
      { port: "5000@evil.test" },
      { code_challenge: "short" },
      { state: "a b" },
      { redirect_uri: "https://evil.test" },
    ];
    for (const more of wrong) {
      const answer = await start(more);
      assert.equal(answer.status, 400, JSON.stringify(more));
      assert.equal(answer.headers.get("location"), null);
    }
  });

  test("more than a message is not read", async () => {
    const huge = { SAMLResponse: "A".repeat(300_000), RelayState: "x" };
    assert.equal((await call("/saml/corp/acs", huge)).status, 413);
    const json = await fetch(`${side.url}/saml/corp/acs`, {
      dispatcher: agent,
      method: "POST",
      headers: { "content-type": "application/json" },
      body: JSON.stringify(await answered()),
    });
    assert.equal(json.status, 400);
    assert.match(await json.text(), /form-urlencoded/);
    assert.throws(() => parseForm("SAMLResponse=a&SAMLResponse=b"), /given twice/);
  });
});
