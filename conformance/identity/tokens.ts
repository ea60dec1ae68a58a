// The token endpoint: used by openid-client unmodified, and shown every kind of token it must not take.

import assert from "node:assert/strict";
import { createHmac } from "node:crypto";
import { setTimeout as sleep } from "node:timers/promises";
import { GRANT_TYPE_TOKEN_EXCHANGE, TOKEN_TYPE } from "@custody/contract/oauth.ts";
import * as openid from "openid-client";
import { fetch } from "undici";
import type { Cases } from "./cases.ts";
import { described, type Stage } from "./stage.ts";

const base64url = (value: object | string) =>
  Buffer.from(typeof value === "string" ? value : JSON.stringify(value)).toString("base64url");

const GRANT = JSON.stringify([
  {
    type: "custody",
    targets: ["orders"],
    accounts: ["ro"],
    actions: ["sql:read"],
    resources: ["*"],
  },
]);

export async function tokenCases(cases: Cases, stage: Stage): Promise<void> {
  await clientCases(cases, stage);
  await forgedCases(cases, stage);
  await parentCases(cases, stage);
  await rotationCases(cases, stage);
}

async function clientCases({ check }: Cases, stage: Stage): Promise<void> {
  await check("openid-client finds the server and exchanges tokens, unmodified", async () => {
    const viaAgent: openid.CustomFetch = async (url, options) => {
      const { body, headers, method } = options;
      const answer = await fetch(url, {
        dispatcher: stage.agent,
        method,
        headers,
        ...(body == null ? {} : { body: String(body) }),
      });
      return new Response(await answer.text(), {
        status: answer.status,
        headers: [...answer.headers],
      });
    };
    const config = await openid.discovery(
      new URL(stage.gateway.url),
      "any",
      undefined,
      openid.None(),
      { algorithm: "oauth2", [openid.customFetch]: viaAgent },
    );
    const root = await openid.genericGrantRequest(config, GRANT_TYPE_TOKEN_EXCHANGE, {
      subject_token: await stage.corp.idToken("engineer"),
      subject_token_type: TOKEN_TYPE.idToken,
    });
    const child = await openid.genericGrantRequest(config, GRANT_TYPE_TOKEN_EXCHANGE, {
      subject_token: root.access_token,
      subject_token_type: TOKEN_TYPE.jwt,
      actor_token: "ci-job",
      actor_token_type: TOKEN_TYPE.agentName,
      authorization_details: GRANT,
    });
    assert.equal(await stage.get("/v1/whoami", child.access_token), 200);
    await openid.tokenRevocation(config, root.access_token);
    assert.equal(await stage.get("/v1/whoami", child.access_token), 401);
  });
}

interface Forged {
  readonly claims?: Record<string, unknown>;
  readonly header?: Record<string, unknown>;
  /** Made otherwise than by signing. */
  readonly make?: (stage: Stage, good: string) => string | Promise<string>;
}

const nowS = () => Math.floor(Date.now() / 1000);

const FORGED: readonly (readonly [string, Forged, RegExp])[] = [
  [
    "algorithm none",
    {
      make: (_stage, good) => `${base64url({ alg: "none", typ: "JWT" })}.${good.split(".")[1]}.`,
    },
    /algorithm/,
  ],
  [
    "HMAC with the public key as its secret",
    {
      make: ({ liar }, good) => {
        const input = `${base64url({ alg: "HS256", typ: "JWT", kid: liar.kid })}.${good.split(".")[1]}`;
        const pem = liar.publicKey.export({ type: "spki", format: "pem" });
        return `${input}.${createHmac("sha256", pem).update(input).digest("base64url")}`;
      },
    },
    /algorithm/,
  ],
  [
    "claims changed after signing",
    {
      make: (_stage, good) => {
        const [header = "", payload = "", signature = ""] = good.split(".");
        const claims = JSON.parse(Buffer.from(payload, "base64url").toString());
        return `${header}.${base64url({ ...claims, name: "admin" })}.${signature}`;
      },
    },
    /signature/,
  ],
  ["a signature cut off", { make: (_stage, good) => good.replace(/\.[^.]*$/, ".") }, /signature/],
  [
    "an embedded key (jwk)",
    { header: { kid: "x", jwk: { kty: "RSA" } } },
    /no key of the provider/,
  ],
  [
    "a key elsewhere (jku)",
    { header: { kid: "x", jku: "https://evil" } },
    /no key of the provider/,
  ],
  ["an unknown critical header", { header: { crit: ["x"], x: 1 } }, /signature|accepted/],
  ["another audience", { claims: { aud: "another" } }, /audience/],
  ["no audience", { claims: { aud: undefined } }, /audience|aud/],
  ["an unknown issuer", { claims: { iss: "https://evil.example" } }, /issuer/],
  ["the issuer with a slash more", { make: ({ liar }) => slashed(liar.issuer("users")) }, /issuer/],
  ["an expired token", { claims: { exp: nowS() - 120 } }, /expired/],
  ["a token without expiry", { claims: { exp: undefined } }, /"exp" is missing/],
  ["a token that is not valid yet", { claims: { nbf: nowS() + 600 } }, /"nbf"/],
  ["a token issued in the future", { claims: { iat: nowS() + 600 } }, /future/],
  ["no subject", { claims: { sub: undefined } }, /"sub" is missing/],
  ["an access token (typ at+jwt)", { header: { typ: "at+jwt" } }, /not an ID token/],
  ["an access token by its scope", { claims: { scope: "openid" } }, /not an ID token/],
  ["a logout token", { header: { typ: "logout+jwt" } }, /not an ID token/],
  ["a token for another client (azp)", { claims: { azp: "another" } }, /another client/],
  ["several audiences and no azp", { claims: { aud: ["custody", "x"] } }, /which client/],
  ["list syntax in the name", { claims: { name: "ann,root" } }, /character/],
  ["a path in the name", { claims: { name: "../corp/admin" } }, /segment/],
  ["groups that are no list", { claims: { groups: "admins" } }, /not a list/],
  [
    "groups left out for their length",
    { claims: { _claim_names: { groups: "src1" } } },
    /too long/,
  ],
  ["a token of 20,000 characters", { claims: { x: "y".repeat(20_000) } }, /./],
];

function slashed(issuer: string): string {
  const part = base64url({ alg: "RS256", typ: "JWT" });
  return `${part}.${base64url({ iss: `${issuer}/`, sub: "x", aud: "custody" })}.AAAA`;
}

async function forgedCases({ check }: Cases, stage: Stage): Promise<void> {
  const { liar } = stage;
  await check("/token takes a good token of that issuer", async () => {
    const { status, body } = await stage.exchange(await liar.token("users", { name: "ann" }));
    assert.equal(status, 200, JSON.stringify(body));
  });
  for (const [name, { claims, header, make }, said] of FORGED)
    await check(`/token refuses ${name}`, async () => {
      const signed =
        header?.crit === undefined
          ? await liar.token("users", { name: "ann", ...claims }, header)
          : critical(await liar.token("users", { name: "ann" }), header);
      const token = make === undefined ? signed : await make(stage, signed);
      const { status, body } = await stage.exchange(token);
      assert.equal(status, 400, JSON.stringify(body));
      assert.match(described(body), said);
    });
  await check("/token refuses an ID token that is called an access token", async () => {
    const { status } = await stage.exchange(await liar.token("users", { name: "ann" }), {
      subject_token_type: TOKEN_TYPE.accessToken,
    });
    assert.equal(status, 400);
  });
}

/** No signer makes one: the header is exchanged, so the signature is wrong as well. */
function critical(good: string, header: object): string {
  return `${base64url({ alg: "RS256", typ: "JWT", ...header })}.${good.split(".").slice(1).join(".")}`;
}

async function parentCases({ check }: Cases, stage: Stage): Promise<void> {
  const signIn = async () =>
    String((await stage.exchange(await stage.corp.idToken("dba"))).body.access_token);
  const child = (token: string, more: Record<string, string>) =>
    stage.exchange(token, { subject_token_type: TOKEN_TYPE.jwt, ...more });
  const actor = { actor_token: "job", actor_token_type: TOKEN_TYPE.agentName };
  await check("no subject token is no sign-in", async () => {
    const body = { grant_type: GRANT_TYPE_TOKEN_EXCHANGE, subject_token_type: TOKEN_TYPE.idToken };
    assert.equal((await stage.post("/token", body)).status, 400);
  });
  await check("impersonation (no actor) is refused", async () => {
    const answer = await child(await signIn(), { authorization_details: GRANT });
    assert.match(described(answer.body), /impersonation/);
  });
  await check("an audience the caller chose is refused", async () => {
    const answer = await child(await signIn(), {
      ...actor,
      authorization_details: GRANT,
      audience: "https://elsewhere",
    });
    assert.equal(answer.body.error, "invalid_target");
  });
  await check("a child's grant that is wider than its parent's is refused", async () => {
    const first = await child(await signIn(), { ...actor, authorization_details: GRANT });
    const wider = GRANT.replace("sql:read", "sql:*");
    const answer = await child(String(first.body.access_token), {
      ...actor,
      authorization_details: wider,
    });
    assert.equal(answer.body.error, "invalid_authorization_details");
  });
  await check("an unknown field of a grant is refused", async () => {
    const unknown = GRANT.replace('"resources"', '"anything": 1, "resources"');
    const answer = await child(await signIn(), { ...actor, authorization_details: unknown });
    assert.equal(answer.body.error, "invalid_authorization_details");
  });
  await check("act is kept through a second exchange", async () => {
    const first = await child(await signIn(), { ...actor, authorization_details: GRANT });
    const second = await child(String(first.body.access_token), {
      actor_token: "inner",
      actor_token_type: TOKEN_TYPE.agentName,
      authorization_details: GRANT,
    });
    const claims = JSON.parse(
      Buffer.from(String(second.body.access_token).split(".")[1] ?? "", "base64url").toString(),
    );
    assert.equal(claims.act.name, "inner");
    assert.equal(claims.act.act.name, "job");
  });
  await check("a provider's user does not act for another", async () => {
    const answer = await child(await signIn(), {
      actor_token: await stage.liar.token("users", { name: "ann" }),
      actor_token_type: TOKEN_TYPE.idToken,
      authorization_details: GRANT,
    });
    assert.match(described(answer.body), /acts for themselves/);
  });
}

async function rotationCases({ check }: Cases, stage: Stage): Promise<void> {
  const { corp } = stage;
  await check("while the provider is down, known keys go on for what they signed", async () => {
    const token = await corp.idToken("engineer");
    corp.fail("unavailable");
    const { status } = await stage.exchange(token);
    corp.fail(undefined);
    assert.equal(status, 200);
  });
  await check("a token of a rotated-in key is taken once the key is published", async () => {
    corp.rotateKeys();
    const token = await corp.idToken("engineer");
    // An unknown key makes us look again, but not more often than every 30 s.
    const until = Date.now() + 35_000;
    let answer = await stage.exchange(token);
    while (answer.status !== 200 && Date.now() < until) {
      await sleep(1_000);
      answer = await stage.exchange(token);
    }
    assert.equal(answer.status, 200, JSON.stringify(answer.body));
  });
}
