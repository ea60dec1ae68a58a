// Against an HTTPS server that answers reviews by a list of rights; what a real API server says to them is
// conformance/kubernetes/doctor.ts.

import assert from "node:assert/strict";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { createServer } from "node:https";
import type { AddressInfo } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, describe, it } from "node:test";
import { createTestAuthority } from "../../../conformance/support/certificates.ts";
import { GatewayError } from "../base/errors.ts";
import { Secret } from "../base/secret.ts";
import type { KubernetesAccount, KubernetesCredential } from "../target/kubernetes-target.ts";
import type { KubernetesTarget } from "../target/target.ts";
import type { Weakness } from "./doctor.ts";
import { examineKubernetes } from "./doctor-kubernetes.ts";
import { excessRights, neededRights, type Right } from "./kubernetes-rights.ts";

/** TLS goes by the real clock. */
const NOW_MS = Math.floor(Date.now() / 1000) * 1000;
const DAY_MS = 86_400_000;
const folder = mkdtempSync(join(tmpdir(), "custody-doctor-"));
after(() => rmSync(folder, { recursive: true, force: true }));

const FOREVER = { notBefore: new Date(NOW_MS - DAY_MS), notAfter: new Date(NOW_MS + 400 * DAY_MS) };
const authority = createTestAuthority("CA of a cluster", FOREVER);
const RBAC_RULES = [
  {
    verbs: ["impersonate"],
    apiGroups: [""],
    resources: ["users"],
    resourceNames: ["custody:corp/ann"],
  },
];

interface Cluster {
  /** What is allowed, by `nameOf`; `*`: everything. */
  allowed: Set<string>;
  rules: readonly object[];
  isIncomplete: boolean;
  version: object;
  groups: readonly string[];
  /** Of reviews of oneself. */
  status: number;
  /** What nobody gets who asks for pods. */
  anonymous: number;
  readonly shown: string[];
}

const nameOf = ({ verb, resource, subresource = "", name = "", namespace = "" }: Right) =>
  [verb, resource, subresource, name, namespace].join(" ");

async function openCluster(validity = FOREVER) {
  const cluster: Cluster = {
    ...{ allowed: new Set(), rules: RBAC_RULES, isIncomplete: false, groups: ["gateways"] },
    ...{ version: { major: "1", minor: "34+" }, status: 201, anonymous: 403, shown: [] },
  };
  const answer = (url: string, spec: { resourceAttributes?: Right } | undefined) => {
    if (url === "/version") return { status: 200, value: cluster.version };
    if (url.endsWith("/selfsubjectreviews"))
      return {
        status: cluster.status,
        value: { status: { userInfo: { groups: cluster.groups } } },
      };
    if (url.endsWith("/selfsubjectrulesreviews"))
      return {
        status: 201,
        value: { status: { resourceRules: cluster.rules, incomplete: cluster.isIncomplete } },
      };
    const right = spec?.resourceAttributes;
    if (right === undefined) return { status: 404, value: {} };
    const allowed = cluster.allowed.has("*") || cluster.allowed.has(nameOf(right));
    return { status: cluster.status, value: { status: { allowed } } };
  };
  const server = createServer(authority.issue(["127.0.0.1"], validity), (request, response) => {
    const parts: Buffer[] = [];
    request.on("data", (part: Buffer) => parts.push(part));
    request.on("end", () => {
      const { authorization } = request.headers;
      cluster.shown.push(authorization ?? "nobody");
      const body = parts.length === 0 ? {} : JSON.parse(Buffer.concat(parts).toString());
      const { status, value } =
        authorization === undefined
          ? { status: cluster.anonymous, value: {} }
          : answer(request.url ?? "", (body as { spec?: { resourceAttributes?: Right } }).spec);
      response.writeHead(status, { "content-type": "application/json" });
      response.end(JSON.stringify(value));
    });
  });
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  const { port } = server.address() as AddressInfo;
  return {
    cluster,
    server: `https://127.0.0.1:${port}`,
    [Symbol.dispose]() {
      server.closeAllConnections();
      server.close();
    },
  };
}

const caFile = join(folder, "ca.pem");
writeFileSync(caFile, authority.cert);
const token: KubernetesCredential = { kind: "token", token: { from: "env", name: "TOKEN" } };
const editor: KubernetesAccount = {
  ...{ name: "edit", credential: token },
  impersonate: { prefix: "custody:", groups: ["custody:editors"], rootGroups: false },
};
const worker: KubernetesAccount = {
  ...{ name: "worker", impersonate: undefined },
  credential: {
    ...{ kind: "service-account", namespace: "agents", serviceAccount: "worker", isBound: true },
    token: { from: "env", name: "TOKEN" },
  },
};
const jwt = (claims: object) =>
  `e30.${Buffer.from(JSON.stringify(claims)).toString("base64url")}.c2ln`;
const GOOD = jwt({ exp: (NOW_MS + 90 * DAY_MS) / 1000 });

function examine(
  server: string,
  account: KubernetesAccount = editor,
  { shown = GOOD, ca = caFile }: { shown?: string; ca?: string } = {},
): Promise<readonly Weakness[]> {
  const target: KubernetesTarget = {
    ...{ protocol: "kubernetes", name: "prod", server, caFile: ca, fields: [], tags: {} },
    ...{ preview: "none", accounts: [account] },
  };
  return examineKubernetes(
    {
      clock: { nowMs: () => NOW_MS, monotonicMs: () => 0 },
      resolveSecret: async () => new Secret(shown),
      timeoutMs: 30_000,
    },
    target,
    account,
  );
}

/** What the account needs and nothing else. */
const enough = (account: KubernetesAccount) =>
  new Set(
    neededRights(account)
      .filter(({ isSome }) => !isSome)
      .map(({ right }) => nameOf(right)),
  );
const told = (found: readonly Weakness[]) =>
  found.map(({ check, severity }) => `${severity} ${check}`);

describe("custody doctor for clusters", () => {
  it("finds nothing where there is what is needed and no more", async () => {
    using at = await openCluster();
    for (const account of [editor, worker]) {
      at.cluster.allowed = enough(account);
      assert.deepEqual(await examine(at.server, account), [], account.name);
    }
  });

  it("names each right that is missing", async () => {
    using at = await openCluster();
    for (const account of [editor, worker])
      for (const { right, isSome, what } of neededRights(account)) {
        at.cluster.allowed = enough(account);
        at.cluster.allowed.delete(nameOf(right));
        at.cluster.rules = isSome ? [] : RBAC_RULES;
        const found = await examine(at.server, account);
        assert.deepEqual(told(found), ["missing rights"], what);
        assert.ok(found[0]?.what.endsWith(`may not ${what}`), found[0]?.what);
        assert.match(found[0]?.remedy ?? "", /custody kubernetes rbac/);
      }
  });

  it("does not call missing what may be permitted by somebody who does not list it", async () => {
    using at = await openCluster();
    Object.assign(at.cluster, { allowed: enough(editor), rules: [], isIncomplete: true });
    assert.deepEqual(told(await examine(at.server)), ["loose rights"]);
  });

  it("names each right that is too much", async () => {
    using at = await openCluster();
    for (const account of [editor, worker, { ...editor, impersonate: undefined }])
      for (const excess of excessRights(account)) {
        at.cluster.allowed = enough(account).add(nameOf(excess.right));
        const found = await examine(at.server, account);
        assert.ok(
          found.some(({ what }) => what === `the gateway's identity may ${excess.what}`),
          `${excess.what}: ${JSON.stringify(found)}`,
        );
      }
    const reads = excessRights({ ...editor, impersonate: undefined }).map(({ check }) => check);
    assert.ok(
      !reads.includes("secrets"),
      "what an account of its own reads is the operator's to say",
    );
  });

  it("says of a cluster-admin that alone", async () => {
    using at = await openCluster();
    at.cluster.allowed = new Set(["*"]);
    assert.deepEqual(told(await examine(at.server)), ["open everything"]);
  });

  it("finds names that are not the account's own in its rules", async () => {
    using at = await openCluster();
    at.cluster.allowed = enough(editor);
    const names = ["custody:corp/ann", "system:kube-scheduler"];
    at.cluster.rules = [{ ...RBAC_RULES[0], resourceNames: names }];
    const [found] = await examine(at.server);
    assert.equal(found?.check, "foreign-names");
    assert.match(found?.what ?? "", /users.*: system:kube-scheduler$/);
  });

  it("looks at the groups, the version and who needs no credential", async () => {
    using at = await openCluster();
    at.cluster.allowed = enough(editor);
    at.cluster.groups = ["system:masters"];
    at.cluster.version = { major: "1", minor: "99" };
    at.cluster.anonymous = 200;
    assert.deepEqual(told(await examine(at.server)), [
      "open system-masters",
      "loose version",
      "open anonymous",
    ]);
    at.cluster.version = {};
    assert.ok(told(await examine(at.server)).includes("loose version"));
  });

  it("shows no credential to whoever has another certificate", async () => {
    using at = await openCluster();
    const other = join(folder, "other.pem");
    writeFileSync(other, createTestAuthority("another").cert);
    const found = await examine(at.server, editor, { ca: other });
    assert.deepEqual(told(found), ["missing certificate"]);
    assert.deepEqual(at.cluster.shown, []);
  });

  it("tells certificates and tokens that are over, or soon", async () => {
    const certificate = async (days: number) => {
      using at = await openCluster({ ...FOREVER, notAfter: new Date(NOW_MS + days * DAY_MS) });
      at.cluster.allowed = enough(editor);
      return told(await examine(at.server));
    };
    assert.deepEqual(await certificate(29), ["loose expires"]);
    assert.deepEqual(await certificate(31), []);
    using at = await openCluster();
    at.cluster.allowed = enough(editor);
    const soon = join(folder, "soon.pem");
    const authorities = authority.cert + createTestAuthority("an old one").cert;
    writeFileSync(soon, authorities);
    const [ends] = await examine(at.server, editor, { ca: soon });
    assert.match(ends?.what ?? "", /^an authority in .*soon\.pem expires on /);
    const withToken = async (shown: string) => told(await examine(at.server, editor, { shown }));
    assert.deepEqual(await withToken(jwt({ exp: NOW_MS / 1000 + 3600 })), ["loose expires"]);
    assert.deepEqual(await withToken("not-a-jwt"), ["loose no-expiry"]);
    const before = at.cluster.shown.length;
    assert.deepEqual(await withToken(jwt({ exp: NOW_MS / 1000 - 1 })), ["missing expired"]);
    assert.equal(at.cluster.shown.length, before, "a token that is over was shown");
    const isFile: KubernetesAccount = {
      ...editor,
      credential: { kind: "token", token: { from: "file", path: "/run/token" } },
    };
    const shown = jwt({ exp: NOW_MS / 1000 + 3600 });
    assert.deepEqual(await examine(at.server, isFile, { shown }), []);
  });

  it("tells a credential that is refused, and what cannot be reached or asked", async () => {
    using at = await openCluster();
    at.cluster.status = 401;
    assert.deepEqual(told(await examine(at.server)), ["missing refused"]);
    at.cluster.status = 403;
    await assert.rejects(
      examine(at.server),
      (error: unknown) => error instanceof GatewayError && /does not say/.test(error.message),
    );
    const { server } = at;
    at[Symbol.dispose]();
    await assert.rejects(
      examine(server),
      (error: unknown) => error instanceof GatewayError && error.code === "target_unavailable",
    );
  });
});
