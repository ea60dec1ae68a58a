// Workloads that keep no secret: tokens as GitHub, GitLab, Kubernetes and SPIFFE make them, and as
// somebody else's workflow would.

import assert from "node:assert/strict";
import type { Cases } from "./cases.ts";
import { described, type Stage } from "./stage.ts";

type Claims = Record<string, unknown>;

const GITHUB: Claims = {
  sub: "repo:acme/shop:environment:prod",
  repository: "acme/shop",
  repository_id: "123",
  repository_owner: "acme",
  repository_owner_id: "77",
  environment: "prod",
  ref: "refs/heads/main",
};
const GITLAB: Claims = {
  sub: "project_path:acme/shop:ref_type:branch:ref:main",
  project_path: "acme/shop",
  project_id: "5",
  namespace_id: "6",
};
const KUBERNETES: Claims = {
  aud: ["custody"],
  sub: "system:serviceaccount:ci:deployer",
  "kubernetes.io": {
    namespace: "ci",
    pod: { name: "deploy-1", uid: "0000" },
    serviceaccount: { name: "deployer", uid: "1111" },
  },
};
const SPIFFE: Claims = {
  iss: undefined,
  iat: undefined,
  sub: "spiffe://example.org/ns/ci/deployer",
};

const GOOD: readonly (readonly [string, string, Claims, object, string])[] = [
  ["GitHub Actions", "gh", GITHUB, {}, "gh/acme/shop"],
  ["GitLab CI", "gl", GITLAB, {}, "gl/acme/shop"],
  [
    "a Kubernetes service account",
    "k8s",
    KUBERNETES,
    { typ: undefined },
    "cluster/system:serviceaccount:ci:deployer",
  ],
  ["a JWT-SVID", "mesh", SPIFFE, { typ: "JOSE" }, "mesh/ns/ci/deployer"],
];

const FORGED: readonly (readonly [string, string, Claims, RegExp])[] = [
  [
    "another repository of the same name",
    "gh",
    { ...GITHUB, repository_id: "999" },
    /"repository_id" is "999".* wants "123"/,
  ],
  ["a fork's owner", "gh", { ...GITHUB, repository_owner_id: "1" }, /"repository_owner_id" is "1"/],
  [
    "a repository id that is a number",
    "gh",
    { ...GITHUB, repository_id: 123 },
    /"repository_id" is 123/,
  ],
  [
    "another environment",
    "gh",
    { ...GITHUB, environment: "dev" },
    /"environment" is "dev".*"prod" or "staging"/,
  ],
  ["no environment", "gh", { ...GITHUB, environment: undefined }, /"environment" is missing/],
  ["a token for another service", "gh", { ...GITHUB, aud: "sts.amazonaws.com" }, /audience/],
  [
    "a token that cannot be told apart (no jti)",
    "gh",
    { ...GITHUB, jti: undefined },
    /"jti" is missing/,
  ],
  ["another GitLab project", "gl", { ...GITLAB, project_id: "8" }, /"project_id" is "8"/],
  [
    "another namespace",
    "k8s",
    { ...KUBERNETES, "kubernetes.io": { namespace: "default" } },
    /namespace" is "default"/,
  ],
  [
    "a namespace outside its claim",
    "k8s",
    { ...KUBERNETES, "kubernetes.io": undefined, namespace: "ci" },
    /namespace" is missing/,
  ],
  [
    "another service account",
    "k8s",
    { ...KUBERNETES, "kubernetes.io": { namespace: "ci", serviceaccount: { name: "default" } } },
    /name" is "default"/,
  ],
  [
    "another trust domain",
    "mesh",
    { ...SPIFFE, sub: "spiffe://evil.org/ns/ci/deployer" },
    /issuer/,
  ],
  [
    "a trust domain that only begins alike",
    "mesh",
    { ...SPIFFE, sub: "spiffe://example.org.evil/x" },
    /issuer/,
  ],
  ["no workload in the domain", "mesh", { ...SPIFFE, sub: "spiffe://example.org/" }, /./],
  ["an SVID without expiry", "mesh", { ...SPIFFE, exp: undefined }, /"exp" is missing/],
];

export async function workloadCases({ check }: Cases, stage: Stage): Promise<void> {
  const { liar } = stage;
  for (const [name, issuer, claims, header, id] of GOOD)
    await check(`/token takes ${name}`, async () => {
      const { status, body } = await stage.exchange(await liar.token(issuer, claims, header));
      assert.equal(status, 200, JSON.stringify(body));
      assert.equal(await whois(stage, String(body.access_token)), id);
    });
  for (const [name, issuer, claims, said] of FORGED)
    await check(`/token refuses ${name}`, async () => {
      const { status, body } = await stage.exchange(await liar.token(issuer, claims));
      assert.equal(status, 400, JSON.stringify(body));
      assert.match(described(body), said);
    });
  await check("a GitHub token is taken once, whoever shows it again", async () => {
    const token = await liar.token("gh", GITHUB);
    assert.equal((await stage.exchange(token)).status, 200);
    const again = await stage.exchange(token);
    assert.equal(again.status, 400);
    assert.match(described(again.body), /each token once/);
  });
  await check("ten exchanges of one token at once give one delegation", async () => {
    const token = await liar.token("gl", GITLAB);
    const answers = await Promise.all(Array.from({ length: 10 }, () => stage.exchange(token)));
    assert.equal(answers.filter(({ status }) => status === 200).length, 1);
  });
  await check("a refused exchange spends no token", async () => {
    const token = await liar.token("gh", GITHUB);
    assert.equal((await stage.exchange(token, { expires_in: "999999999" })).status, 400);
    assert.equal((await stage.exchange(token)).status, 200);
  });
}

async function whois(stage: Stage, token: string): Promise<unknown> {
  const payload = await stage.whoami(token);
  return Object(payload).delegation.actor;
}
