// What no generator thinks of: paths, verbs, headers, bodies and framings that have got past others.

import { type Attempt, JSON_BODY } from "./attempt.ts";
import { FOUND_LATER } from "./found-later.ts";
import { THIRD_READER } from "./third-reader.ts";

const NAMESPACE = "/api/v1/namespaces/shop";
const PATHS_AND_VERBS = "Paths and verbs";
const ORACLES = "Leaks past a mask";

const denied = (
  id: string,
  method: string,
  path: string,
  more: Partial<Attempt> = {},
): Attempt => ({
  ...{ id, method, path, threat: PATHS_AND_VERBS, must: "denied" },
  ...more,
});
const send = (
  id: string,
  method: string,
  path: string,
  type: string,
  body: string,
  more: Partial<Attempt> = {},
) => denied(id, method, path, { headers: [["content-type", type]], body, ...more });
const post = (id: string, path: string, body: unknown) =>
  denied(id, "POST", path, { headers: [JSON_BODY], body: JSON.stringify(body) });
const jsonPatch = (id: string, operations: unknown, path = `${NAMESPACE}/secrets/s1`) =>
  send(
    `json patch: ${id}`,
    "PATCH",
    path,
    "application/json-patch+json",
    JSON.stringify(operations),
    {
      threat: ORACLES,
    },
  );

const WRITTEN_PATHS = [
  "/api/v1/namespaces%2Fshop%2Fsecrets%2Fs1",
  "/api/v1/namespaces/shop%2Fsecrets/s1",
  "/api/v1/namespaces/shop/secrets%2fs1",
  "/api//v1/namespaces/shop/secrets/s1",
  "//api/v1/namespaces/shop/secrets/s1",
  "/api/v1/namespaces/shop//secrets/s1",
  "/api/v1/namespaces/shop/./secrets/s1",
  "/api/v1/namespaces/other/../shop/secrets/s1",
  "/api/v1/namespaces/other/%2e%2e/shop/secrets/s1",
  "/api/v1/namespaces/shop/secrets/s1%00",
  "/api/v1/namespaces/shop/secrets/s1%3fwatch=1",
  "/api/v1/namespaces/shop/secrets/%252e",
  "/api/v1/namespaces/shop\\secrets\\s1",
  "/api/v1/namespaces/shop/secrets/*",
  "/api/v1/namespaces/shop/secrets?watch=1;x=1",
  "/api/v1/namespaces/shop/secrets?watch=%zz",
];

const PROXIES = [
  "/api/v1/nodes/n1/proxy/run/shop/web-1/web?cmd=id",
  "/api/v1/nodes/n1/proxy/exec/shop/web-1/web?command=id",
  "/api/v1/nodes/n1:10250/proxy/pods",
  `${NAMESPACE}/pods/web-1/proxy`,
  `${NAMESPACE}/pods/web-1:80/proxy/secret`,
  `${NAMESPACE}/services/https:web:443/proxy/`,
  "/api/v1/proxy/nodes/n1/pods",
  "/api/v1/proxy/namespaces/shop/pods/web-1",
  "/logs/kube-apiserver.log",
  "/debug/pprof/heap",
  "/metrics",
  "/configz",
];

const CLAIMS: readonly (readonly [string, string])[] = [
  ["Impersonate-User", "system:admin"],
  ["Impersonate-Group", "system:masters"],
  ["Impersonate-Uid", "0"],
  ["Impersonate-Extra-Scopes", "all"],
  ["impersonate-user", "system:kube-controller-manager"],
  ["X-Remote-User", "system:admin"],
  ["X-Remote-Group", "system:masters"],
  ["X-Remote-Extra-Scopes", "all"],
];

const rbac = "/apis/rbac.authorization.k8s.io/v1";
const pod = (spec: unknown) => ({ apiVersion: "v1", kind: "Pod", metadata: { name: "own" }, spec });
const container = (more: unknown) => ({
  containers: [{ name: "c", image: "x", ...(more as object) }],
});

export const BY_HAND: readonly Attempt[] = [
  ...FOUND_LATER,
  ...THIRD_READER,
  ...WRITTEN_PATHS.map((path) => denied(`path as ${path}`, "GET", path)),
  ...["GET", "POST", "PUT", "DELETE", "PATCH"].flatMap((method) =>
    PROXIES.map((path) => denied(`${method} ${path}`, method, path)),
  ),
  ...CLAIMS.map((claim) =>
    denied(`the header ${claim.join(": ")}`, "GET", `${NAMESPACE}/secrets`, { headers: [claim] }),
  ),
  ...["OPTIONS", "TRACE", "CONNECT", "PROPFIND", "PROXY"].map((method) =>
    denied(`the method ${method}`, method, `${NAMESPACE}/secrets/s1`),
  ),
  post("a token of a service account", `${NAMESPACE}/serviceaccounts/default/token`, {
    spec: { expirationSeconds: 600 },
  }),
  post("a role binding", `${rbac}/clusterrolebindings`, {
    metadata: { name: "mine" },
    roleRef: { apiGroup: "rbac.authorization.k8s.io", kind: "ClusterRole", name: "cluster-admin" },
    subjects: [{ kind: "User", name: "me", apiGroup: "rbac.authorization.k8s.io" }],
  }),
  post("a role", `${rbac}/namespaces/shop/roles`, { metadata: { name: "mine" }, rules: [] }),
  send(
    "a role, patched",
    "PATCH",
    `${rbac}/clusterroles/edit`,
    "application/merge-patch+json",
    `{"rules":[]}`,
  ),
  send(
    "a role, applied",
    "PATCH",
    `${rbac}/clusterroles/mine?fieldManager=x`,
    "application/apply-patch+yaml",
    `apiVersion: rbac.authorization.k8s.io/v1\nkind: ClusterRole\nmetadata: { name: mine }\n`,
  ),
  send(
    "a certificate approved",
    "PUT",
    "/apis/certificates.k8s.io/v1/certificatesigningrequests/x/approval",
    "application/json",
    "{}",
  ),
  send(
    "a certificate signed",
    "PATCH",
    "/apis/certificates.k8s.io/v1/certificatesigningrequests/x/status",
    "application/merge-patch+json",
    "{}",
  ),
  send(
    "an ephemeral container",
    "PATCH",
    `${NAMESPACE}/pods/web-1/ephemeralcontainers`,
    "application/strategic-merge-patch+json",
    `{"spec":{"ephemeralContainers":[{"name":"d","image":"x"}]}}`,
  ),
  send(
    "an ephemeral container, put",
    "PUT",
    `${NAMESPACE}/pods/web-1/ephemeralcontainers`,
    "application/json",
    `{"kind":"Pod"}`,
  ),
  post(
    "a pod with a host path",
    `${NAMESPACE}/pods`,
    pod({ ...container({}), volumes: [{ name: "v", hostPath: { path: "/" } }] }),
  ),
  post(
    "a privileged pod",
    `${NAMESPACE}/pods`,
    pod(container({ securityContext: { privileged: true } })),
  ),
  post(
    "a pod with capabilities",
    `${NAMESPACE}/pods`,
    pod(container({ securityContext: { capabilities: { add: ["SYS_ADMIN"] } } })),
  ),
  post(
    "a pod in the host's network",
    `${NAMESPACE}/pods`,
    pod({ ...container({}), hostNetwork: true }),
  ),
  post("a deployment of privileged pods", "/apis/apps/v1/namespaces/shop/deployments", {
    metadata: { name: "own" },
    spec: {
      selector: {},
      template: { spec: container({ securityContext: { privileged: true } }) },
    },
  }),
  send(
    "a job made privileged by a patch",
    "PATCH",
    "/apis/apps/v1/namespaces/shop/deployments/leaky",
    "application/json-patch+json",
    `[{"op":"add","path":"/spec/template/spec/hostPID","value":true}]`,
  ),
  send(
    "a pod in YAML with a host path",
    "POST",
    `${NAMESPACE}/pods`,
    "application/yaml",
    "kind: Pod\nmetadata: {name: own}\nspec:\n  containers: [{name: c, image: x}]\n  volumes: [{name: v, hostPath: {path: /etc}}]\n",
  ),
  ...[
    "/api/v1/namespaces/shop/pods/web-1/exec?command=id",
    "/api/v1/namespaces/shop/pods/web-1/attach",
    "/api/v1/namespaces/shop/pods/web-1/portforward?ports=22",
  ].flatMap((path) =>
    ["GET", "POST"].map((method) => denied(`${method} ${path} without an upgrade`, method, path)),
  ),
  ...[
    "secrets?watch=1",
    "secrets/s1",
    "pods/web-1/log?follow=1",
    "pods/web-1/proxy/",
    "pods/web-1/exec/x?command=id",
  ].map((path) =>
    denied(`a WebSocket for ${path}`, "GET", `${NAMESPACE}/${path}`, {
      headers: [
        ["connection", "Upgrade"],
        ["upgrade", "websocket"],
        ["sec-websocket-version", "13"],
        ["sec-websocket-key", "AAAAAAAAAAAAAAAAAAAAAA=="],
        ["sec-websocket-protocol", "v5.channel.k8s.io"],
      ],
    }),
  ),
  jsonPatch("test of a value", [{ op: "test", path: "/data/key", value: "Z3Vlc3M=" }]),
  jsonPatch("test of all data", [{ op: "test", path: "/data", value: {} }]),
  jsonPatch("test of the whole", [{ op: "test", path: "", value: {} }]),
  jsonPatch("copy to a label", [{ op: "copy", from: "/data/key", path: "/metadata/labels/x" }]),
  jsonPatch("copy to an annotation", [
    { op: "copy", from: "/data/key", path: "/metadata/annotations/x" },
  ]),
  jsonPatch("move of the data", [{ op: "move", from: "/data", path: "/stringData" }]),
  jsonPatch("copy of the annotation", [
    {
      op: "copy",
      from: "/metadata/annotations/kubectl.kubernetes.io~1last-applied-configuration",
      path: "/metadata/annotations/x",
    },
  ]),
  jsonPatch("copy of all annotations", [
    { op: "copy", from: "/metadata/annotations", path: "/metadata/labels" },
  ]),
  jsonPatch(
    "copy of a pod's variable",
    [{ op: "copy", from: "/spec/containers/0/env/0/value", path: "/metadata/labels/x" }],
    `${NAMESPACE}/pods/leaky`,
  ),
  jsonPatch(
    "copy of a template",
    [{ op: "copy", from: "/spec/template", path: "/metadata/annotations/x" }],
    "/apis/apps/v1/namespaces/shop/deployments/leaky",
  ),
  jsonPatch(
    "test of a variable",
    [{ op: "test", path: "/spec/template/spec/containers/0/env/0/value", value: "guess" }],
    "/apis/apps/v1/namespaces/shop/deployments/leaky",
  ),
  jsonPatch(
    "copy of a classified field",
    [{ op: "copy", from: "/spec/apiKey", path: "/metadata/labels/x" }],
    "/apis/example.com/v1/namespaces/shop/widgets/w1",
  ),
  jsonPatch(
    "copy of a classified entry",
    [{ op: "copy", from: "/data/token", path: "/data/plain" }],
    `${NAMESPACE}/configmaps/c1`,
  ),
  jsonPatch(
    "a copy that makes a template privileged",
    [{ op: "copy", from: "/spec/paused", path: "/spec/template/spec/hostPID" }],
    "/apis/apps/v1/namespaces/shop/deployments/leaky",
  ),
  jsonPatch("test of an annotation", [
    { op: "test", path: "/metadata/annotations/note", value: "guess" },
  ]),
  jsonPatch("test of the annotations", [{ op: "test", path: "/metadata/annotations", value: {} }]),
  // The server takes a delete's options from its body, if it has one (no-real-deletes permits dry runs).
  send(
    "a dry run in the query that the body takes back",
    "DELETE",
    `${NAMESPACE}/configmaps/c1?dryRun=All`,
    "application/json",
    `{"kind":"DeleteOptions","apiVersion":"v1"}`,
  ),
  send(
    "a dry run of all in the query that the body takes back",
    "DELETE",
    `${NAMESPACE}/configmaps?dryRun=All`,
    "application/json",
    "{}",
  ),
  send(
    "a dry run in the wrong place of the body",
    "DELETE",
    `${NAMESPACE}/configmaps/c1`,
    "application/json",
    `{"deleteOptions":{"dryRun":["All"]}}`,
  ),
  send(
    "YAML with an alias",
    "POST",
    `${NAMESPACE}/configmaps`,
    "application/yaml",
    "kind: ConfigMap\nmetadata: {name: a}\ndata: {a: &a x, b: *a}\n",
    { threat: "Framing and connections" },
  ),
  send(
    "a guess in a dry run",
    "PATCH",
    `${NAMESPACE}/secrets/s1?dryRun=All`,
    "application/merge-patch+json",
    `{"data":{"key":"Z3Vlc3M="}}`,
    { threat: ORACLES },
  ),
  send(
    "a guess put in a dry run",
    "PUT",
    `${NAMESPACE}/secrets/s1?dryRun=All`,
    "application/json",
    `{"apiVersion":"v1","kind":"Secret","metadata":{"name":"s1"},"data":{}}`,
    { threat: ORACLES },
  ),
  denied(
    "a classified field selected by",
    "GET",
    "/apis/example.com/v1/namespaces/shop/widgets?fieldSelector=spec.apiKey%3Dguess",
    { threat: ORACLES },
  ),
  send(
    "a mask written back",
    "PATCH",
    `${NAMESPACE}/secrets/s1`,
    "application/merge-patch+json",
    `{"data":{"key":"${Buffer.from("[masked secret.k8s]").toString("base64")}"}}`,
    { threat: ORACLES },
  ),
  send(
    "a mask written back in plain",
    "PATCH",
    `${NAMESPACE}/secrets/s1`,
    "application/merge-patch+json",
    `{"stringData":{"key":"[masked secret.k8s]"}}`,
    { threat: ORACLES },
  ),
  send(
    "a mask written back with an escape",
    "PATCH",
    `${NAMESPACE}/secrets/s1`,
    "application/merge-patch+json",
    `{"stringData":{"key":"\\u005bmasked secret.k8s]"}}`,
    { threat: ORACLES },
  ),
  send(
    "a mask of a variable written back",
    "PATCH",
    "/apis/apps/v1/namespaces/shop/deployments/leaky",
    "application/merge-patch+json",
    `{"spec":{"template":{"spec":{"containers":[{"name":"c","image":"x","env":[{"name":"A","value":"[masked secret.k8s.env]"}]}]}}}}`,
    { threat: ORACLES },
  ),
  ...[
    "text/plain",
    "application/cbor",
    "application/apply-patch+cbor",
    "application/x-www-form-urlencoded",
    "multipart/form-data",
    "application/json-seq",
  ].map((type) => send(`a body of ${type}`, "POST", `${NAMESPACE}/configmaps`, type, "{}")),
  send(
    "a binary body that is none",
    "POST",
    `${NAMESPACE}/configmaps`,
    "application/vnd.kubernetes.protobuf",
    "{}",
  ),
  send("a body that is not JSON", "POST", `${NAMESPACE}/configmaps`, "application/json", "{"),
  send("a list instead of an object", "POST", `${NAMESPACE}/configmaps`, "application/json", "[]"),
  send(
    "an object instead of a list",
    "PATCH",
    `${NAMESPACE}/configmaps/c1`,
    "application/json-patch+json",
    "{}",
  ),
  send(
    "YAML with two documents",
    "POST",
    `${NAMESPACE}/configmaps`,
    "application/yaml",
    "kind: ConfigMap\n---\nkind: Secret\n",
  ),
  send(
    "YAML with a key twice",
    "POST",
    `${NAMESPACE}/configmaps`,
    "application/yaml",
    "kind: ConfigMap\nkind: Secret\n",
  ),
  denied("a body that is compressed", "POST", `${NAMESPACE}/configmaps`, {
    headers: [JSON_BODY, ["content-encoding", "gzip"]],
    body: "x",
  }),
  denied("no target", "GET", "/api/v1/namespaces/shop/secrets", { prefix: "" }),
  denied("another target", "GET", "/api", { prefix: "/nowhere", threat: "The wrong target" }),
  denied("a target by another's name", "GET", "/api", {
    prefix: "/PROD",
    threat: "The wrong target",
  }),
  denied("an account that is none", "GET", "/api", {
    prefix: "/root~prod",
    threat: "The wrong target",
  }),
  denied("no credential", "GET", `${NAMESPACE}/secrets`, { headers: [["authorization", ""]] }),
  denied("a basic credential", "GET", `${NAMESPACE}/secrets`, {
    headers: [["authorization", "Basic eDp5"]],
  }),
  denied("somebody's token of the cluster", "GET", `${NAMESPACE}/secrets`, {
    headers: [["authorization", "Bearer eyJhbGciOiJub25lIn0.e30."]],
  }),
  ...[
    "authorization",
    "cookie",
    "x-forwarded-host",
    "x-forwarded-for",
    "x-original-url",
    "x-http-method-override",
    "forwarded",
  ].map(
    (name): Attempt => ({
      ...{ id: `${name} among the hop-by-hop headers`, threat: PATHS_AND_VERBS, must: "quiet" },
      ...{ method: "GET", path: `${NAMESPACE}/secrets` },
      headers: [["connection", `close, ${name}`]],
    }),
  ),
  // An error that would quote what is stored.
  {
    ...{ id: "an error that quotes the object", threat: ORACLES, must: "quiet", method: "PATCH" },
    path: `${NAMESPACE}/secrets/s1`,
    headers: [["content-type", "application/merge-patch+json"]],
    body: `{"metadata":{"labels":{"x":["not a string"]}}}`,
  },
  {
    ...{ id: "an error that quotes a configuration", threat: ORACLES, must: "quiet" },
    ...{ method: "PATCH", path: `${NAMESPACE}/configmaps/c1` },
    headers: [["content-type", "application/merge-patch+json"]],
    body: `{"metadata":{"labels":{"x":["not a string"]}}}`,
  },
  {
    ...{ id: "an error of a JSON patch that quotes a configuration", threat: ORACLES },
    ...{ must: "quiet", method: "PATCH", path: `${NAMESPACE}/configmaps/c1` },
    headers: [["content-type", "application/json-patch+json"]],
    body: `[{"op":"add","path":"/metadata/labels","value":["not a map"]}]`,
  },
  {
    ...{ id: "an error that quotes the pod", threat: ORACLES, must: "quiet", method: "PATCH" },
    path: `${NAMESPACE}/pods/leaky`,
    headers: [["content-type", "application/strategic-merge-patch+json"]],
    body: `{"spec":{"nodeName":"another","terminationGracePeriodSeconds":"x"}}`,
  },
  {
    ...{
      id: "an error that shows the difference",
      threat: ORACLES,
      must: "quiet",
      method: "PATCH",
    },
    path: `${NAMESPACE}/pods/leaky`,
    headers: [["content-type", "application/strategic-merge-patch+json"]],
    body: `{"spec":{"hostname":"another"}}`,
  },
];
