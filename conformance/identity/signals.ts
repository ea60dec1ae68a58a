// What a provider says of its own accord: back-channel logout by the real oidc-provider, and every token
// that must not end, or must not fail to end, what was derived from a session.

import assert from "node:assert/strict";
import { randomUUID } from "node:crypto";
import type { Cases } from "./cases.ts";
import { described, type Stage } from "./stage.ts";

const LOGOUT = "http://schemas.openid.net/event/backchannel-logout";
const REVOKED = "https://schemas.openid.net/secevent/caep/event-type/session-revoked";
const SET = "application/secevent+jwt";

type Claims = Record<string, unknown>;

export async function signalCases(cases: Cases, stage: Stage): Promise<void> {
  await realLogout(cases, stage);
  await logoutTokens(cases, stage);
  await securityEvents(cases, stage);
}

async function realLogout({ check }: Cases, stage: Stage): Promise<void> {
  const { corp } = stage;
  await check("signing out at the real provider ends the delegations of that session", async () => {
    const idToken = await corp.idToken("dba");
    const root = String((await stage.exchange(idToken)).body.access_token);
    assert.equal(await stage.get("/v1/whoami", root), 200);
    await corp.endSession("dba");
    assert.equal(await stage.get("/v1/whoami", root), 401);
    const again = await stage.exchange(idToken);
    assert.equal(again.status, 400);
    assert.match(described(again.body), /has ended/);
  });
  await check("another session of the same person goes on", async () => {
    const other = await stage.exchange(await corp.idToken("dba"));
    await corp.idToken("dba").then((token) => stage.exchange(token));
    await corp.endSession("dba");
    assert.equal(await stage.get("/v1/whoami", String(other.body.access_token)), 200);
  });
}

const logoutToken = (stage: Stage, claims: Claims, header: object = {}) =>
  stage.liar.token(
    "users",
    { events: { [LOGOUT]: {} }, ...claims },
    { typ: "logout+jwt", ...header },
  );

async function logoutTokens({ check }: Cases, stage: Stage): Promise<void> {
  const { liar } = stage;
  const signIn = async (claims: Claims) => {
    const token = await liar.token("users", { name: "ann", ...claims });
    return String((await stage.exchange(token)).body.access_token);
  };
  const logout = async (token: string) =>
    await stage.post("/oidc/liar/backchannel-logout", { logout_token: token });
  const nowS = () => Math.floor(Date.now() / 1000);
  const sub = randomUUID();
  const refused: readonly (readonly [string, Claims, object])[] = [
    ["of type JWT", { sub }, { typ: "JWT" }],
    ["with a nonce", { sub, nonce: "x" }, {}],
    ["without its event", { sub, events: {} }, {}],
    ["whose event is no object", { sub, events: { [LOGOUT]: true } }, {}],
    ["that names nobody", { sub: undefined }, {}],
    ["for another audience", { sub, aud: "another" }, {}],
    ["of another issuer", { sub, iss: liar.issuer("gh") }, {}],
    ["an hour old", { sub, iat: nowS() - 3600 }, {}],
    ["of the future", { sub, iat: nowS() + 3600 }, {}],
    ["that has expired", { sub, exp: nowS() - 120 }, {}],
    ["without jti", { sub, jti: undefined }, {}],
    ["without iat", { sub, iat: undefined }, {}],
  ];
  const root = await signIn({ sub });
  for (const [name, claims, header] of refused)
    await check(`a logout token ${name} ends nothing`, async () => {
      const answer = await logout(await logoutToken(stage, claims, header));
      assert.equal(answer.status, 400, JSON.stringify(answer.body));
      assert.equal(await stage.get("/v1/whoami", root), 200);
    });
  await check("an unsigned logout token ends nothing", async () => {
    const good = await logoutToken(stage, { sub });
    assert.equal((await logout(good.replace(/\.[^.]*$/, "."))).status, 400);
    assert.equal(await stage.get("/v1/whoami", root), 200);
  });
  await check("a good one ends it, and is not taken twice", async () => {
    const token = await logoutToken(stage, { sub });
    assert.equal((await logout(token)).status, 200);
    assert.equal(await stage.get("/v1/whoami", root), 401);
    assert.equal((await logout(token)).status, 400);
  });
  await check(
    "by session: that one ends, and one of unknown session of the same person",
    async () => {
      const who = randomUUID();
      const one = await signIn({ sub: who, sid: "one" });
      const two = await signIn({ sub: who, sid: "two" });
      const unknown = await signIn({ sub: who });
      await logout(await logoutToken(stage, { sub: who, sid: "one" }));
      assert.equal(await stage.get("/v1/whoami", one), 401);
      assert.equal(await stage.get("/v1/whoami", two), 200);
      assert.equal(await stage.get("/v1/whoami", unknown), 401);
    },
  );
  await check("the same subject at another provider goes on", async () => {
    const token = await stage.corp.idToken("engineer");
    const other = String((await stage.exchange(token)).body.access_token);
    await logout(await logoutToken(stage, { sub: stage.corp.subject("engineer") }));
    assert.equal(await stage.get("/v1/whoami", other), 200);
  });
  await check("a provider that is not there answers nothing about others", async () => {
    const body = { logout_token: await logoutToken(stage, { sub }) };
    assert.equal((await stage.post("/oidc/nobody/backchannel-logout", body)).status, 404);
  });
}

async function securityEvents({ check }: Cases, stage: Stage): Promise<void> {
  const { liar } = stage;
  const event = (claims: Claims, header: object = {}) =>
    liar.token(
      "users",
      { sub: undefined, exp: undefined, events: { [REVOKED]: {} }, ...claims },
      { typ: "secevent+jwt", ...header },
    );
  const push = (token: string, type = SET) => stage.post("/oidc/liar/events", token, type);
  const signIn = async (claims: Claims) => {
    const token = await liar.token("users", { name: "bob", ...claims });
    return String((await stage.exchange(token)).body.access_token);
  };
  const issSub = (sub: string) => ({ format: "iss_sub", iss: liar.issuer("users"), sub });
  await check("CAEP session-revoked ends what was derived", async () => {
    const sub = randomUUID();
    const root = await signIn({ sub });
    const token = await event({ sub_id: issSub(sub) });
    assert.equal((await push(token)).status, 202);
    assert.equal(await stage.get("/v1/whoami", root), 401);
    assert.equal((await push(token)).status, 400);
  });
  await check("CAEP session-revoked of one session of a user", async () => {
    const sub = randomUUID();
    const one = await signIn({ sub, sid: "c-one" });
    const two = await signIn({ sub, sid: "c-two" });
    const session = { format: "opaque", id: "c-one" };
    const sub_id = { format: "complex", user: issSub(sub), session };
    assert.equal((await push(await event({ sub_id }))).status, 202);
    assert.equal(await stage.get("/v1/whoami", one), 401);
    assert.equal(await stage.get("/v1/whoami", two), 200);
  });
  const sub = randomUUID();
  const sub_id = issSub(sub);
  const root = await signIn({ sub });
  const refused: readonly (readonly [string, Claims, object])[] = [
    ["of type JWT", { sub_id }, { typ: "JWT" }],
    ["of another event", { sub_id, events: { "urn:x": {} } }, {}],
    ["about another issuer's subject", { sub_id: { ...sub_id, iss: "https://evil" } }, {}],
    ["about nobody", { sub_id: undefined }, {}],
    ["about a phone number", { sub_id: { format: "phone_number", phone_number: "+1" } }, {}],
    ["about a device", { sub_id: { format: "complex", user: sub_id, device: {} } }, {}],
    ["for another audience", { sub_id, aud: "another" }, {}],
    ["two days old", { sub_id, iat: Math.floor(Date.now() / 1000) - 2 * 86_400 }, {}],
  ];
  for (const [name, claims, header] of refused)
    await check(`a security event ${name} is refused in the words of RFC 8935`, async () => {
      const answer = await push(await event(claims, header));
      assert.equal(answer.status, 400);
      assert.equal(answer.body.err, "invalid_request");
      assert.equal(await stage.get("/v1/whoami", root), 200);
    });
  await check("a security event as JSON is not read", async () => {
    assert.notEqual((await push(await event({ sub_id }), "application/json")).status, 202);
    assert.equal(await stage.get("/v1/whoami", root), 200);
  });
}
