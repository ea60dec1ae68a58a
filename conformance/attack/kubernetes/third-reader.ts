// What a third reader tried: rights that are written, newer kinds and subresources, what the answer to a change or an
// error tells, forms of asking that came with later versions, and names of the same thing in another spelling.

import { type Attempt, JSON_BODY } from "./attempt.ts";

const NAMESPACE = "/api/v1/namespaces/shop";
const SYSTEM = "/api/v1/namespaces/kube-system";
const WIDGET = "/apis/example.com/v1/namespaces/shop/widgets/w1";
const DEFINITION = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions/widgets.example.com";
const DEPLOYMENT = "/apis/apps/v1/namespaces/shop/deployments/leaky";
const SECRET = `${NAMESPACE}/secrets/s1`;
const RIGHTS = "Paths and verbs";
const ORACLES = "Leaks past a mask";
const MERGE = "application/merge-patch+json";
const STRATEGIC = "application/strategic-merge-patch+json";
const APPLY = "application/apply-patch+yaml";
const JSON_PATCH = "application/json-patch+json";

const send = (
  id: string,
  method: string,
  path: string,
  body: unknown,
  type = "application/json",
  more: Partial<Attempt> = {},
): Attempt => ({
  ...{ id, method, path, threat: RIGHTS, must: "denied" },
  headers: [["content-type", type]],
  body: typeof body === "string" ? body : JSON.stringify(body),
  ...more,
});
const quiet = (
  id: string,
  method: string,
  path: string,
  body?: unknown,
  type = "application/json",
): Attempt =>
  body === undefined
    ? { ...{ id, method, path, threat: ORACLES, must: "quiet" }, readMs: 500 }
    : send(id, method, path, body, type, { threat: ORACLES, must: "quiet" });
const asked = (id: string, path: string, accept?: string): Attempt => ({
  ...{ id: `asked: ${id}`, path, threat: ORACLES, must: "quiet", method: "GET", readMs: 500 },
  ...(accept === undefined ? {} : { headers: [["accept", accept]] }),
});

const secretOf = (type: string, name: string, more: object = {}) => ({
  ...{ apiVersion: "v1", kind: "Secret", type, metadata: { name, ...more } },
});
const account = { "kubernetes.io/service-account.name": "default" };
const BOOTSTRAP = "bootstrap.kubernetes.io/token";
const containers = [{ name: "c", image: "x" }];
const pod = (spec: object, metadata: object = {}) => ({
  ...{ apiVersion: "v1", kind: "Pod", metadata: { name: "own", ...metadata } },
  spec: { containers, ...spec },
});

/** To what the starter policies hold back from everybody, by writing. */
const WRITTEN_RIGHTS: readonly Attempt[] = [
  send(
    "a secret that is filled with a token",
    "POST",
    `${NAMESPACE}/secrets`,
    secretOf("kubernetes.io/service-account-token", "t", { annotations: account }),
  ),
  send(
    "a secret that is filled with a token, applied",
    "PATCH",
    `${NAMESPACE}/secrets/t?fieldManager=x`,
    secretOf("kubernetes.io/service-account-token", "t", { annotations: account }),
    APPLY,
  ),
  send(
    "a secret's account, patched",
    "PATCH",
    SECRET,
    [
      {
        ...{ op: "add", value: "default" },
        path: "/metadata/annotations/kubernetes.io~1service-account.name",
      },
    ],
    JSON_PATCH,
  ),
  send(
    "a node's way in",
    "POST",
    `${SYSTEM}/secrets`,
    secretOf(BOOTSTRAP, "bootstrap-token-abcdef"),
  ),
  send(
    "a node's way in, in YAML",
    "POST",
    `${SYSTEM}/secrets`,
    `kind: Secret\ntype: ${BOOTSTRAP}\nmetadata: {generateName: bootstrap-token-a}\n`,
    "application/yaml",
  ),
  send(
    "a node's way in, prolonged",
    "PATCH",
    `${SYSTEM}/secrets/bootstrap-token-abcdef`,
    { stringData: { expiration: "2099-01-01T00:00:00Z" } },
    MERGE,
  ),
  ...["aws-auth", "extension-apiserver-authentication"].map((name) =>
    send(`whom is believed: ${name}`, "PATCH", `${SYSTEM}/configmaps/${name}`, { data: {} }, MERGE),
  ),
  send("whom is believed, made", "POST", `${SYSTEM}/configmaps`, {
    metadata: { name: "aws-auth" },
  }),
  send(
    "a node somewhere else",
    "PATCH",
    "/api/v1/nodes/n1/status",
    { status: { addresses: [{ type: "InternalIP", address: "10.9.9.9" }] } },
    STRATEGIC,
  ),
  send("another node", "POST", "/api/v1/nodes", { metadata: { name: "n2" } }),
  send(
    "a certificate for a pod",
    "POST",
    "/apis/certificates.k8s.io/v1alpha1/namespaces/shop/podcertificaterequests",
    { metadata: { name: "c" } },
  ),
  send("whom pods believe", "POST", "/apis/certificates.k8s.io/v1alpha1/clustertrustbundles", {
    metadata: { name: "b" },
    spec: { trustBundle: "x" },
  }),
  send(
    "a binding of a mutating policy",
    "POST",
    "/apis/admissionregistration.k8s.io/v1beta1/mutatingadmissionpolicybindings",
    { metadata: { name: "m" }, spec: { policyName: "m" } },
  ),
  ...["Service", "V1Service"].map((name) =>
    send(`an API served by ${name}`, "PUT", "/apis/apiregistration.k8s.io/v1/apiservices/v1.x.io", {
      metadata: { name: "v1.x.io" },
      spec: { service: { name, namespace: "shop" } },
    }),
  ),
  send("a pod that is evicted", "POST", `${NAMESPACE}/pods/web-1/eviction`, {
    ...{ apiVersion: "policy/v1", kind: "Eviction" },
    metadata: { name: "web-1", namespace: "shop" },
  }),
  send("a pod that is evicted in no dry run", "POST", `${NAMESPACE}/pods/web-1/eviction`, {
    ...{ apiVersion: "policy/v1", kind: "Eviction", metadata: { name: "web-1" } },
    deleteOptions: { dryRun: [] },
  }),
  send("two service accounts", "POST", `${NAMESPACE}/pods`, {
    ...pod({ serviceAccountName: "admin", serviceAccount: "default" }),
  }),
];

/** The host, in other words. */
const HOSTS: readonly Attempt[] = [
  ...["sys_admin", "CAP_SYS_ADMIN", "all"].map((capability) =>
    send(
      `a capability as ${capability}`,
      "POST",
      `${NAMESPACE}/pods`,
      pod({
        containers: [
          { ...containers[0], securityContext: { capabilities: { add: [capability] } } },
        ],
      }),
    ),
  ),
  ...["//etc", "/./etc/", "/"].map((path) =>
    send(
      `a path of the host as ${path}`,
      "POST",
      `${NAMESPACE}/pods`,
      pod({ volumes: [{ name: "v", hostPath: { path } }] }),
    ),
  ),
  send(
    "all of /proc",
    "POST",
    `${NAMESPACE}/pods`,
    pod({ containers: [{ ...containers[0], securityContext: { procMount: "Unmasked" } }] }),
  ),
  send("devices of others", "POST", "/apis/resource.k8s.io/v1/namespaces/shop/resourceclaims", {
    metadata: { name: "c" },
    spec: {
      devices: {
        requests: [{ name: "d", exactly: { deviceClassName: "gpu", adminAccess: true } }],
      },
    },
  }),
  send(
    "a pod resized into the host",
    "PATCH",
    `${NAMESPACE}/pods/leaky/resize`,
    { spec: { hostPID: true } },
    STRATEGIC,
  ),
  send(
    "a template with Windows' host process",
    "PATCH",
    DEPLOYMENT,
    {
      spec: { template: { spec: { securityContext: { windowsOptions: { hostProcess: true } } } } },
    },
    MERGE,
  ),
];

/** By what a kind's definition says of its objects. */
const SCALE = {
  scale: {
    ...{ specReplicasPath: ".spec.n", statusReplicasPath: ".status.n" },
    labelSelectorPath: ".spec.apiKey",
  },
};
const DEFINITIONS: readonly Attempt[] = [
  send(
    "a scale that shows a classified field",
    "PATCH",
    DEFINITION,
    [{ op: "add", path: "/spec/versions/0/subresources", value: SCALE }],
    JSON_PATCH,
    { threat: ORACLES },
  ),
  send(
    "a rule that refuses what does not begin so",
    "PATCH",
    DEFINITION,
    [
      {
        op: "add",
        path: "/spec/versions/0/schema/openAPIV3Schema/x-kubernetes-validations",
        value: [
          { rule: "self.spec.apiKey.startsWith('c')", messageExpression: "self.spec.apiKey" },
        ],
      },
    ],
    JSON_PATCH,
    { threat: ORACLES },
  ),
  send(
    "a pattern",
    "PATCH",
    DEFINITION,
    { spec: { versions: [{ name: "v1", schema: { openAPIV3Schema: { pattern: "^c" } } }] } },
    MERGE,
    { threat: ORACLES },
  ),
  send("a definition put in its place", "PUT", DEFINITION, { metadata: { name: "x" } }, undefined, {
    threat: ORACLES,
  }),
  asked("the scale of a widget", `${WIDGET}/scale`),
  asked("the status of a widget", `${WIDGET}/status`),
  quiet("a widget's scale, patched", "PATCH", `${WIDGET}/scale`, { spec: { replicas: 1 } }, MERGE),
];

const BETA = "v=v1beta1;g=meta.k8s.io";
const ASKED: readonly Attempt[] = [
  ...[
    `application/json;as=PartialObjectMetadata;${BETA}`,
    `application/json;as=PartialObjectMetadataList;${BETA}`,
    `application/json;as=Table;${BETA};q=0.9`,
    "application/json;as=Table;v=v1;g=meta.k8s.io;stream=watch",
    "application/json;stream=watch",
    "application/json;q=0, application/cbor",
    "application/cbor;as=Table;v=v1;g=meta.k8s.io",
    "application/cbor-seq",
    "application/vnd.kubernetes.protobuf;stream=watch",
    "application/vnd.kubernetes.protobuf;as=PartialObjectMetadata;v=v1;g=meta.k8s.io",
    "application/*",
    "APPLICATION/YAML",
    "application/json;as=Secret;v=v1;g=",
    "application/json;as=APIGroupDiscoveryList;v=v2;g=apidiscovery.k8s.io",
    "application/json,application/yaml;q=1.0",
    "text/plain",
  ].flatMap((accept) => [
    asked(`a secret for ${accept}`, SECRET, accept),
    asked(`secrets for ${accept}`, `${NAMESPACE}/secrets?includeObject=Object`, accept),
    asked(`a watch for ${accept}`, `${NAMESPACE}/secrets?watch=1&timeoutSeconds=1`, accept),
    asked(`widgets for ${accept}`, "/apis/example.com/v1/widgets", accept),
  ]),
  ...[
    "watch=1&sendInitialEvents=true&resourceVersionMatch=NotOlderThan&allowWatchBookmarks=true&timeoutSeconds=1",
    "watch=1&watch=false&timeoutSeconds=1",
    "watch=&timeoutSeconds=1",
    "limit=1&resourceVersion=0",
    "resourceVersion=99999999&resourceVersionMatch=Exact",
    "shardSelector=x",
    "pretty=true&fieldValidation=Strict",
  ].map((query) => asked(`secrets by ${query}`, `${NAMESPACE}/secrets?${query}`)),
  ...["/openapi/v3/api/v1", "/openapi/v2", "/apis", "/api", "/readyz?verbose", "/livez/ping"].map(
    (path) =>
      asked(path, path, "application/json;as=APIGroupDiscoveryList;v=v2;g=apidiscovery.k8s.io"),
  ),
  asked("events that may quote", `${NAMESPACE}/events`),
  asked("revisions that repeat a template", "/apis/apps/v1/namespaces/shop/controllerrevisions"),
  asked("a pod's log of before", `${NAMESPACE}/pods/leaky/log?previous=true&container=c`),
];

/** What an answer or an error to a change repeats. */
const CHANGED: readonly Attempt[] = [
  quiet("a secret's type", "PATCH", SECRET, { type: "kubernetes.io/tls" }, MERGE),
  quiet("a secret made again", "POST", `${NAMESPACE}/secrets`, secretOf("Opaque", "s1")),
  quiet("a secret of a kind it is not", "PUT", SECRET, {
    kind: "ConfigMap",
    metadata: { name: "s1" },
  }),
  quiet("a secret of another version", "PUT", SECRET, {
    ...secretOf("Opaque", "s1", { resourceVersion: "1" }),
  }),
  quiet("data that is no map", "PATCH", SECRET, { data: ["x"] }, STRATEGIC),
  quiet("directives", "PATCH", SECRET, { data: { $retainKeys: ["key"] } }, STRATEGIC),
  quiet("a directive nobody knows", "PATCH", SECRET, { $patch: "unknown" }, STRATEGIC),
  quiet(
    "a list of deletions",
    "PATCH",
    SECRET,
    { "$deleteFromPrimitiveList/data": ["x"] },
    STRATEGIC,
  ),
  quiet("labels that are none", "PATCH", SECRET, { metadata: { labels: { a: " " } } }, MERGE),
  quiet(
    "a label",
    "PATCH",
    `${SECRET}?fieldValidation=Strict&pretty=1`,
    { metadata: { labels: { n: "1" } } },
    MERGE,
  ),
  quiet("owners that are none", "PATCH", SECRET, { metadata: { ownerReferences: [{}] } }, MERGE),
  quiet("an unknown member", "PATCH", `${SECRET}?fieldValidation=Strict`, { other: 1 }, MERGE),
  quiet(
    "an unknown member of a pod",
    "PATCH",
    `${NAMESPACE}/pods/leaky?fieldValidation=Warn`,
    { spec: { other: 1 } },
    MERGE,
  ),
  quiet("a pod's resources", "PATCH", `${NAMESPACE}/pods/leaky/resize`, { spec: {} }, STRATEGIC),
  quiet("a pod's node", "POST", `${NAMESPACE}/pods/leaky/binding`, {
    ...{ apiVersion: "v1", kind: "Binding", metadata: { name: "leaky" } },
    target: { kind: "Node", name: "n1" },
  }),
  quiet(
    "a pod's status",
    "PATCH",
    `${NAMESPACE}/pods/leaky/status`,
    { status: { reason: "x" } },
    MERGE,
  ),
  quiet("a scale", "PATCH", `${DEPLOYMENT}/scale`, { spec: { replicas: 0 } }, MERGE),
  quiet("deleted dry with options", "DELETE", SECRET, {
    ...{ apiVersion: "v1", kind: "DeleteOptions", dryRun: ["All"] },
    ...{ propagationPolicy: "Orphan", preconditions: { resourceVersion: "1" } },
  }),
  quiet("deleted dry by labels", "DELETE", `${NAMESPACE}/secrets?dryRun=All&labelSelector=a`),
  send("a deletion with options as a patch", "DELETE", SECRET, [{ dryRun: ["All"] }], JSON_PATCH),
  send(
    "a guess applied with others' fields",
    "PATCH",
    `${DEPLOYMENT}?fieldManager=x&force=false`,
    {
      ...{ apiVersion: "apps/v1", kind: "Deployment", metadata: { name: "leaky" } },
      spec: {
        template: {
          spec: { containers: [{ name: "c", env: [{ name: "PASSWORD", value: "x" }] }] },
        },
      },
    },
    APPLY,
    { threat: ORACLES },
  ),
  send(
    "a mask in a map's name",
    "PATCH",
    SECRET,
    { stringData: { "[masked secret.k8s]": "x" } },
    MERGE,
  ),
  send(
    "a copy of a masked pod",
    "POST",
    `${NAMESPACE}/pods`,
    pod({
      containers: [
        { ...containers[0], env: [{ name: "PASSWORD", value: "[masked secret.k8s.env]" }] },
      ],
    }),
    undefined,
    { threat: ORACLES },
  ),
];

const head = (id: string, ...headers: readonly (readonly [string, string])[]): Attempt => ({
  ...{ id: `headers: ${id}`, threat: RIGHTS, must: "quiet", method: "GET", path: SECRET },
  headers,
});
const HEADERS: readonly Attempt[] = [
  head("another method", ["x-http-method-override", "DELETE"], ["x-method-override", "DELETE"]),
  head("another path", ["x-original-url", "/metrics"], ["x-rewrite-url", "/metrics"]),
  head("another host", ["host", "kubernetes.default.svc"]),
  head("trailers", ["te", "trailers"], ["trailer", "impersonate-user"]),
  head("a range", ["range", "bytes=0-10"]),
  head("compressed", ["accept-encoding", "gzip, br, zstd"]),
  head(
    "if it was changed",
    ["if-none-match", "*"],
    ["if-modified-since", "Thu, 01 Jan 1970 00:00:00 GMT"],
  ),
  head(
    "a protocol in another case",
    ["connection", "upgrade"],
    ["upgrade", "WebSocket"],
    ["sec-websocket-protocol", "base64url.bearer.authorization.k8s.io.eA, v4.channel.k8s.io"],
  ),
  head(
    "an upgrade to h2c",
    ["connection", "upgrade, http2-settings"],
    ["upgrade", "h2c"],
    ["http2-settings", "AA"],
  ),
  ...(["Impersonate_User", "X_Remote_User", "Impersonate-User "] as const).map((name) =>
    head(`a claim as ${name}`, [name, "system:admin"]),
  ),
  {
    ...{
      id: "a body that is waited for",
      threat: RIGHTS,
      must: "quiet",
      method: "GET",
      path: SECRET,
    },
    headers: [["expect", "100-continue"], JSON_BODY, ["content-length", "2"]],
    body: "{}",
  },
];

export const THIRD_READER: readonly Attempt[] = [
  ...WRITTEN_RIGHTS,
  ...HOSTS,
  ...DEFINITIONS,
  ...ASKED,
  ...CHANGED,
  ...HEADERS,
];
