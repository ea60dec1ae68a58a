import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { requestInfo } from "@custody/wire/kubernetes/request-info.ts";
import { parseRequestUrl } from "@custody/wire/kubernetes/request-url.ts";
import { GatewayError } from "../../base/errors.ts";
import { loadGrammars } from "../../command/load-grammars.ts";
import type { KubernetesTarget } from "../../target/target.ts";
import { bodyFacts, NO_FACTS } from "./body-facts.ts";
import { judgeStream } from "./exec-operations.ts";
import { addressedTo } from "./listener.ts";
import { judgeRequest } from "./operations.ts";
import { acceptable } from "./request.ts";
import { readBody, UnsupportedBody } from "./request-body.ts";

const FIELD = {
  ...{ group: "example.com", resource: "widgets" },
  ...{ field: ["spec", "apiKey"], class: "secret.token" },
};
const target: KubernetesTarget = {
  ...{ protocol: "kubernetes", name: "prod", server: "https://cluster", caFile: undefined },
  preview: "none",
  fields: [FIELD],
  accounts: [
    {
      name: "edit",
      credential: { kind: "token", token: { from: "env", name: "X" } },
      impersonate: undefined,
    },
  ],
  tags: {},
};

function judge(method: string, path: string, body?: unknown, type = "application/json") {
  const url = parseRequestUrl(path);
  const facts =
    body === undefined ? NO_FACTS : bodyFacts(readBody(Buffer.from(JSON.stringify(body)), type));
  return judgeRequest(target, requestInfo(method, url), url, facts);
}

function effects(method: string, path: string, body?: unknown, type?: string): string[] {
  const judged = judge(method, path, body, type);
  if (judged.kind === "unknown") return [`unknown: ${judged.message}`];
  return judged.operation.effects.map(({ action, resource }) => `${action} ${resource.path}`);
}

function uses(method: string, path: string, body?: unknown, type?: string): string[] {
  const judged = judge(method, path, body, type);
  if (judged.kind === "unknown") return ["unknown"];
  return judged.operation.touches.map((touch) => `${touch.use} ${touch.class}`);
}

const rbac = "/apis/rbac.authorization.k8s.io/v1";

describe("what a request does", () => {
  const cases: readonly (readonly [string, string, readonly string[]])[] = [
    ["GET", "/api/v1/namespaces/shop/pods/web-1", ["k8s:get shop/pods/web-1"]],
    ["GET", "/api/v1/namespaces/shop/pods", ["k8s:list shop/pods/*"]],
    ["GET", "/api/v1/pods?watch=1", ["k8s:watch -/pods/*"]],
    ["GET", "/api/v1/namespaces/shop/pods/web-1/log", ["k8s:log shop/pods/web-1/log"]],
    [
      "DELETE",
      "/apis/apps/v1/namespaces/shop/deployments",
      ["k8s:deletecollection shop/deployments.apps/*"],
    ],
    ["GET", "/api/v1/nodes/n1/proxy/run", ["k8s:proxy -/nodes/n1/proxy"]],
    ["GET", "/api/v1/proxy/namespaces/shop/pods/web-1", ["k8s:proxy shop/pods/web-1"]],
    [
      "POST",
      "/api/v1/namespaces/shop/serviceaccounts/a/token",
      ["k8s:create shop/serviceaccounts/a/token", "k8s:token shop/serviceaccounts/a/token"],
    ],
    [
      "PATCH",
      `${rbac}/clusterroles/edit`,
      [
        "k8s:patch -/clusterroles.rbac.authorization.k8s.io/edit",
        "k8s:escalate -/clusterroles.rbac.authorization.k8s.io/edit",
      ],
    ],
    [
      "PUT",
      `${rbac}/namespaces/shop/rolebindings/b`,
      [
        "k8s:update shop/rolebindings.rbac.authorization.k8s.io/b",
        "k8s:create shop/rolebindings.rbac.authorization.k8s.io/b",
        "k8s:bind shop/rolebindings.rbac.authorization.k8s.io/b",
      ],
    ],
    [
      "PATCH",
      "/api/v1/namespaces/shop/pods/p/ephemeralcontainers",
      [
        "k8s:patch shop/pods/p/ephemeralcontainers",
        "k8s:exec_code shop/pods/p/ephemeralcontainers",
      ],
    ],
    [
      "PUT",
      "/apis/certificates.k8s.io/v1/certificatesigningrequests/c/approval",
      [
        "k8s:update -/certificatesigningrequests.certificates.k8s.io/c/approval",
        "k8s:certify -/certificatesigningrequests.certificates.k8s.io/c/approval",
      ],
    ],
    [
      "POST",
      "/apis/admissionregistration.k8s.io/v1/validatingadmissionpolicies",
      [
        "k8s:create -/validatingadmissionpolicies.admissionregistration.k8s.io/*",
        "k8s:escalate -/validatingadmissionpolicies.admissionregistration.k8s.io/*",
      ],
    ],
    [
      "DELETE",
      "/apis/apiregistration.k8s.io/v1/apiservices/v1.x",
      [
        "k8s:delete -/apiservices.apiregistration.k8s.io/v1.x",
        "k8s:escalate -/apiservices.apiregistration.k8s.io/v1.x",
      ],
    ],
    [
      "GET",
      "/apis/admissionregistration.k8s.io/v1/mutatingwebhookconfigurations/m",
      ["k8s:get -/mutatingwebhookconfigurations.admissionregistration.k8s.io/m"],
    ],
    ["GET", "/version", ["k8s:get /version"]],
    ["GET", "/debug/pprof/heap", ["k8s:proxy /debug/pprof/heap"]],
    ["GET", "/logs/audit.log", ["k8s:proxy /logs/audit.log"]],
  ];
  for (const [method, path, expected] of cases)
    it(`${method} ${path}`, () => assert.deepEqual(effects(method, path), expected));

  it("is not known where the server would make something else of it", () => {
    for (const [method, path] of [
      ["GET", "/api/v1/namespaces/shop/pods/p/exec?command=id"],
      ["POST", "/api/v1/namespaces/shop/pods/p/portforward"],
      ["GET", "/api/v1/namespaces/shop/pods/p/log/x"],
      ["TRACE", "/api/v1/namespaces/shop/pods/p"],
      ["POST", "/version"],
    ] as const)
      assert.match(effects(method, path)[0] ?? "", /^unknown/, `${method} ${path}`);
  });

  it("is more than a definition where others are to convert it", () => {
    const path = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions";
    const made = (spec: unknown) => effects("POST", path, { metadata: { name: "w" }, spec });
    assert.equal(made({ conversion: { strategy: "None" } }).length, 1);
    const webhook = { clientConfig: { url: "https://elsewhere" } };
    assert.match(made({ conversion: { strategy: "Webhook", webhook } })[1] ?? "", /^k8s:escalate/);
    const patch = [{ op: "add", path: "/spec/conversion/webhook/clientConfig/url", value: "x" }];
    const patched = effects("PATCH", `${path}/w`, patch, "application/json-patch+json");
    assert.match(patched[1] ?? "", /^k8s:escalate/);
  });

  it("takes a name from the body of what is made", () => {
    const named = effects("POST", "/api/v1/namespaces/shop/configmaps", {
      metadata: { name: "c" },
    });
    assert.deepEqual(named, ["k8s:create shop/configmaps/c"]);
    const generated = effects("POST", "/api/v1/namespaces/shop/configmaps", {
      metadata: { generateName: "c-" },
    });
    assert.deepEqual(generated, ["k8s:create shop/configmaps/c-*"]);
  });
});

describe("classes a request touches", () => {
  const secret = "/api/v1/namespaces/shop/secrets/s";
  it("are shown masked in a plain answer", () => {
    assert.deepEqual(uses("GET", secret), ["output secret.k8s"]);
    assert.deepEqual(uses("GET", "/api/v1/namespaces/shop/pods"), ["output secret.k8s.env"]);
    assert.deepEqual(uses("PATCH", secret, { metadata: {} }, "application/merge-patch+json"), [
      "output secret.k8s",
    ]);
  });

  it("are used within where the answer would tell", () => {
    const patch = (operation: object) =>
      uses("PATCH", secret, [operation], "application/json-patch+json");
    for (const operation of [
      { op: "test", path: "/data/key", value: "x" },
      { op: "test", path: "", value: {} },
      { op: "test", path: "/metadata/annotations/example.com~1copy", value: "x" },
    ])
      assert.deepEqual(patch(operation), ["inner secret.k8s"], JSON.stringify(operation));
    assert.deepEqual(patch({ op: "test", path: "/metadata/resourceVersion", value: "1" }), [
      "output secret.k8s",
    ]);
    assert.deepEqual(uses("PATCH", `${secret}?dryRun=All`, {}, "application/merge-patch+json"), [
      "inner secret.k8s",
    ]);
    const selected = "/apis/example.com/v1/namespaces/shop/widgets?fieldSelector=spec.apiKey%3Dx";
    assert.deepEqual(uses("GET", selected), ["inner secret.token", "output secret.k8s.env"]);
  });

  it("are used within where a field is tested that is among what is safe elsewhere", () => {
    const status = { group: "", resource: "services", field: ["status", "key"], class: "pii.x" };
    const url = parseRequestUrl("/api/v1/namespaces/shop/services/s");
    const used = (path: string) => {
      const patch = Buffer.from(JSON.stringify([{ op: "test", path, value: "guess" }]));
      const facts = bodyFacts(readBody(patch, "application/json-patch+json"));
      const own = { ...target, fields: [status] };
      const judged = judgeRequest(own, requestInfo("PATCH", url), url, facts);
      return judged.kind === "operation" ? judged.operation.touches.map(({ use }) => use) : [];
    };
    for (const path of ["/status/key", "/status", "/status/key/deeper"])
      assert.deepEqual(used(path), ["inner"], path);
    assert.deepEqual(used("/status/other"), ["output"]);
  });

  it("are used within where a selector reaches them, by any member's name", () => {
    const widgets = "/apis/example.com/v1/namespaces/shop/widgets";
    const by = (selector: string) => uses("GET", `${widgets}?fieldSelector=${selector}`);
    assert.ok(by("metadata.name%3Dw,spec.apiKey!%3Dx").includes("inner secret.token"));
    assert.ok(by("spec.env.PASSWORD%3Dx").includes("inner secret.k8s.env"));
    assert.ok(by("metadata.name%3Dx").every((use) => use.startsWith("output")));
    const wild = { ...target, fields: [{ ...FIELD, field: ["spec", "*", "key"] }] };
    const url = parseRequestUrl(`${widgets}?fieldSelector=spec.first.key%3Dguess`);
    const judged = judgeRequest(wild, requestInfo("GET", url), url, NO_FACTS);
    assert.ok(judged.kind === "operation");
    assert.ok(
      judged.operation.touches.some(
        ({ use, class: name }) => use === "inner" && name === FIELD.class,
      ),
    );
  });

  it("are used within where a test compares what repeats them, or a status of one's own", () => {
    const deployment = "/apis/apps/v1/namespaces/shop/deployments/d";
    const test = (path: string, at: string, value: unknown) =>
      uses("PATCH", path, [{ op: "test", path: at, value }], "application/json-patch+json");
    const note = "/metadata/annotations/example.com~1original";
    for (const value of [`{"spec":{}}`, " [1]", "H4sIAAAA"])
      assert.deepEqual(test(deployment, note, value), ["inner secret.k8s.env"]);
    assert.deepEqual(test(deployment, note, "yes"), ["output secret.k8s.env"]);
    assert.deepEqual(test(deployment, "/status/replicas", 1), ["output secret.k8s.env"]);
    assert.deepEqual(test(deployment, "/metadata/managedFields", []), ["inner secret.k8s.env"]);
    const widget = "/apis/example.com/v1/namespaces/shop/widgets/w";
    assert.ok(test(widget, "/status/env/A", "x").includes("inner secret.k8s.env"));
  });

  it("are never written as their mask", () => {
    for (const value of [
      "[masked secret.k8s]",
      Buffer.from("[masked secret.k8s]").toString("base64"),
      "x [masked pii.email] y",
    ])
      assert.deepEqual(effects("PUT", secret, { data: { key: value } }).length, 1);
    for (const mask of ["[masked secret.k8s]", "***@example.com", "****ab12"])
      for (const key of [mask, Buffer.from(mask).toString("base64")])
        assert.match(effects("PUT", secret, { data: { key } })[0] ?? "", /mask of a value/, key);
    for (const key of ["****", "*****abcd", "** @ **", "***@", "a ***@b.c"])
      assert.doesNotMatch(effects("PUT", secret, { stringData: { key } })[0] ?? "", /mask/, key);
  });
});

describe("a dry run", () => {
  const isDry = (method: string, path: string, body?: unknown) => {
    const judged = judge(method, path, body);
    return judged.kind === "operation" && judged.operation.effects[0]?.resource.attributes?.dryRun;
  };
  const pod = "/api/v1/namespaces/shop/pods/p";
  const all = { dryRun: ["All"] };

  it("is asked for in the query, and of a delete in its body", () => {
    assert.equal(isDry("DELETE", `${pod}?dryRun=All`), true);
    assert.equal(isDry("DELETE", pod, all), true);
    assert.equal(isDry("PUT", `${pod}?dryRun=All`, { kind: "Pod" }), true);
    assert.equal(isDry("POST", `${pod}/eviction`, { deleteOptions: all }), true);
    assert.equal(isDry("POST", `${pod}/eviction?dryRun=All`, {}), true);
  });

  it("is none where the server does not look for one", () => {
    assert.equal(isDry("DELETE", `${pod}?dryRun=All`, { kind: "DeleteOptions" }), false);
    assert.equal(isDry("DELETE", `/api/v1/namespaces/shop/pods?dryRun=All`, {}), false);
    assert.equal(isDry("DELETE", pod, { deleteOptions: all }), false);
    assert.equal(isDry("PUT", pod, all), false);
    assert.equal(isDry("POST", "/api/v1/namespaces/shop/pods", { deleteOptions: all }), false);
    assert.equal(isDry("PATCH", `${pod}?dryRun=`, {}), false);
  });
});

describe("what a body says", () => {
  const facts = (value: unknown, type = "application/json") =>
    bodyFacts(readBody(Buffer.from(JSON.stringify(value)), type));
  it("is what is written there, whatever names were in bodies before", () => {
    const read = (own: string) =>
      readBody(Buffer.from(`{"kind":"Pod","spec":{"zz":1,${own}:true}}`), "application/json").value;
    read(String.raw`"host\\u004ee"`);
    const spec = { zz: 1, hostNetwork: true };
    assert.deepEqual(read(String.raw`"host\u004eetwork"`), { kind: "Pod", spec });
  });

  const spec = {
    serviceAccountName: "robot",
    hostNetwork: true,
    containers: [{ image: "a:1", securityContext: { capabilities: { add: ["NET_ADMIN"] } } }],
    volumes: [{ hostPath: { path: "/etc" } }],
  };

  it("is the same in a pod, a template, a custom resource, and a patch of each kind", () => {
    const patch = Object.entries(spec).map(([name, value]) => ({
      op: "add",
      path: `/spec/template/spec/${name}`,
      value,
    }));
    for (const found of [
      facts({ spec }),
      facts({ spec: { template: { spec } } }),
      facts({ kind: "Rollout", anything: [{ deep: spec }] }),
      facts({ spec }, "application/strategic-merge-patch+json"),
      facts(patch, "application/json-patch+json"),
    ]) {
      const { images, serviceAccount, hostPaths, capabilities, privileged } = found;
      assert.deepEqual(
        { images, serviceAccount, hostPaths, capabilities, privileged },
        {
          ...{ images: ["a:1"], serviceAccount: "robot", hostPaths: ["/etc"] },
          ...{ capabilities: ["NET_ADMIN"], privileged: true },
        },
      );
    }
  });

  it("names the secrets that containers are given, and a disk of a node", () => {
    const { secrets, hostPaths } = facts({
      spec: {
        containers: [
          { envFrom: [{ secretRef: { name: "a" } }] },
          { env: [{ name: "X", valueFrom: { secretKeyRef: { name: "b", key: "k" } } }] },
        ],
        volumes: [
          { secret: { secretName: "c" } },
          { projected: { sources: [{ secret: { name: "d" } }] } },
          { name: "l", local: { path: "/var" } },
        ],
      },
    });
    assert.deepEqual([secrets, hostPaths], [["a", "b", "c", "d"], ["/var"]]);
    const pointer = "/spec/template/spec/containers/0/env/0/valueFrom/secretKeyRef/name";
    const patched = facts(
      [{ op: "add", path: pointer, value: "e" }],
      "application/json-patch+json",
    );
    assert.deepEqual(patched.secrets, ["e"]);
  });

  it("is not judged where it names more than is looked at", () => {
    const containers = Array.from({ length: 65 }, (_, index) => ({ image: `i${index}` }));
    const pods = "/api/v1/namespaces/shop/pods";
    assert.match(effects("POST", pods, { spec: { containers } })[0] ?? "", /^unknown.*more images/);
    assert.match(
      effects("POST", pods, { spec: { containers: containers.slice(1) } })[0] ?? "",
      /create/,
    );
  });

  it("is found at the end of a pointer", () => {
    const at = (path: string, value: unknown) =>
      facts([{ op: "replace", path, value }], "application/json-patch+json");
    assert.deepEqual(at("/spec/containers/0/image", "evil").images, ["evil"]);
    assert.deepEqual(at("/spec/volumes/0/hostPath/path", "/").hostPaths, ["/"]);
    assert.deepEqual(
      at("/spec/containers/0/securityContext/capabilities/add/-", "ALL").capabilities,
      ["ALL"],
    );
    assert.equal(at("/spec/containers/0/securityContext/privileged", true).privileged, true);
  });

  it("is not known where it is elsewhere in the object", () => {
    const deployment = "/apis/apps/v1/namespaces/shop/deployments/d";
    for (const op of ["copy", "move"]) {
      const operation = { op, from: "/spec/paused", path: "/spec/template/spec/hostPID" };
      const type = "application/json-patch+json";
      assert.match(effects("PATCH", deployment, [operation], type)[0] ?? "", /^unknown.*copies/);
    }
  });

  it("is sent as an apply without what ends a line of YAML", () => {
    const value = { data: { key: "a \u0085 b\u2028c\u2029\ufeff\u007f", "\u0085": "ü😀" } };
    const { bytes } = readBody(
      Buffer.from(JSON.stringify(value)),
      "application/apply-patch+yaml; charset=utf-8",
    );
    assert.doesNotMatch(bytes?.toString() ?? "", /[\u007f-\u009f\u2028\u2029\ufeff]/);
    assert.deepEqual(JSON.parse(bytes?.toString() ?? ""), value);
  });

  it("is sent on as it was judged", () => {
    const twice = readBody(
      Buffer.from(`{"kind":"A","kind":"B","n":12345678901234567890}`),
      undefined,
    );
    assert.equal(twice.bytes?.toString(), `{"kind":"B","n":12345678901234567890}`);
    const pair = `{"a":"\\\\ud800 😀"}`;
    assert.equal(readBody(Buffer.from(pair), undefined).bytes?.toString(), pair);
    const yaml = readBody(Buffer.from("kind: Pod\nspec: { a: [1, yes] }\n"), "application/yaml");
    assert.equal(yaml.contentType, "application/json");
    assert.equal(
      readBody(Buffer.from("a: 1"), "application/apply-patch+yaml").bytes?.toString(),
      `{"a":1}`,
    );
  });

  it("is refused where it could be read in two ways or in none", () => {
    for (const [text, type] of [
      ["{", "application/json"],
      ["a: 1\na: 2", "application/yaml"],
      ["a: &x long\nb: *x", "application/yaml"],
      ["a: 1\n---\nb: 2", "application/yaml"],
      ["[]", "application/merge-patch+json"],
      [`{"Kind":"Pod"}`, "application/json"],
      [`{"\\u212aind":"Pod"}`, "application/json"],
      [`{"apiVer\\u017fion":"v1"}`, "application/json"],
      [`{"metadata":{"name":"\\ud800"}}`, "application/json"],
      [`{"a":"\\\\\\udc00x"}`, "application/merge-patch+json"],
      ["{}", "application/json-patch+json"],
      ["\xff", "application/json"],
    ] as const)
      assert.throws(() => readBody(Buffer.from(text, "latin1"), type), GatewayError, text);
    for (const type of ["text/plain", "application/cbor", "application/vnd.kubernetes.protobuf"])
      assert.throws(() => readBody(Buffer.from("{}"), type), UnsupportedBody, type);
  });
});

describe("a command in a container", () => {
  const grammars = loadGrammars();
  const judged = (query: string) => {
    const url = parseRequestUrl(`/api/v1/namespaces/shop/pods/p/exec?${query}`);
    const info = requestInfo("POST", url);
    assert.ok(info.isResource);
    return judgeStream(target, info, "exec", url, grammars);
  };
  const acts = (query: string) =>
    judged(query)?.operation.effects.map(({ action, resource }) => `${action} ${resource.path}`);

  it("is judged by its words", () => {
    assert.deepEqual(acts("command=ls&command=/srv&stdout=true"), [
      "k8s:exec shop/pods/p/exec/ls /srv",
    ]);
    assert.match(acts("command=sh&command=-c&command=ls")?.join() ?? "", /exec\/ls/);
  });

  it("is code where its words are not all that runs", () => {
    for (const query of [
      "command=sh&command=-c&command=$(id)",
      "command=bash",
      "command=python3&command=-c&command=1",
    ])
      assert.ok(
        acts(query)?.some((act) => act.startsWith("k8s:exec_code ")),
        query,
      );
  });

  it("is at a terminal wherever the server makes one", () => {
    const at = (query: string) => {
      const url = parseRequestUrl(`/api/v1/namespaces/shop/pods/p/exec?command=id${query}`);
      const info = requestInfo("GET", url);
      assert.ok(info.isResource);
      return judgeStream(target, info, "exec", url, loadGrammars())?.isTerminal;
    };
    for (const written of ["true", "1", "TRUE", "yes", ""])
      assert.equal(at(`&tty=${written}`), true);
    for (const written of ["&tty=false", "&tty=0", ""]) assert.equal(at(written), false);
  });

  it("is refused with parameters nobody knows, one twice, or no words", () => {
    for (const query of ["stdout=true", "command=ls&tty=true&tty=false", "command=ls&user=root"])
      assert.equal(judged(query), undefined, query);
  });
});

describe("the way in", () => {
  it("names target and account in the path", () => {
    const { target: name, account, url } = addressedTo("/edit~prod/api/v1/pods?limit=1");
    assert.deepEqual([name, account, url.segments], ["prod", "edit", ["api", "v1", "pods"]]);
    for (const path of ["/", "/PROD/api", "/a~b~c/api", "/prod%2Fapi", "//prod/api"])
      assert.throws(() => addressedTo(path), GatewayError, path);
  });

  it("asks for JSON, in shapes that are known", () => {
    const table = "application/json;as=Table;v=v1;g=meta.k8s.io";
    assert.equal(acceptable(undefined, true), "application/json");
    assert.equal(
      acceptable("application/vnd.kubernetes.protobuf, application/yaml", true),
      "application/json",
    );
    assert.equal(acceptable(`${table},application/cbor`, true), `${table},application/json`);
    assert.equal(acceptable(table, false), "application/json");
    assert.equal(acceptable("application/json;as=Secret;v=v1", true), "application/json");
  });
});
