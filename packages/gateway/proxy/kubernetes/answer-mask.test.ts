import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { gzipSync } from "node:zlib";
import fc from "fast-check";
import { createAnswerMask } from "./answer-mask.ts";
import { scrubbedStatus } from "./error-text.ts";

const CANARY = "c4nary-value";
const ENCODED = Buffer.from(CANARY).toString("base64");

function maskOf(
  options: { isSecrets?: boolean; shown?: readonly string[]; field?: readonly string[] } = {},
) {
  const { field } = options;
  return createAnswerMask({
    isSecrets: options.isSecrets ?? false,
    fields: field === undefined ? [] : [{ group: "", resource: "x", field, class: "secret.token" }],
    shown: new Set(options.shown),
    maskOf: () => "redact",
  });
}

const apply = (value: unknown, options?: Parameters<typeof maskOf>[0]): string =>
  maskOf(options)
    .apply(Buffer.from(JSON.stringify(value)))
    .toString();

const secret = {
  apiVersion: "v1",
  kind: "Secret",
  metadata: { name: "s" },
  data: { key: ENCODED },
};

describe("masks in answers", () => {
  const holding: Readonly<Record<string, unknown>> = {
    "a secret": secret,
    "a secret in a list": { kind: "List", items: [secret] },
    "an event": { type: "ADDED", object: secret },
    "a row of a table": { cells: ["s"], object: secret },
    stringData: { ...secret, data: undefined, stringData: { key: CANARY } },
    "data of a shape it never has": { ...secret, data: [CANARY] },
    "a nested value": { ...secret, data: { key: { deeper: CANARY } } },
    "an annotation that repeats it": {
      ...secret,
      data: {},
      metadata: { annotations: { "example.com/copy": CANARY } },
    },
    "what was applied": {
      kind: "Secret",
      metadata: {
        annotations: { "kubectl.kubernetes.io/last-applied-configuration": JSON.stringify(secret) },
      },
    },
    "an environment as members": { kind: "Widget", spec: { env: { PASSWORD: CANARY } } },
    "an environment as members of members": {
      kind: "Widget",
      spec: { env: { open: { A: CANARY }, list: [{ name: "B", value: CANARY }] } },
    },
    "an environment as members that have values": {
      kind: "Widget",
      spec: { env: { PASSWORD: { value: CANARY, type: "string" } } },
    },
    "an environment as assignments": { kind: "Widget", spec: { env: ["OPEN", `A=${CANARY}=`] } },
    "a column that shows an assignment": {
      cells: ["w", CANARY],
      object: { kind: "Widget", spec: { env: [`A=${CANARY}`] } },
    },
    "managed fields of an environment that is a set": {
      metadata: {
        managedFields: [{ fieldsV1: { "f:spec": { "f:env": { [`v:"A=${CANARY}"`]: {} } } } }],
      },
      spec: { env: [] },
    },
    "what was applied, packed": {
      kind: "Deployment",
      metadata: {
        annotations: {
          "objectset.example.com/applied": gzipSync(
            JSON.stringify({ spec: { env: [{ name: "A", value: CANARY }] } }),
          ).toString("base64"),
        },
      },
    },
    "what was applied within what was applied": {
      kind: "ConfigMap",
      metadata: {
        annotations: {
          one: JSON.stringify({
            metadata: { annotations: { two: JSON.stringify({ env: { A: CANARY } }) } },
          }),
        },
      },
    },
    "a key that objects have of themselves": {
      ...secret,
      data: JSON.parse(`{"__proto__":"${ENCODED}","constructor":"${ENCODED}"}`),
    },
    "a column that shows an environment": {
      cells: ["w", `[map[name:A value:${CANARY}]]`, CANARY],
      object: { kind: "Widget", spec: { env: [{ name: "A", value: CANARY }] } },
    },
    "a column that shows a short one": {
      cells: ["w", CANARY],
      object: { kind: "Widget", spec: { env: { A: CANARY } } },
    },
    "an environment another tool applied": {
      kind: "Deployment",
      metadata: {
        annotations: {
          "kapp.k14s.io/original": JSON.stringify({ spec: { env: [{ value: CANARY }] } }),
        },
      },
    },
    "what was applied and is no object": {
      kind: "Secret",
      metadata: { annotations: { "example.com/last-applied": JSON.stringify([CANARY]) } },
    },
    "another annotation of a secret that is JSON": {
      kind: "Secret",
      metadata: { annotations: { "example.com/copy": JSON.stringify([CANARY]) } },
    },
    "what was applied and is cut": {
      kind: "Secret",
      metadata: {
        annotations: {
          "kubectl.kubernetes.io/last-applied-configuration": `{"data":{"key":"${ENCODED}"`,
        },
      },
    },
    "a secret in a custom resource": { kind: "Sealed", spec: { template: secret } },
    "an environment": {
      kind: "Pod",
      spec: { containers: [{ env: [{ name: "A", value: CANARY }] }] },
    },
    "an environment of a template": {
      kind: "Widget",
      spec: {
        jobs: [
          { template: { spec: { initContainers: [{ env: [{ name: "A", value: CANARY }] }] } } },
        ],
      },
    },
    "an environment that was applied": {
      kind: "Deployment",
      metadata: {
        annotations: {
          "kubectl.kubernetes.io/last-applied-configuration": JSON.stringify({
            spec: { env: [{ value: CANARY }] },
          }),
        },
      },
    },
  };
  for (const [what, value] of Object.entries(holding))
    it(`takes the value out of ${what}`, () => {
      const masked = apply(value);
      assert.ok(!masked.includes(CANARY) && !masked.includes(ENCODED), masked);
      assert.ok(!masked.includes("H4sI"), masked);
      JSON.parse(masked);
    });

  it("masks numbers of an environment, and leaves references and schemas as they are", () => {
    const numbers = { spec: { env: { RATE: 0.25, PORT: 80, valueFrom: { key: "k" } } } };
    const { env } = (JSON.parse(apply(numbers)) as { spec: { env: Record<string, unknown> } }).spec;
    assert.deepEqual(env, {
      ...{ RATE: "[masked secret.k8s.env]", PORT: "[masked secret.k8s.env]" },
      valueFrom: { key: "k" },
    });
    const schema = {
      properties: { env: { type: "array", description: "of all", items: { type: "object" } } },
    };
    assert.equal(apply(schema), JSON.stringify(schema));
    const plain = { cells: ["w", "8080", "10d"], object: { spec: { env: { A: "80" } } } };
    const row = JSON.parse(apply(plain)) as { cells: string[] };
    assert.deepEqual(row.cells, plain.cells);
  });

  it("hands on a document in which nothing is to be masked without making its values", (t) => {
    const document = Buffer.from(` {"kind":"Pod","a":[${"[],".repeat(500_000)}1]} \n`);
    const parse = t.mock.method(JSON, "parse");
    assert.equal(maskOf().apply(document), document);
    assert.equal(parse.mock.callCount(), 0);
    assert.equal(maskOf().apply(Buffer.from(` "ok" `)).toString(), ` "ok" `);
    for (const text of ["{}{}", "[", '{"a":}', "{} x", "", " "])
      assert.throws(() => maskOf().apply(Buffer.from(text)), Error, text);
  });

  it("masks a cell that would take too long to be looked through", () => {
    const env = Object.fromEntries(
      Array.from({ length: 5000 }, (_, index) => [`A${index}`, `value-${index}-`]),
    );
    const row = { cells: ["w", "x".repeat(1000)], object: { spec: { env } } };
    const { cells } = JSON.parse(apply(row)) as { cells: string[] };
    assert.deepEqual(cells, ["w", "[masked secret.k8s.env]"]);
  });

  it("hands on nothing that is no JSON in UTF-8, masked or not", () => {
    for (const bytes of [
      Buffer.from(`{"kind":"Pod","a":}`),
      Buffer.from(`{"kind":"Pod"}{"kind":"Pod"}`),
      Buffer.from(`{"kind":"Pod",}`),
      Buffer.from(`{'kind':"Pod"}`),
      Buffer.from([0x7b, 0x22, 0xff, 0x22, 0x3a, 0x31, 0x7d]),
      Buffer.from(`{"kind":"Secret","data":{"k":"${ENCODED}"},}`),
      Buffer.alloc(0),
    ])
      assert.throws(() => maskOf().apply(bytes), bytes.toString("latin1"));
  });

  it("keeps the data of a secret decodable", () => {
    const { data } = JSON.parse(apply(secret)) as typeof secret;
    assert.equal(Buffer.from(data.key, "base64").toString(), "[masked secret.k8s]");
  });

  it("masks what has no kind where secrets were asked for", () => {
    assert.ok(
      !apply({ metadata: {}, data: { key: ENCODED } }, { isSecrets: true }).includes(ENCODED),
    );
  });

  it("sees members that are written with escapes", () => {
    const escaped = Buffer.from(`{"\\u0065nv":[{"name":"A","value":"${CANARY}"}]}`);
    assert.ok(!maskOf().apply(escaped).toString().includes(CANARY));
  });

  it("masks classified fields, by wildcard too, in an object, an event and what was applied", () => {
    const object = { spec: { keys: [{ value: CANARY }, { value: CANARY }] } };
    const applied = { "x/last-applied": JSON.stringify(object) };
    for (const value of [
      object,
      { type: "ADDED", object },
      { object: { metadata: { annotations: applied } } },
    ])
      assert.ok(
        !apply(value, { field: ["spec", "keys", "*", "value"] }).includes(CANARY),
        JSON.stringify(value),
      );
  });

  it("keeps managed fields that name members alone, and those of what is not classified", () => {
    const managed = (spec: unknown) => ({
      kind: "Widget",
      metadata: {
        managedFields: [
          { fieldsV1: { "f:metadata": { "f:finalizers": { 'v:"x/y"': {} } }, "f:spec": spec } },
        ],
      },
      spec: { env: [] },
    });
    const field = ["spec", "hosts", "*"];
    for (const [path, spec] of [
      [field, { "f:hosts": { ".": {}, [`v:"${CANARY}"`]: {} } }],
      [["spec", "hosts"], { "f:hosts": { [`v:"${CANARY}"`]: {} } }],
      [["spec", "users", "*", "name"], { "f:users": { [`k:{"name":"${CANARY}"}`]: {} } }],
    ] as const)
      assert.ok(!apply(managed(spec), { field: path }).includes("managedFields"), String(path));
    for (const spec of [{ "f:hosts": { ".": {} } }, { "f:others": { 'v:"a"': {} } }])
      assert.ok(apply(managed(spec), { field }).includes("managedFields"));
    const containers = {
      "f:containers": { 'k:{"name":"web"}': { "f:env": { 'k:{"name":"A"}': {} } } },
    };
    assert.ok(apply(managed(containers)).includes("managedFields"));
  });

  it("shows a class that may be seen, and only that", () => {
    assert.ok(apply(secret, { shown: ["secret.k8s"], isSecrets: true }).includes(ENCODED));
    assert.ok(!apply(holding["an environment"], { shown: ["secret.k8s"] }).includes(CANARY));
  });

  it("leaves the bytes of everything else as they are, numbers beyond a double too", () => {
    const text = `{"kind":"ConfigMap",  "data":{"a":"b"},"big":12345678901234567890,"one":1.0}`;
    const bytes = Buffer.from(text);
    assert.equal(maskOf().apply(bytes), bytes);
    const masked = maskOf({ isSecrets: true }).apply(Buffer.from(text)).toString();
    assert.match(masked, /"big":12345678901234567890,"one":1\.0/);
  });

  it("never lets a value through, wherever a secret is", () => {
    const wrap = fc.letrec((tie) => ({
      node: fc.oneof(
        { depthSize: "small" },
        fc.constant(secret as unknown),
        fc.record({ items: fc.array(tie("node"), { maxLength: 2 }) }),
        fc.record({ object: tie("node"), extra: fc.string() }),
        fc.record({ spec: fc.record({ template: tie("node") }) }),
      ),
    })).node;
    fc.assert(
      fc.property(wrap, fc.boolean(), (value, isSecrets) => {
        assert.ok(!apply(value, { isSecrets }).includes(ENCODED));
      }),
    );
  });

  it("masks a classified field in what a tool wrote down, however deep in it the object is", () => {
    const object = { metadata: { name: "o" }, data: { token: CANARY, plain: "stays" } };
    for (const written of [object, [object], { items: [object] }, { before: { of: object } }]) {
      const annotations = { "tools.example.com/original": JSON.stringify(written) };
      const masked = apply({ metadata: { annotations } }, { field: ["data", "token"] });
      assert.ok(!masked.includes(CANARY) && masked.includes("stays"), masked);
    }
  });

  it("takes the text out of an error and keeps its reason", () => {
    const status = {
      kind: "Status",
      code: 422,
      reason: "Invalid",
      message: `bad value ${CANARY}`,
      details: { causes: [{ message: CANARY }] },
    };
    const scrubbed = scrubbedStatus(Buffer.from(JSON.stringify(status)), "r-1").toString();
    assert.ok(!scrubbed.includes(CANARY));
    assert.equal((JSON.parse(scrubbed) as typeof status).code, 422);
  });
});
