import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { requestInfo } from "@custody/wire/kubernetes/request-info.ts";
import { parseRequestUrl } from "@custody/wire/kubernetes/request-url.ts";
import type { FieldClassification } from "../../target/kubernetes-target.ts";
import type { KubernetesTarget } from "../../target/target.ts";
import { bodyFacts, NO_FACTS } from "./body-facts.ts";
import { fieldsOf, judgeRequest } from "./operations.ts";
import { readBody } from "./request-body.ts";

const JSON_PATCH = "application/json-patch+json";
const MERGE = "application/merge-patch+json";
const STRATEGIC = "application/strategic-merge-patch+json";
const APPLY = "application/apply-patch+yaml";
const SHOP = "/api/v1/namespaces/shop";
const SYSTEM = "/api/v1/namespaces/kube-system";
const DEFINITIONS = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions";

const FIELDS: readonly FieldClassification[] = [
  { group: "example.com", resource: "widgets", field: ["spec", "apiKey"], class: "secret.token" },
  { group: "", resource: "configmaps", field: ["metadata", "labels", "owner"], class: "pii.name" },
  { group: "", resource: "services", field: ["metadata", "labels"], class: "pii.name" },
];
const target: KubernetesTarget = {
  ...{ protocol: "kubernetes", name: "prod", server: "https://cluster", caFile: undefined },
  ...{ preview: "none", fields: FIELDS, accounts: [], tags: {} },
};

const facts = (body: unknown, type = "application/json") =>
  bodyFacts(readBody(Buffer.from(JSON.stringify(body)), type));

function judge(method: string, path: string, body?: unknown, type?: string) {
  const url = parseRequestUrl(path);
  const said = body === undefined ? NO_FACTS : facts(body, type);
  return judgeRequest(target, requestInfo(method, url), url, said);
}

/** What it is besides its verb, as actions. */
function further(method: string, path: string, body?: unknown, type?: string): string[] {
  const judged = judge(method, path, body, type);
  if (judged.kind === "unknown") return [judged.message];
  return judged.operation.effects.slice(1).map(({ action }) => action.slice("k8s:".length));
}

function inner(method: string, path: string, body?: unknown, type?: string): string[] {
  const judged = judge(method, path, body, type);
  if (judged.kind === "unknown") return [judged.message];
  return judged.operation.touches.filter(({ use }) => use === "inner").map((one) => one.class);
}

describe("what a request does besides its verb", () => {
  it("is a pod's end where it is evicted", () => {
    const judged = judge("POST", `${SHOP}/pods/web-1/eviction`, { metadata: { name: "web-1" } });
    assert.ok(judged.kind === "operation");
    const { effects } = judged.operation;
    assert.deepEqual(
      effects.map(({ action, resource }) => `${action} ${resource.path}`),
      ["k8s:create shop/pods/web-1/eviction", "k8s:delete shop/pods/web-1"],
    );
    assert.equal(effects[1]?.resource.attributes?.subresource, "");
    assert.equal(effects[1]?.resource.attributes?.dryRun, false);
    const dry = judge("POST", `${SHOP}/pods/web-1/eviction?dryRun=All`, {});
    assert.ok(dry.kind === "operation");
    assert.ok(dry.operation.effects.every(({ resource }) => resource.attributes?.dryRun === true));
  });

  it("is a creation where an apply, or an update of some kinds, makes what is not there", () => {
    const pod = `${SHOP}/pods/p`;
    assert.deepEqual(further("PATCH", pod, { metadata: { name: "p" } }, APPLY), ["create"]);
    assert.deepEqual(further("PATCH", pod, {}, MERGE), []);
    assert.deepEqual(further("PATCH", `${pod}/status`, {}, APPLY), []);
    assert.deepEqual(further("PUT", pod, {}), []);
    for (const path of [`${SHOP}/services/s`, "/apis/coordination.k8s.io/v1/namespaces/a/leases/l"])
      assert.deepEqual(further("PUT", path, {}), ["create"], path);
    assert.deepEqual(further("PUT", `${SHOP}/services/s/status`, {}), []);
  });

  it("is a token where a Secret is filled with one, or is one", () => {
    const annotations = { "kubernetes.io/service-account.name": "admin" };
    const pointer = "/metadata/annotations/kubernetes.io~1service-account.name";
    const secret = `${SHOP}/secrets/s`;
    for (const [method, path, body, type] of [
      ["POST", `${SHOP}/secrets`, { type: "kubernetes.io/service-account-token" }],
      ["POST", `${SHOP}/secrets`, { type: "bootstrap.kubernetes.io/token" }],
      ["PUT", secret, { metadata: { annotations } }],
      ["PATCH", secret, { metadata: { annotations } }, MERGE],
      ["PATCH", secret, [{ op: "replace", path: pointer, value: "admin" }], JSON_PATCH],
      ["PATCH", `${SYSTEM}/secrets/bootstrap-token-abcdef`, { data: {} }, MERGE],
      ["POST", `${SYSTEM}/secrets`, { metadata: { name: "bootstrap-token-abcdef" } }],
      ["POST", `${SYSTEM}/secrets`, { metadata: { generateName: "bootstrap-token-a" } }],
    ] as const)
      assert.deepEqual(further(method, path, body, type), ["token"], JSON.stringify(body));
    assert.deepEqual(further("POST", `${SHOP}/secrets`, { type: "Opaque" }), []);
    assert.deepEqual(further("DELETE", `${SYSTEM}/secrets/bootstrap-token-abcdef`), []);
  });

  it("is escalation, certification or a proxy where it says who somebody is", () => {
    const configMap = (name: string, path = SYSTEM) =>
      further("PATCH", `${path}/configmaps/${name}`, { data: {} }, MERGE);
    assert.deepEqual(configMap("aws-auth"), ["escalate"]);
    assert.deepEqual(configMap("extension-apiserver-authentication"), ["escalate"]);
    assert.deepEqual(configMap("coredns"), []);
    assert.deepEqual(configMap("aws-auth", SHOP), []);
    const made = { metadata: { name: "aws-auth" } };
    assert.deepEqual(further("POST", `${SYSTEM}/configmaps`, made), ["escalate"]);
    const certificates = "/apis/certificates.k8s.io/v1beta1";
    assert.deepEqual(further("POST", `${certificates}/clustertrustbundles`, {}), ["certify"]);
    const asked = `${certificates}/namespaces/shop/podcertificaterequests`;
    assert.deepEqual(further("POST", asked, {}), ["certify"]);
    assert.deepEqual(further("GET", asked), []);
    assert.deepEqual(further("PATCH", "/api/v1/nodes/n1/status", {}, MERGE), ["proxy"]);
    assert.deepEqual(further("POST", "/api/v1/nodes", { metadata: { name: "n" } }), ["proxy"]);
    // What cordoning does.
    assert.deepEqual(
      further("PATCH", "/api/v1/nodes/n1", { spec: { unschedulable: true } }, MERGE),
      [],
    );
  });
});

describe("what a request tells of a classified value", () => {
  it("is told by the definition of its kind", () => {
    const definition = `${DEFINITIONS}/widgets.example.com`;
    const patch = { metadata: { labels: { a: "b" } } };
    assert.deepEqual(inner("PATCH", definition, patch, MERGE), ["secret.token"]);
    assert.deepEqual(inner("PUT", definition, {}), ["secret.token"]);
    assert.deepEqual(inner("GET", definition), []);
    assert.deepEqual(inner("POST", DEFINITIONS, { metadata: { name: "x.example.com" } }), []);
    assert.deepEqual(inner("PATCH", `${DEFINITIONS}/others.example.com`, patch, MERGE), []);
  });

  it("is told of environments by what a definition reads or refuses", () => {
    const told = (spec: unknown) =>
      inner("PATCH", `${DEFINITIONS}/others.example.com`, { spec }, MERGE);
    const schema = (env: unknown) => ({
      versions: [
        { schema: { openAPIV3Schema: { properties: { spec: { properties: { env } } } } } },
      ],
    });
    const value = { type: "string", pattern: "^a" };
    for (const spec of [
      { versions: [{ subresources: { scale: { labelSelectorPath: ".spec.env.PASSWORD" } } }] },
      { versions: [{ subresources: { scale: { specReplicasPath: ".spec.env.PIN" } } }] },
      schema({ type: "array", items: { type: "object", properties: { value } } }),
      schema({ type: "object", additionalProperties: value }),
      schema({ type: "object", properties: { PASSWORD: { enum: ["guess"] } } }),
      { "x-kubernetes-validations": [{ rule: "self.spec.env[0].value.startsWith('a')" }] },
    ])
      assert.deepEqual(told(spec), ["secret.k8s.env"], JSON.stringify(spec));
    const plain = { type: "object", properties: { value: { type: "string" }, valueFrom: {} } };
    assert.deepEqual(told(schema({ type: "array", items: plain })), []);
    assert.deepEqual(told({ rule: "self.environment == 'a' || self.envoy" }), []);
  });

  it("is told by a selection by labels, where a label is classified", () => {
    assert.deepEqual(inner("GET", `${SHOP}/configmaps?labelSelector=owner%3Dguess`), ["pii.name"]);
    assert.deepEqual(inner("GET", `${SHOP}/configmaps?labelSelector=app%3Dweb`), []);
    assert.deepEqual(inner("GET", `${SHOP}/services?labelSelector=app%3Dweb`), ["pii.name"]);
    assert.deepEqual(inner("GET", `${SHOP}/services`), []);
  });

  it("is told by what is taken out of a list if it is there", () => {
    const list = { group: "", resource: "services", field: ["spec", "names", "*"], class: "a.b" };
    const url = parseRequestUrl(`${SHOP}/services/s`);
    const uses = (name: string) => {
      const said = facts({ spec: { [`$deleteFromPrimitiveList/${name}`]: ["guess"] } }, STRATEGIC);
      const own = { ...target, fields: [list] };
      const judged = judgeRequest(own, requestInfo("PATCH", url), url, said);
      return judged.kind === "operation" ? judged.operation.touches.map(({ use }) => use) : [];
    };
    assert.deepEqual(uses("names"), ["inner"]);
    assert.deepEqual(uses("others"), ["output"]);
  });

  it("is told by a scale, which shows what its kind's definition says", () => {
    const at = parseRequestUrl("/apis/example.com/v1/namespaces/shop/widgets/w/scale");
    const info = requestInfo("GET", at);
    assert.ok(info.isResource);
    assert.deepEqual(
      fieldsOf(target, info).map(({ field }) => field.join(".")),
      ["spec.apiKey", "status.selector"],
    );
    const plain = { ...info, subresource: "" };
    assert.deepEqual(fieldsOf(target, plain).length, 1);
  });

  it("is told by a test in a custom resource whatever its group is called", () => {
    const at = "/apis/jobset.k8s.io/v1/namespaces/shop/jobsets/j";
    const test = [{ op: "test", path: "/spec/template/env/0/value", value: "guess" }];
    assert.deepEqual(inner("PATCH", at, test, JSON_PATCH), ["secret.k8s.env"]);
    const lease = "/apis/coordination.k8s.io/v1/namespaces/shop/leases/l";
    assert.deepEqual(
      inner("PATCH", lease, [{ op: "test", path: "/spec/x", value: 1 }], JSON_PATCH),
      [],
    );
  });
});

describe("what a body says, in one spelling", () => {
  it("has capabilities and paths of nodes as policies write them", () => {
    const add = ["sys_admin", "CAP_NET_ADMIN", "cap_chown", "ALL"];
    const { capabilities } = facts({ securityContext: { capabilities: { add } } });
    assert.deepEqual(capabilities, ["SYS_ADMIN", "NET_ADMIN", "CHOWN", "ALL"]);
    const { hostPaths } = facts({
      volumes: ["/var/run/x", "//var//run/./x/", "/", "/./", "x/./y"].map((path) => ({
        hostPath: { path },
      })),
    });
    assert.deepEqual(hostPaths, ["/var/run/x", "/", "x/y"]);
  });

  it("has images of volumes, and Secrets that drivers are given", () => {
    const { images } = facts({
      volumes: [{ image: { reference: "evil:1", pullPolicy: "Never" } }],
    });
    assert.deepEqual(images, ["evil:1"]);
    const reference = { name: "a", namespace: "other" };
    for (const body of [
      { spec: { csi: { nodePublishSecretRef: { name: "a" } } } },
      { spec: { csi: { controllerExpandSecretRef: reference } } },
      { parameters: { "csi.storage.k8s.io/node-stage-secret-name": "a" } },
      { parameters: { adminSecretName: "a" } },
    ])
      assert.deepEqual(facts(body).secrets, ["a"], JSON.stringify(body));
  });

  it("is privileged with what others use, and with all of /proc", () => {
    assert.equal(
      facts({ spec: { devices: { requests: [{ adminAccess: true }] } } }).privileged,
      true,
    );
    assert.equal(facts({ securityContext: { procMount: "Unmasked" } }).privileged, true);
    assert.equal(facts({ securityContext: { procMount: "Default" } }).privileged, false);
  });

  it("names one service account, which nothing beside it makes two", () => {
    const named = (body: unknown) => facts(body).serviceAccount;
    assert.equal(named({ serviceAccountName: "admin", serviceAccount: "" }), "admin");
    assert.equal(named({ serviceAccountName: "admin", serviceAccount: "admin" }), "admin");
    const annotations = { serviceAccountName: "x" };
    assert.equal(named({ metadata: { annotations }, spec: { serviceAccountName: "a" } }), "a");
    const two = { spec: { serviceAccountName: "admin", serviceAccount: "x" } };
    assert.match(further("POST", `${SHOP}/pods`, two)[0] ?? "", /two service accounts/);
    assert.deepEqual(further("POST", "/apis/ray.io/v1/namespaces/shop/rayclusters", two), []);
  });

  it("has every label, or is not judged", () => {
    const labels = (count: number) =>
      Object.fromEntries(Array.from({ length: count }, (_, index) => [`l${index}`, "x"]));
    const team = { ...labels(500), team: "payments" };
    assert.ok(facts({ metadata: { labels: team } }).labels.includes("team=payments"));
    const most = further("POST", `${SHOP}/pods`, { metadata: { labels: labels(513) } });
    assert.match(most[0] ?? "", /more images, labels/);
  });
});
