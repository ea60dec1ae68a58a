import assert from "node:assert/strict";
import { once } from "node:events";
import type { IncomingMessage } from "node:http";
import { get } from "node:https";
import test from "node:test";
import { createLocalJWKSet, jwtVerify } from "jose";
import { startOidcProvider, type TestOidcProvider } from "./oidc-provider.ts";

const accounts = [
  { name: "engineer", groups: ["engineers"] },
  { name: "dba1", groups: ["dba"] },
];

test("an ID token out of the whole flow verifies against the published keys", async () => {
  await using provider = await startOidcProvider({ accounts });
  const { payload, protectedHeader } = await verify(provider, await provider.idToken("engineer"));
  assert.equal(protectedHeader.alg, "ES256");
  assert.equal(payload.sub, provider.subject("engineer"));
  assert.notEqual(payload.sub, "engineer");
  assert.deepEqual(payload.groups, ["engineers"]);
  assert.equal(payload.preferred_username, "engineer");
  assert.equal(payload.email, "engineer@example.com");
  assert.notEqual(provider.subject("engineer"), provider.subject("dba1"));
  await assert.rejects(provider.idToken("nobody"), /no account nobody/);
});

test("a rotated key signs from then on; the old one goes when it is not kept", async () => {
  await using provider = await startOidcProvider({ accounts });
  const before = await provider.idToken("dba1");
  provider.rotateKeys();
  const after = await provider.idToken("dba1");
  await verify(provider, before);
  await verify(provider, after);
  provider.rotateKeys({ keepOld: false });
  await assert.rejects(verify(provider, after), /no applicable key/);
  await verify(provider, await provider.idToken("dba1"));
});

test("it fails when it is told to", async () => {
  await using provider = await startOidcProvider({ accounts });
  provider.fail("unavailable");
  await assert.rejects(provider.idToken("dba1"), /sign-in failed: 503/);
  provider.fail("garbage");
  await assert.rejects(keySet(provider), SyntaxError);
  provider.fail(undefined);
  assert.equal((await keySet(provider)).keys.length, 1);
});

async function verify(provider: TestOidcProvider, token: string) {
  const keys = createLocalJWKSet(await keySet(provider));
  return await jwtVerify(token, keys, { issuer: provider.issuer, audience: provider.clientId });
}

async function keySet(provider: TestOidcProvider) {
  const { jwks_uri: address } = await json(
    `${provider.issuer}/.well-known/openid-configuration`,
    provider,
  );
  return await json(address, provider);
}

async function json(address: string, provider: TestOidcProvider) {
  const outgoing = get(address, { ca: provider.ca, agent: false });
  const [incoming] = (await once(outgoing, "response")) as [IncomingMessage];
  let text = "";
  for await (const chunk of incoming) text += chunk;
  return JSON.parse(text);
}
