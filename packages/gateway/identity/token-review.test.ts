// Service accounts known by asking their cluster, which here is an HTTPS server that answers as the API
// does.

import assert from "node:assert/strict";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, before, describe, test } from "node:test";
import { SignJWT } from "jose";
import { type ClusterApi, startClusterApi } from "../../../conformance/identity/cluster-api.ts";
import { createTestAuthority } from "../../../conformance/support/certificates.ts";
import { systemClock } from "../base/clock.ts";
import { GatewayError } from "../base/errors.ts";
import { Secret } from "../base/secret.ts";
import type { KubernetesProvider } from "../config/config.ts";
import { createIdentities, type Identities } from "./identities.ts";

let api: ClusterApi;
let folder: string;
before(async () => {
  api = await startClusterApi();
  folder = mkdtempSync(join(tmpdir(), "custody-cluster-"));
  writeFileSync(join(folder, "ca.pem"), api.ca);
  writeFileSync(join(folder, "other-ca.pem"), createTestAuthority().cert);
});
after(async () => {
  await api[Symbol.asyncDispose]();
  rmSync(folder, { recursive: true, force: true });
});

function identities(more: Partial<KubernetesProvider> = {}, ownToken = api.ownToken): Identities {
  const provider: KubernetesProvider = {
    name: "cluster",
    server: api.server,
    caFile: join(folder, "ca.pem"),
    token: { from: "env", name: "UNUSED" },
    issuer: api.issuer,
    audience: "custody",
    serviceAccounts: ["ci/deployer", "build/*"],
    ...more,
  };
  return createIdentities(
    { providers: new Map(), clusterProviders: new Map([["cluster", provider]]) },
    {
      resolveSecret: async () => new Secret(ownToken),
      limits: { clockSkewMs: 30_000, providerStaleMs: 0 },
      clock: systemClock,
    },
  );
}

async function refusal(of: Promise<unknown>): Promise<GatewayError> {
  return await of.then(
    () => assert.fail("it was accepted"),
    (thrown) => {
      assert.ok(thrown instanceof GatewayError, String(thrown));
      return thrown;
    },
  );
}

test("an account is who the cluster says it is, by its uid, with the groups the cluster gives", async () => {
  await using known = identities();
  const token = await api.token("ci", "deployer");
  const principal = await known.verify(new Secret(token), "jwt");
  assert.equal(principal.kind, "workload");
  assert.equal(principal.id, "cluster/system:serviceaccount:ci:deployer");
  assert.match(principal.subject, /^cluster\/[0-9a-f-]{36}$/);
  assert.deepEqual(principal.groups, [
    "cluster/system:serviceaccounts",
    "cluster/system:serviceaccounts:ci",
    "cluster/system:authenticated",
  ]);
  assert.deepEqual(Object(api.asked.at(-1)).spec, { token, audiences: ["custody"] });
  await known.verify(new Secret(await api.token("build", "anything")), "id_token");
});

test("an account that was removed is not let in, nor as itself when it is made again", async () => {
  await using known = identities();
  const token = new Secret(await api.token("ci", "deployer"));
  const first = await known.verify(token, "jwt");
  api.remove("ci", "deployer");
  assert.match((await refusal(known.verify(token, "jwt"))).message, /cluster does not know it/);
  const again = await known.verify(new Secret(await api.token("ci", "deployer")), "jwt");
  assert.equal(again.id, first.id);
  assert.notEqual(again.subject, first.subject);
});

describe("a token is refused", () => {
  test("of another account, and told which are let in", async () => {
    await using known = identities();
    for (const [namespace, name] of [
      ["ci", "other"],
      ["prod", "deployer"],
      ["builder", "x"],
    ] as const) {
      const { code, message } = await refusal(
        known.verify(new Secret(await api.token(namespace, name)), "jwt"),
      );
      assert.equal(code, "unauthenticated");
      assert.match(
        message,
        new RegExp(`"${namespace}/${name}" is not one of ci/deployer, build/\\*`),
      );
    }
  });

  test("for another audience, forged, too old, without an end, presented as something else", async () => {
    await using known = identities();
    const reject = async (token: string, pattern: RegExp, as: "jwt" | "access_token" = "jwt") => {
      const { code, message } = await refusal(known.verify(new Secret(token), as));
      assert.equal(code, "unauthenticated");
      assert.match(message, pattern);
    };
    await reject(await api.token("ci", "deployer", { audience: ["other"] }), /does not know it/);
    await reject(await api.token("ci", "deployer", { expiresInS: -60 }), /has expired/);
    const endless = await api.token("ci", "deployer", { claims: { exp: undefined } });
    await reject(endless, /no end/);
    const forged = await new SignJWT({ sub: "system:serviceaccount:ci:deployer", aud: "custody" })
      .setProtectedHeader({ alg: "HS256" })
      .setIssuer(api.issuer)
      .setIssuedAt()
      .setExpirationTime("1h")
      .sign(new Uint8Array(32));
    await reject(forged, /does not know it/);
    await reject(await api.token("ci", "deployer"), /presented as a JWT/, "access_token");
    await reject("not a token", /not a signed JWT/);
    const elsewhere = await api.token("ci", "deployer", { claims: { iss: "https://else.test" } });
    await reject(elsewhere, /not a provider/);
  });

  test("where the answer is not what it must be", async () => {
    await using known = identities();
    const token = new Secret(await api.token("ci", "deployer"));
    const cases: [string, ClusterApi["distort"], string, RegExp][] = [
      [
        "a cluster that does not know of audiences",
        (review) => {
          const { audiences: _gone, ...status } = review.status;
          return { body: { ...review, status } };
        },
        "unauthenticated",
        /audience/,
      ],
      [
        "another audience confirmed",
        (review) => ({ body: { ...review, status: { ...review.status, audiences: ["other"] } } }),
        "unauthenticated",
        /audience/,
      ],
      [
        "a person",
        (review) => ({
          body: { ...review, status: { ...review.status, user: { username: "admin", uid: "1" } } },
        }),
        "unauthenticated",
        /not a service account/,
      ],
      [
        "a name with list syntax",
        (review) => ({
          body: {
            ...review,
            status: {
              ...review.status,
              user: { username: "system:serviceaccount:ci:deployer,admin", uid: "1" },
            },
          },
        }),
        "unauthenticated",
        /not a service account/,
      ],
      [
        "no uid",
        (review) => ({
          body: {
            ...review,
            status: {
              ...review.status,
              user: { username: "system:serviceaccount:ci:deployer" },
            },
          },
        }),
        "unauthenticated",
        /"uid" is empty/,
      ],
      [
        "`authenticated` that is no boolean",
        (review) => ({ body: { ...review, status: { ...review.status, authenticated: "yes" } } }),
        "dependency_unavailable",
        /no TokenReview/,
      ],
      [
        "another kind of answer",
        (review) => ({ body: { ...review, kind: "SubjectAccessReview" } }),
        "dependency_unavailable",
        /no TokenReview/,
      ],
      ["no JSON", () => ({ body: "<html>" }), "dependency_unavailable", /cannot be asked/],
      [
        "too much",
        () => ({ body: "x".repeat(300_000) }),
        "dependency_unavailable",
        /cannot be asked/,
      ],
      ["an error", (review) => ({ status: 500, body: review }), "dependency_unavailable", /500/],
    ];
    try {
      for (const [what, distort, code, pattern] of cases) {
        api.distort = distort;
        const error = await refusal(known.verify(token, "jwt"));
        assert.equal(error.code, code, what);
        assert.match(error.message, pattern, what);
        assert.ok(!error.message.includes(token.reveal()), what);
      }
    } finally {
      api.distort = undefined;
    }
  });

  test("where the cluster does not let us ask, or is not the one of the configured CA", async () => {
    const token = new Secret(await api.token("ci", "deployer"));
    await using stranger = identities({}, "another token");
    const { code, message } = await refusal(stranger.verify(token, "jwt"));
    assert.equal(code, "dependency_unavailable");
    assert.match(message, /system:auth-delegator/);
    const asked = api.asked.length;
    await using other = identities({ caFile: join(folder, "other-ca.pem") });
    assert.equal((await refusal(other.verify(token, "jwt"))).code, "dependency_unavailable");
    assert.equal(api.asked.length, asked, "the token was sent to a server nobody vouches for");
  });
});

test("a new set of providers replaces the old one, or nothing of it", async () => {
  await using known = identities();
  const token = new Secret(await api.token("ci", "deployer"));
  await known.verify(token, "jwt");
  const broken = { name: "cluster", caFile: join(folder, "missing.pem") } as KubernetesProvider;
  assert.throws(
    () => known.replace({ providers: new Map(), clusterProviders: new Map([["x", broken]]) }),
    { code: "configuration" },
  );
  await known.verify(token, "jwt");
  known.replace({ providers: new Map(), clusterProviders: new Map() });
  assert.match((await refusal(known.verify(token, "jwt"))).message, /not a provider/);
});
