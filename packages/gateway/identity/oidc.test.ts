import assert from "node:assert/strict";
import { generateKeyPairSync, type KeyObject } from "node:crypto";
import { once } from "node:events";
import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { createServer } from "node:https";
import type { AddressInfo } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { describe, test } from "node:test";
import { SignJWT } from "jose";
import { createTestAuthority } from "../../../conformance/support/certificates.ts";
import { testClock } from "../../../conformance/support/control-side.ts";
import { startOidcProvider } from "../../../conformance/support/oidc-provider.ts";
import { Secret } from "../base/secret.ts";
import type { Provider } from "../config/config.ts";
import { createIdentity } from "./oidc.ts";

const LIMITS = { clockSkewMs: 30_000, providerStaleMs: 3_600_000 };

/** An issuer whose every claim and header the test chooses; its keys are served over HTTPS. */
async function startIssuer() {
  const directory = await mkdtemp(join(tmpdir(), "custody-issuer-"));
  const authority = createTestAuthority();
  const caFile = join(directory, "ca.pem");
  await writeFile(caFile, authority.cert);
  const keys = new Map<string, { readonly privateKey: KeyObject; readonly jwk: object }>();
  const addKey = (kid: string): void => {
    const { privateKey, publicKey } = generateKeyPairSync("ec", { namedCurve: "P-256" });
    keys.set(kid, {
      privateKey,
      jwk: { ...publicKey.export({ format: "jwk" }), kid, alg: "ES256" },
    });
  };
  addKey("one");
  const state = {
    down: false,
    issuer: "",
    discovered: 0,
    claimsIssuer: undefined as string | undefined,
  };
  const server = createServer(authority.issue(["127.0.0.1"]), (request, response) => {
    if (state.down) return response.writeHead(503).end();
    state.discovered++;
    const isDiscovery = request.url === "/.well-known/openid-configuration";
    const issuer = state.claimsIssuer ?? state.issuer;
    const body = isDiscovery
      ? { issuer, jwks_uri: `${state.issuer}/keys` }
      : { keys: [...keys.values()].map(({ jwk }) => jwk) };
    return response.end(JSON.stringify(body));
  }).listen(0, "127.0.0.1");
  await once(server, "listening");
  state.issuer = `https://127.0.0.1:${(server.address() as AddressInfo).port}`;
  const provider: Provider = {
    name: "corp",
    issuer: state.issuer,
    audience: "custody",
    clientId: undefined,
    kind: "users",
    username: "name",
    groups: "groups",
    algorithms: ["ES256"],
    token: "id_token",
    claims: {},
    caFile,
    insecureHttp: false,
  };
  return {
    provider,
    state,
    keys,
    addKey,
    async token(claims: object = {}, header: object = {}, kid = "one"): Promise<Secret> {
      const nowS = Math.floor(Date.now() / 1000);
      const payload = {
        iss: state.issuer,
        aud: "custody",
        sub: "4711",
        iat: nowS,
        exp: nowS + 300,
        name: "engineer",
        groups: ["engineers"],
        ...claims,
      };
      const { privateKey } = keys.get(kid) ?? assert.fail("no such key");
      const signer = new SignJWT(payload).setProtectedHeader({ alg: "ES256", kid, ...header });
      return new Secret(await signer.sign(privateKey, { crit: { x: true } }));
    },
    async [Symbol.asyncDispose]() {
      server.closeAllConnections();
      server.close();
      await rm(directory, { recursive: true, force: true });
    },
  };
}

describe("a real provider", () => {
  const accounts = [{ name: "engineer", groups: ["engineers"] }];

  test("its ID token names the user, the stable subject and the groups; a rotated key is found", async () => {
    await using real = await startOidcProvider({ accounts });
    await using local = await startIssuer();
    const caFile = `${local.provider.caFile}.real`;
    await writeFile(caFile, real.ca);
    const provider: Provider = {
      ...local.provider,
      issuer: real.issuer,
      audience: real.clientId,
      username: "preferred_username",
      algorithms: ["RS256", "ES256", "EdDSA"],
      caFile,
    };
    const clock = testClock();
    await using identity = createIdentity([provider], LIMITS, clock);
    const first = await real.idToken("engineer");
    const principal = await identity.verify(new Secret(first), "id_token");
    assert.equal(principal.kind, "user");
    assert.equal(principal.id, "corp/engineer");
    assert.equal(principal.subject, `corp/${real.subject("engineer")}`);
    assert.deepEqual(principal.groups, ["corp/engineers"]);
    real.rotateKeys({ keepOld: false });
    clock.advance(60_000);
    await identity.verify(new Secret(await real.idToken("engineer")), "id_token");
    await assert.rejects(identity.verify(new Secret(first), "id_token"), /no key of the provider/);
  });
});

describe("a token is refused", () => {
  const nowS = Math.floor(Date.now() / 1000);
  const cases: [string, object, object, RegExp][] = [
    ["for another audience", { aud: "other" }, {}, /audience is not "custody"/],
    ["without audience", { aud: undefined }, {}, /"aud"|audience/],
    [
      "for several, issued to another",
      { aud: ["custody", "other"], azp: "other" },
      {},
      /another client/,
    ],
    ["for several, without the party", { aud: ["custody", "other"] }, {}, /which client/],
    ["issued to another client", { azp: "other" }, {}, /another client/],
    ["expired beyond the skew", { exp: nowS - 40 }, {}, /expired/],
    ["not valid yet", { nbf: nowS + 60 }, {}, /"nbf"/],
    ["issued in the future", { iat: nowS + 60 }, {}, /issued in the future/],
    ["without an expiry", { exp: undefined }, {}, /"exp" is missing/],
    ["without an issue time", { iat: undefined }, {}, /"iat" is missing/],
    ["without a subject", { sub: undefined }, {}, /"sub" is missing/],
    ["of another issuer", { iss: "https://evil.test" }, {}, /not a provider/],
    ["typed as an access token", {}, { typ: "at+jwt" }, /not an ID token/],
    ["typed as a delegation of ours", {}, { typ: "custody-delegation+jwt" }, /not an ID token/],
    ["with a scope, as access tokens have", { scope: "openid" }, {}, /not an ID token/],
    ["with an inner type of another kind", { typ: "Bearer" }, {}, /not an ID token/],
    ["with an unknown critical header", {}, { crit: ["x"], x: 1 }, /signature/],
    ["without a name", { name: undefined }, {}, /"name" is missing/],
    ["with a name that is no string", { name: ["engineer"] }, {}, /not a string/],
    ["with a control character in its name", { name: "a\u0000b" }, {}, /no name may have/],
    ["with a right-to-left mark in its name", { name: "a\u202eb" }, {}, /no name may have/],
    ["with a comma in its name", { name: "engineer,dba1" }, {}, /no name may have/],
    ["with an arrow in its name", { name: "a > b" }, {}, /no name may have/],
    ["with a climbing name", { name: "../other/engineer" }, {}, /dotted segment/],
    ["with a name not in normal form", { name: "e\u0301" }, {}, /normal form/],
    ["with groups that are one string", { groups: "dba" }, {}, /not a list/],
    ["with a group that has a comma", { groups: ["a,dba"] }, {}, /no name may have/],
    [
      "with groups left out",
      { groups: undefined, _claim_names: { groups: "src1" } },
      {},
      /too long/,
    ],
  ];
  for (const [what, claims, header, message] of cases)
    test(what, async () => {
      await using local = await startIssuer();
      await using identity = createIdentity([local.provider], LIMITS, testClock());
      await identity.verify(await local.token(), "id_token");
      const token = await local.token(claims, header);
      await assert.rejects(identity.verify(token, "id_token"), (thrown) => {
        assert.match(String(thrown), message);
        assert.equal(Object(thrown).code, "unauthenticated");
        return true;
      });
    });

  test("signed by a key of ours to be confused, or by none", async () => {
    await using local = await startIssuer();
    await using identity = createIdentity([local.provider], LIMITS, testClock());
    const good = (await local.token()).reveal();
    const [, payload = "", signature = ""] = good.split(".");
    const head = (value: object): string =>
      Buffer.from(JSON.stringify(value)).toString("base64url");
    const jwk = local.keys.get("one")?.jwk ?? {};
    const { publicKey, privateKey } = generateKeyPairSync("ec", { namedCurve: "P-256" });
    const brought = await new SignJWT(JSON.parse(Buffer.from(payload, "base64url").toString()))
      .setProtectedHeader({ alg: "ES256", jwk: publicKey.export({ format: "jwk" }) })
      .sign(privateKey);
    const hmac = await new SignJWT(JSON.parse(Buffer.from(payload, "base64url").toString()))
      .setProtectedHeader({ alg: "HS256", kid: "one" })
      .sign(Buffer.from(JSON.stringify(jwk).padEnd(64)));
    for (const attempt of [
      `${head({ alg: "none" })}.${payload}.`,
      `${head({ alg: "none" })}.${payload}.${signature}`,
      `${head({ alg: "ES256", kid: "one" })}.${payload}.${"A".repeat(86)}`,
      hmac,
      brought,
    ])
      await assert.rejects(identity.verify(new Secret(attempt), "id_token"), {
        code: "unauthenticated",
      });
  });

  test("presented as what its provider does not give", async () => {
    await using local = await startIssuer();
    await using identity = createIdentity([local.provider], LIMITS, testClock());
    await assert.rejects(identity.verify(await local.token(), "access_token"), /takes ID tokens/);
  });
});

describe("providers", () => {
  test("equal names and subjects at two of them are two principals", async () => {
    await using one = await startIssuer();
    await using two = await startIssuer();
    const other = { ...two.provider, name: "partner" };
    await using identity = createIdentity([one.provider, other], LIMITS, testClock());
    const a = await identity.verify(await one.token(), "jwt");
    const b = await identity.verify(await two.token(), "jwt");
    assert.equal(a.id, "corp/engineer");
    assert.equal(b.id, "partner/engineer");
    assert.notEqual(a.subject, b.subject);
    const forged = await two.token({ iss: one.state.issuer });
    await assert.rejects(identity.verify(forged, "jwt"), { code: "unauthenticated" });
  });

  test("a workload's pinned claims: the error shows which one did not match", async () => {
    await using local = await startIssuer();
    const provider: Provider = {
      ...local.provider,
      name: "github",
      kind: "workloads",
      username: "repository",
      groups: undefined,
      claims: { repository_id: ["42"], environment: ["production", "staging"] },
    };
    await using identity = createIdentity([provider], LIMITS, testClock());
    const good = { repository: "acme/shop", repository_id: "42", environment: "staging" };
    const principal = await identity.verify(await local.token(good), "id_token");
    assert.equal(principal.id, "github/acme/shop");
    assert.equal(principal.kind, "workload");
    assert.deepEqual(principal.groups, []);
    const wrong = await local.token({ ...good, repository_id: "43" });
    await assert.rejects(
      identity.verify(wrong, "id_token"),
      /claim "repository_id" is "43"; provider github wants "42"/,
    );
    const absent = await local.token({ ...good, environment: undefined });
    await assert.rejects(identity.verify(absent, "id_token"), /"environment" is missing/);
    // A number is not the string that looks like it.
    const typed = await local.token({ ...good, repository_id: 42 });
    await assert.rejects(identity.verify(typed, "id_token"), /"repository_id" is 42/);
  });

  test("an address that was not verified is nobody's name", async () => {
    await using local = await startIssuer();
    const provider = { ...local.provider, username: "email" };
    await using identity = createIdentity([provider], LIMITS, testClock());
    const email = "engineer@example.com";
    await identity.verify(await local.token({ email, email_verified: true }), "id_token");
    for (const email_verified of [false, undefined, "true"])
      await assert.rejects(
        identity.verify(await local.token({ email, email_verified }), "id_token"),
        /email_verified/,
      );
  });

  test("symmetric algorithms are refused in the configuration", () => {
    const provider = { algorithms: ["HS256"], name: "corp" } as unknown as Provider;
    assert.throws(() => createIdentity([provider], LIMITS, testClock()), { code: "configuration" });
  });
});

describe("a provider that is down", () => {
  test("is said to be down; known keys go on working for the stated time, not longer", async () => {
    await using local = await startIssuer();
    const clock = testClock();
    await using identity = createIdentity([local.provider], LIMITS, clock);
    local.state.down = true;
    await assert.rejects(identity.verify(await local.token(), "jwt"), {
      code: "dependency_unavailable",
      message: /corp cannot be read/,
    });
    clock.advance(31_000);
    local.state.down = false;
    const lasting = { exp: Math.floor(Date.now() / 1000) + 86_400 };
    await identity.verify(await local.token(lasting), "jwt");
    local.state.down = true;
    clock.advance(3_600_000);
    await identity.verify(await local.token(lasting), "jwt");
    clock.advance(700_000);
    await assert.rejects(identity.verify(await local.token(lasting), "jwt"), {
      code: "dependency_unavailable",
    });
  });

  test("a key that is not known is looked for once, then not again during the cool-down", async () => {
    await using local = await startIssuer();
    const clock = testClock();
    await using identity = createIdentity([local.provider], LIMITS, clock);
    await identity.verify(await local.token(), "jwt");
    const before = local.state.discovered;
    local.addKey("two");
    const token = await local.token({}, {}, "two");
    await assert.rejects(identity.verify(token, "jwt"), /no key of the provider/);
    assert.equal(local.state.discovered, before);
    clock.advance(30_000);
    await identity.verify(token, "jwt");
    const after = local.state.discovered;
    assert.ok(after > before);
    const forged = await local.token({}, { kid: "three" });
    for (let attempt = 0; attempt < 5; attempt++)
      await assert.rejects(identity.verify(forged, "jwt"), { code: "unauthenticated" });
    assert.equal(local.state.discovered, after);
  });

  test("keys in a file stand in for discovery, and are read again when they change", async () => {
    await using local = await startIssuer();
    const clock = testClock();
    const file = `${local.provider.caFile}.jwks`;
    const write = () =>
      writeFile(file, JSON.stringify({ keys: [...local.keys.values()].map(({ jwk }) => jwk) }));
    await write();
    await using identity = createIdentity([{ ...local.provider, keys: { file } }], LIMITS, clock);
    local.state.down = true;
    await identity.verify(await local.token(), "jwt");
    local.addKey("two");
    await write();
    clock.advance(30_000);
    await identity.verify(await local.token({}, {}, "two"), "jwt");
    assert.equal(local.state.discovered, 0);
  });

  test("a discovery document of another issuer is not believed", async () => {
    await using local = await startIssuer();
    local.state.claimsIssuer = "https://evil.test";
    await using identity = createIdentity([local.provider], LIMITS, testClock());
    await assert.rejects(identity.verify(await local.token(), "jwt"), {
      code: "dependency_unavailable",
    });
  });
});
