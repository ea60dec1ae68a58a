import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { requestInfo } from "@custody/wire/kubernetes/request-info.ts";
import { parseRequestUrl } from "@custody/wire/kubernetes/request-url.ts";
import { check, jsonValue, property } from "fast-check";
import type { KubernetesTarget } from "../../target/target.ts";
import { maskedBody, maskedObject } from "./approver-mask.ts";
import type { Json } from "./json-text.ts";
import { diffObjects } from "./object-diff.ts";
import { jsonPatched, mergePatched, strategicallyPatched } from "./patched.ts";

const target: KubernetesTarget = {
  ...{ protocol: "kubernetes", name: "prod", server: "https://cluster", caFile: undefined },
  fields: [
    { group: "example.com", resource: "widgets", field: ["spec", "keys", "*"], class: "a.b" },
  ],
  ...{ preview: "live", accounts: [], tags: {} },
};

function resource(path: string) {
  const info = requestInfo("PATCH", parseRequestUrl(path));
  assert.ok(info.isResource);
  return info;
}

const secret = resource("/api/v1/namespaces/shop/secrets/s");
const deployment = resource("/apis/apps/v1/namespaces/shop/deployments/web");
const widget = resource("/apis/example.com/v1/namespaces/shop/widgets/w");

describe("a difference", () => {
  it("is told member by member, elements by their names", () => {
    const container = (image: string) => ({ name: "web", image });
    const before = {
      metadata: { name: "w", resourceVersion: "1", labels: { "app.io/x": "a" } },
      spec: { containers: [container("web:1"), { name: "side" }], ports: [80], gone: {} },
    };
    const after = {
      metadata: { name: "w", resourceVersion: "2", labels: { "app.io/x": "b" } },
      spec: { containers: [{ name: "side" }, container("web:2")], ports: [80, 81] },
    };
    assert.equal(
      diffObjects(before, after),
      [
        '- metadata.labels["app.io/x"]: "a"',
        '+ metadata.labels["app.io/x"]: "b"',
        '- spec.containers[web].image: "web:1"',
        '+ spec.containers[web].image: "web:2"',
        "+ spec.ports[1]: 81",
        "- spec.gone: {}",
      ].join("\n"),
    );
    assert.equal(diffObjects(undefined, { a: 1 }), "+ a: 1");
    assert.equal(diffObjects({ a: { b: 1 } }, { a: "x" }), '- a: {"b":1}\n+ a: "x"');
  });

  it("is empty exactly where both are the same, and bounded", () => {
    check(property(jsonValue(), (value) => diffObjects(value as Json, value as Json) === ""));
    const many = Object.fromEntries(Array.from({ length: 5000 }, (_, n) => [`k${n}`, "x"]));
    const lines = diffObjects(undefined, many).split("\n");
    assert.ok(lines.length <= 301 && /lines more$/.test(lines.at(-1) ?? ""));
  });
});

describe("a patch", () => {
  it("of merge follows RFC 7386", () => {
    const cases: readonly (readonly [Json, Json, Json])[] = [
      [{ a: "b" }, { a: "c" }, { a: "c" }],
      [{ a: "b", b: "c" }, { a: null }, { b: "c" }],
      [{ a: ["b"] }, { a: "c" }, { a: "c" }],
      [{ a: { b: "c" } }, { a: { b: "d", c: null } }, { a: { b: "d" } }],
      [{ a: "foo" }, null, null],
      [{}, { a: { bb: { ccc: null } } }, { a: { bb: {} } }],
    ];
    for (const [object, patch, result] of cases)
      assert.deepEqual(mergePatched(object, patch), result);
  });

  it("of JSON follows RFC 6902, and is nothing where it does not fit", () => {
    const object = { a: [1, 2], "b/c": { d: 1 } };
    const op = (kind: string, path: string, value?: Json) => ({
      ...{ op: kind, path },
      ...(value === undefined ? {} : { value }),
    });
    const patched = (...operations: Json[]) => jsonPatched(object, operations);
    assert.deepEqual(patched(op("add", "/a/1", 9), op("add", "/a/-", 8)), {
      ...{ a: [1, 9, 2, 8], "b/c": { d: 1 } },
    });
    assert.deepEqual(patched(op("remove", "/a/0"), op("replace", "/b~1c/d", 2)), {
      ...{ a: [2], "b/c": { d: 2 } },
    });
    assert.equal(patched(op("add", "/a/7", 9)), undefined);
    assert.equal(patched(op("add", "/nothing/here", 9)), undefined);
    assert.deepEqual(object.a, [1, 2]);
  });

  it("of strategic merge goes by the names of elements", () => {
    const object = { containers: [{ name: "a", image: "1" }, { name: "b" }], args: ["x"] };
    const patch = { containers: [{ name: "a", image: "2" }, { name: "c" }], args: ["y"] };
    assert.deepEqual(strategicallyPatched(object, patch), {
      containers: [{ name: "a", image: "2" }, { name: "b" }, { name: "c" }],
      args: ["y"],
    });
  });
});

describe("what approvers see", () => {
  const body = (value: Json, isJsonPatch = false) => ({
    ...{ value, isJsonPatch, bytes: undefined, contentType: undefined },
  });
  const CANARY = "c4n4ryV4lue";
  const coded = Buffer.from(CANARY).toString("base64");

  it("holds no classified value, in whatever form a body gives it", () => {
    const env = [{ name: "A", value: CANARY }];
    const patches: readonly (readonly [typeof secret, Json])[] = [
      [secret, [{ op: "add", path: "/data/0", value: coded }]],
      [secret, [{ op: "add", path: "/data", value: { a: coded } }]],
      [secret, [{ op: "add", path: "/stringData/a", value: CANARY }]],
      [secret, [{ op: "replace", path: "", value: { data: { a: coded } } }]],
      [secret, [{ op: "add", path: "/metadata/annotations/own", value: CANARY }]],
      [deployment, [{ op: "add", path: "/spec/template/spec/containers/0/env", value: env }]],
      [
        deployment,
        [{ op: "add", path: "/spec/template/spec/containers/0/env/0/value", value: CANARY }],
      ],
      [
        deployment,
        [{ op: "add", path: "/spec/template/spec/containers/0/env/-", value: env[0] ?? "" }],
      ],
      [widget, [{ op: "add", path: "/spec/keys/0", value: CANARY }]],
      [widget, [{ op: "add", path: "/spec/keys/first", value: CANARY }]],
      [widget, [{ op: "add", path: "/spec", value: { keys: { a: CANARY } } }]],
    ];
    for (const [info, patch] of patches) {
      const shown = JSON.stringify(maskedBody(target, info, body(patch, true)));
      assert.ok(!shown.includes(CANARY) && !shown.includes(coded), shown);
    }
    const whole = maskedBody(
      target,
      secret,
      body({ data: { a: coded }, stringData: { b: CANARY } }),
    );
    assert.deepEqual(whole, {
      data: { a: "[masked secret.k8s] as written" },
      stringData: { b: "[masked secret.k8s] as written" },
    });
  });

  it("does not tell whether a value written is the value there", () => {
    const object = { data: { a: coded } };
    const live = maskedObject(target, secret, object);
    const difference = (value: string) =>
      diffObjects(live, maskedBody(target, secret, body({ data: { a: value } })));
    assert.equal(difference(coded), difference("b3RoZXI="));
    assert.notEqual(difference(coded), "");
  });
});
