// What a second reader found or tried: what admission, aggregation and conversion are made of, comparisons by
// selectors and tests, ways of asking that two readers may take differently, and bodies at the edge of their form.

import { type Attempt, JSON_BODY } from "./attempt.ts";

const NAMESPACE = "/api/v1/namespaces/shop";
const ADMISSION = "/apis/admissionregistration.k8s.io/v1";
const DEFINITIONS = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions";
const WIDGETS = "/apis/example.com/v1/namespaces/shop/widgets";
const DEPLOYMENT = "/apis/apps/v1/namespaces/shop/deployments/leaky";
const PATHS_AND_VERBS = "Paths and verbs";
const ORACLES = "Leaks past a mask";

const post = (id: string, path: string, body: unknown): Attempt => ({
  ...{ id, path, threat: PATHS_AND_VERBS, must: "denied", method: "POST" },
  headers: [JSON_BODY],
  body: JSON.stringify(body),
});
const read = (path: string, more: Partial<Attempt> = {}): Attempt => ({
  ...{ id: `asked as ${path}`, path, threat: ORACLES, must: "quiet", method: "GET" },
  ...more,
});
const denied = (id: string, path: string): Attempt => read(path, { id, must: "denied" });
const test = (id: string, path: string, pointer: string, value: unknown): Attempt => ({
  ...{ id: `json patch: ${id}`, path, threat: ORACLES, must: "denied", method: "PATCH" },
  headers: [["content-type", "application/json-patch+json"]],
  body: JSON.stringify([{ op: "test", path: pointer, value }]),
});
const raw = (id: string, type: string, body: string | Buffer): Attempt => ({
  ...{ id: `a body: ${id}`, path: `${NAMESPACE}/pods`, threat: PATHS_AND_VERBS },
  ...{ must: "denied", method: "POST", body },
  headers: [["content-type", type]],
});

const clientConfig = { url: "https://elsewhere.example.com/" };
const RULES = [{ apiGroups: [""], apiVersions: ["v1"], resources: ["secrets"], operations: ["*"] }];
const webhook = {
  ...{ name: "w.example.com", clientConfig, rules: RULES },
  ...{ sideEffects: "None", admissionReviewVersions: ["v1"] },
};
const host = { hostPath: { path: "/" } };

const REQUESTS_OF_OTHERS: readonly Attempt[] = [
  post("a policy whose text quotes", `${ADMISSION}/validatingadmissionpolicies`, {
    metadata: { name: "quotes" },
    spec: {
      matchConstraints: { resourceRules: RULES },
      validations: [{ expression: "false", messageExpression: "string(object.data)" }],
    },
  }),
  post("a binding of a policy", `${ADMISSION}/validatingadmissionpolicybindings`, {
    metadata: { name: "quotes" },
    spec: { policyName: "quotes", validationActions: ["Warn"] },
  }),
  ...["validating", "mutating"].map((kind) =>
    post(`a ${kind} webhook`, `${ADMISSION}/${kind}webhookconfigurations`, {
      metadata: { name: "w" },
      webhooks: [webhook],
    }),
  ),
  post("an API that others serve", "/apis/apiregistration.k8s.io/v1/apiservices", {
    metadata: { name: "v1.others.example.com" },
    spec: {
      ...{ group: "others.example.com", version: "v1", insecureSkipTLSVerify: true },
      ...{ groupPriorityMinimum: 1, versionPriority: 1, service: { name: "a", namespace: "shop" } },
    },
  }),
  post("a definition that others convert", DEFINITIONS, {
    metadata: { name: "things.example.com" },
    spec: { conversion: { strategy: "Webhook", webhook: { clientConfig } } },
  }),
  {
    ...{ id: "a definition, patched to be converted", threat: PATHS_AND_VERBS, must: "denied" },
    ...{ method: "PATCH", path: `${DEFINITIONS}/widgets.example.com` },
    headers: [["content-type", "application/merge-patch+json"]],
    body: JSON.stringify({ spec: { conversion: { webhook: { clientConfig } } } }),
  },
  {
    ...{ id: "a webhook taken away", threat: PATHS_AND_VERBS, must: "denied", method: "DELETE" },
    path: `${ADMISSION}/validatingwebhookconfigurations/w?dryRun=All`,
  },
];

const WAYS_OF_ASKING: readonly Attempt[] = [
  ...["TRUE", "yes", "t", "", "1&watch=0", "%74rue", "False&watch=1", "00"].map((value) =>
    read(`${NAMESPACE}/secrets?watch=${value}`, { readMs: 300 }),
  ),
  ...[
    "Watch=1",
    "limit=0",
    "limit=-1",
    "limit=1&continue=x",
    "resourceVersion=0",
    "resourceVersion=0&resourceVersionMatch=Exact",
    "resourceVersion=1&resourceVersionMatch=NotOlderThan",
    "sendInitialEvents=true",
    "fieldSelector=metadata.name%3Ds1,metadata.name%3Ds2",
    "fieldSelector=metadata.name%21%3Ds1",
    "fieldSelector=type%3DOpaque",
    "fieldSelector=data.key%3Dx",
    "labelSelector=a+in+(b)",
    "pretty=1&pretty=0",
    "includeObject=Object&includeObject=None",
    "export=true&exact=true",
    "fieldManager=x",
    "timeout=1ns",
    "timeoutSeconds=1",
  ].map((query) => read(`${NAMESPACE}/secrets?${query}`, { readMs: 300 })),
  ...[
    `${NAMESPACE}/secrets/s1/`,
    `${NAMESPACE}/%73ecrets/s1`,
    `${NAMESPACE}/secrets;x=1/s1`,
    `${NAMESPACE}/Secrets/s1`,
    `${NAMESPACE}/secrets/s1/status`,
    `${NAMESPACE}/secrets/s1/scale`,
    `${NAMESPACE}/secrets/%EF%BD%931`,
    "/api/v1/watch/namespaces/shop/secrets/s1?watch=false",
    "/api/v1/watch/secrets?fieldSelector=metadata.name%3Ds1",
    "/openapi/v3/apis/example.com/v1",
    "/apis/example.com/v1",
  ].map((path) => read(path, { readMs: 300 })),
  denied("a variable selected by", `${WIDGETS}?fieldSelector=spec.env.PASSWORD%3Dguess`),
  denied("all but a classified field", `${WIDGETS}?fieldSelector=spec.apiKey%21%3Dguess`),
  denied(
    "a classified field among others",
    `${WIDGETS}?fieldSelector=metadata.name%3Dw1,spec.apiKey%3D%3Dguess`,
  ),
  denied("a classified field watched by", `${WIDGETS}?watch=1&fieldSelector=spec.apiKey%3Dguess`),
  {
    ...{ id: "deleted by a classified field", threat: ORACLES, must: "denied", method: "DELETE" },
    path: `${WIDGETS}?dryRun=All&fieldSelector=spec.apiKey%3Dguess`,
  },
  test("a text that repeats the object", DEPLOYMENT, "/metadata/annotations/x", `{"spec":{}}`),
  test("a text that holds it packed", DEPLOYMENT, "/metadata/annotations/x", "H4sIAAAAAAAA"),
  test("managed fields", DEPLOYMENT, "/metadata/managedFields", []),
  test("a status of one's own", `${WIDGETS}/w1`, "/status/env/A", "guess"),
  ...["/metadata", "/metadata/annotations", "/spec/template/spec", "/data"].map((pointer) =>
    test(pointer, DEPLOYMENT, pointer, {}),
  ),
];

const names = (count: number) =>
  Array.from({ length: count }, (_, index) => `a${index}: 1\n`).join("");
const nested = "[".repeat(50_000) + "]".repeat(50_000);
const BODIES: readonly Attempt[] = [
  raw(
    "a pod twice of which the last has the host",
    "application/json",
    `{"spec":{},"spec":{"volumes":[${JSON.stringify(host)}]}}`,
  ),
  raw("kind in another case", "application/json", `{"Kind":"Pod","kind":"Secret"}`),
  raw("kind with a letter that folds", "application/json", `{"\u212aind":"Pod"}`),
  raw("a name with a surrogate alone", "application/json", `{"metadata":{"name":"\\ud800"}}`),
  raw("nested without an end", "application/json", `{"spec":${nested}}`),
  raw("nested flow of YAML", "application/yaml", `spec: ${"[".repeat(5000)}${"]".repeat(5000)}`),
  raw("a number beyond all", "application/json", `{"spec":{"hostPID":true,"x":1e999999}}`),
  raw("a tag of YAML", "application/yaml", "spec: !!js/function 'x'\nhostPID: &a true\nb: *a\n"),
  raw("keys of YAML that merge", "application/yaml", "a: &a {hostPID: true}\nspec: {<<: *a}\n"),
  raw("more values than are looked at", "application/json", `{"spec":[${"[],".repeat(150_000)}1]}`),
  {
    ...{ id: "a body: backslashes, and a name with an escape", threat: "Operations" },
    ...{ must: "masked", method: "POST", path: `${NAMESPACE}/configmaps?dryRun=All` },
    headers: [JSON_BODY],
    body: `{"metadata":{"name":"slashes"},"d\\u0061ta":{"a":"${"\\\\".repeat(450_000)}"}}`,
  },
  raw("larger than the server takes", "application/json", `{"spec":"${"x".repeat(3 << 20)}"}`),
  raw("names of YAML without end", "application/yaml", names(15_000)),
  raw(
    "more fields of protobuf than are looked at",
    "application/vnd.kubernetes.protobuf",
    Buffer.concat([
      Buffer.from("k8s\0\x0a\x09\x0a\x02v1\x12\x03Pod\x12\x83\xd9\x18\x12\xff\xd8\x18", "latin1"),
      Buffer.alloc(404_607, Buffer.of(0x12, 0)),
    ]),
  ),
  {
    ...{ id: "a body: a patch of 10,000 labels", threat: "Operations", must: "denied" },
    ...{ method: "PATCH", path: DEPLOYMENT },
    headers: [["content-type", "application/json-patch+json"]],
    body: JSON.stringify(
      Array.from({ length: 10_000 }, (_, index) => ({
        ...{ op: "add", path: `/metadata/labels/a${index}`, value: "x" },
      })),
    ),
  },
  raw("UTF-16", "application/json", Buffer.from("\ufeff{}", "utf16le")),
  raw("two documents of JSON", "application/json", "{}{}"),
  raw("a comment", "application/json", "{/* */}"),
  raw(
    "a length of protobuf beyond its end",
    "application/vnd.kubernetes.protobuf",
    Buffer.from("k8s\0\x0a\xff\xff\xff\xff\x0f", "latin1"),
  ),
  raw(
    "a group of protobuf",
    "application/vnd.kubernetes.protobuf",
    Buffer.from("k8s\0\x0b\x0c", "latin1"),
  ),
  raw(
    "nothing but the mark of protobuf",
    "application/vnd.kubernetes.protobuf",
    Buffer.from("k8s\0"),
  ),
  raw("a type in two", "application/json, application/vnd.kubernetes.protobuf", "{}"),
  raw("a type with a zero", "application/json\x01", "{}"),
  post("more images than are judged", `${NAMESPACE}/pods`, {
    metadata: { name: "own" },
    spec: {
      containers: Array.from({ length: 65 }, (_, index) => ({
        name: `c${index}`,
        image: `i${index}`,
      })),
    },
  }),
  post("a volume on a node's disk", "/api/v1/persistentvolumes", {
    metadata: { name: "disk" },
    spec: { local: { path: "/etc" } },
  }),
  post("an eviction of another pod", `${NAMESPACE}/pods/web-1/exec`, {
    metadata: { name: "other" },
  }),
];

export const FOUND_LATER: readonly Attempt[] = [
  ...REQUESTS_OF_OTHERS,
  ...WAYS_OF_ASKING,
  ...BODIES,
];
