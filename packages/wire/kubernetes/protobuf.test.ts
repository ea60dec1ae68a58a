import assert from "node:assert/strict";
import { describe, it } from "node:test";
import fc from "fast-check";
import { KubernetesWireError } from "./errors.ts";
import { decodeProtobuf } from "./protobuf.ts";

const field = (number: number, wire: number) => Buffer.from([(number << 3) | wire]);

function delimited(number: number, value: Buffer | string): Buffer {
  const bytes = Buffer.from(value);
  const length: number[] = [];
  let left = bytes.length;
  for (; left > 127; left >>= 7) length.push((left & 127) | 128);
  return Buffer.concat([field(number, 2), Buffer.from([...length, left]), bytes]);
}

function body(apiVersion: string, kind: string, ...fields: Buffer[]): Buffer {
  const typeMeta = Buffer.concat([delimited(1, apiVersion), delimited(2, kind)]);
  const raw = Buffer.concat(fields);
  return Buffer.concat([Buffer.from("k8s\0"), delimited(1, typeMeta), delimited(2, raw)]);
}

const metadata = delimited(1, Buffer.concat([delimited(1, "api-key"), delimited(3, "shop")]));
const entry = (key: string, value: string) =>
  delimited(2, Buffer.concat([delimited(1, key), delimited(2, value)]));

describe("Kubernetes' binary form", () => {
  it("gives a Secret's name and data", () => {
    const decoded = decodeProtobuf(
      body("v1", "Secret", metadata, entry("key", "s3cret"), delimited(3, "Opaque")),
      1000,
    );
    assert.equal(decoded.kind, "Secret");
    const plain = JSON.parse(
      JSON.stringify(decoded.object, (_, one) =>
        one?.type === "Buffer"
          ? Buffer.from(one.data).toString()
          : one instanceof Uint8Array
            ? Buffer.from(one).toString()
            : one,
      ),
    );
    assert.deepEqual(plain, {
      metadata: { name: "api-key", namespace: "shop" },
      data: { key: "s3cret" },
      type: "Opaque",
    });
  });

  it("finds what every group has, of any group", () => {
    const dryRun = delimited(5, "All");
    for (const apiVersion of ["v1", "policy/v1", "meta.k8s.io/v1"]) {
      const { object } = decodeProtobuf(body(apiVersion, "DeleteOptions", dryRun), 1000);
      assert.deepEqual({ ...object }, { dryRun: ["All"] });
    }
  });

  const invalid: Readonly<Record<string, Buffer>> = {
    "without its magic": Buffer.from("{}"),
    "of a kind nobody knows": body("v1", "Widget"),
    "of a version nobody knows": body("v9", "Pod"),
    "with a field that is in no table": body("v1", "Secret", delimited(15, "x")),
    "with a name given twice": body("v1", "Secret", metadata, metadata),
    "with a key given twice": body("v1", "Secret", entry("a", "1"), entry("a", "2")),
    "with a map's value before its key": body(
      "v1",
      "Secret",
      delimited(2, Buffer.concat([delimited(2, "v"), delimited(1, "k")])),
    ),
    "with another wire type": body("v1", "Secret", Buffer.concat([field(1, 0), Buffer.from([1])])),
    "cut off": body("v1", "Secret", metadata).subarray(0, -3),
    "with a length beyond its end": body(
      "v1",
      "Secret",
      Buffer.concat([field(1, 2), Buffer.from([0xff, 0xff, 0xff, 0xff, 0x7f])]),
    ),
    "with text that is not UTF-8": body("v1", "Secret", delimited(3, Buffer.from([0xff]))),
    "with a number without end": body("v1", "Secret", Buffer.alloc(12, 0xff)),
  };
  for (const [what, bytes] of Object.entries(invalid))
    it(`refuses a body ${what}`, () => {
      assert.throws(() => decodeProtobuf(bytes, 1000), KubernetesWireError);
    });

  it("has no more fields than are allowed, however empty and wherever they are", () => {
    const data = body("v1", "Secret", entry("a", "1"), entry("b", "2"));
    // Those of the outer message and of the type besides.
    assert.doesNotThrow(() => decodeProtobuf(data, 6));
    const containers = body("v1", "Pod", delimited(2, Buffer.alloc(2000, Buffer.from([0x12, 0]))));
    assert.doesNotThrow(() => decodeProtobuf(containers, 1005));
    assert.throws(() => decodeProtobuf(containers, 1004), /too many fields/);
  });

  it("never fails otherwise, whatever bytes come", () => {
    fc.assert(
      fc.property(
        fc.uint8Array({ maxLength: 200 }),
        fc.constantFrom("Pod", "Secret", "Role"),
        (raw, kind) => {
          try {
            decodeProtobuf(body("v1", kind, Buffer.from(raw)), 1000);
          } catch (thrown) {
            assert.ok(thrown instanceof KubernetesWireError);
          }
        },
      ),
    );
  });
});
