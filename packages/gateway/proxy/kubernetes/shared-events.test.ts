import assert from "node:assert/strict";
import { describe, it } from "node:test";
import type { MaskName } from "../../masking/masks.ts";
import type { AnswerMaskPlan } from "./answer-mask.ts";
import { EventSharing, type SharedEvents, shareMasking } from "./shared-events.ts";

const LIMITS = { maxObjectBytes: 1 << 20, maxFrameBytes: 1 << 20 };
const CANARY = "czNjcjN0";
const OWNER = { group: "", resource: "secrets", field: ["metadata", "owner"], class: "pii.name" };
const EVENT = Buffer.from(
  `{"type":"MODIFIED","object":{"kind":"Secret","metadata":{"owner":"Erin"},"data":{"k":"${CANARY}"}}}\n`,
);

function plan(more: Partial<AnswerMaskPlan> = {}): AnswerMaskPlan {
  return { isSecrets: false, fields: [], shown: new Set(), maskOf: () => "redact", ...more };
}

function text(shared: SharedEvents | undefined): string {
  return (shared ?? assert.fail("it was not shared")).bytes.toString("utf8");
}

describe("events that many watches are told", () => {
  it("are masked once for all who may see the same of them", () => {
    const events = new EventSharing();
    const [one, other] = [
      shareMasking(events, plan(), LIMITS),
      shareMasking(events, plan(), LIMITS),
    ];
    const masked = one.apply(EVENT);
    assert.ok(!text(masked).includes(CANARY));
    assert.equal(other.apply(Buffer.from(EVENT)), masked);
    assert.deepEqual([...one.masked], ["secret.k8s"]);
    assert.deepEqual([...other.masked], ["secret.k8s"]);
    assert.equal(masked?.rows, 1);
  });

  // Whoever may see it comes first, and what it was given is there: each plan differs in one part.
  const shownAll = new Set(["secret.k8s", "pii.name"]);
  for (const [what, first, second, withheld] of [
    ["classes that are shown", { shown: shownAll }, {}, CANARY],
    ["fields", {}, { fields: [OWNER] }, "Erin"],
    [
      "classes of the same fields",
      { fields: [OWNER], shown: shownAll },
      { fields: [{ ...OWNER, class: "pii.other" }], shown: shownAll },
      "Erin",
    ],
  ] as const)
    it(`are not what others with other ${what} are given`, () => {
      const events = new EventSharing();
      assert.ok(text(shareMasking(events, plan(first), LIMITS).apply(EVENT)).includes(withheld));
      assert.ok(!text(shareMasking(events, plan(second), LIMITS).apply(EVENT)).includes(withheld));
    });

  it("are not what a watch of Secrets is given of an object without its kind", () => {
    const events = new EventSharing();
    const bare = Buffer.from(`{"type":"ADDED","object":{"data":{"k":"${CANARY}"}}}\n`);
    assert.ok(text(shareMasking(events, plan(), LIMITS).apply(bare)).includes(CANARY));
    const secrets = shareMasking(events, plan({ isSecrets: true }), LIMITS);
    assert.ok(!text(secrets.apply(bare)).includes(CANARY));
  });

  it("are masked anew when the configuration masks otherwise", () => {
    const events = new EventSharing();
    let mask: MaskName = "last4";
    const held = "a-long-value-1234";
    const bytes = Buffer.from(
      `{"type":"ADDED","object":{"kind":"Secret","stringData":{"k":"${held}"}}}\n`,
    );
    const watch = shareMasking(events, plan({ maskOf: () => mask }), LIMITS);
    assert.ok(text(watch.apply(bytes)).includes("****1234"));
    mask = "redact";
    assert.ok(!text(watch.apply(bytes)).includes("1234"));
  });

  it("are found by every byte of them", () => {
    const events = new EventSharing();
    const watch = shareMasking(events, plan(), LIMITS);
    const as = (name: string) => Buffer.from(`{"type":"ADDED","object":{"kind":"${name}"}}\n`);
    assert.ok(text(watch.apply(as("One"))).includes("One"));
    assert.ok(text(watch.apply(as("Two"))).includes("Two"));
    // Bytes that are no UTF-8 are refused, whatever was before.
    const broken = Buffer.from(`{"type":"ADDED","object":{"kind":"\xff"}}\n`, "latin1");
    assert.throws(() => watch.apply(broken), SyntaxError);
    assert.throws(() => watch.apply(broken), SyntaxError);
  });

  it("are put together by who asked where they come in parts", () => {
    const watch = shareMasking(new EventSharing(), plan(), LIMITS);
    assert.equal(watch.apply(EVENT.subarray(0, 40)), undefined);
    assert.equal(watch.apply(Buffer.concat([EVENT, EVENT.subarray(0, 9)])), undefined);
    assert.equal(watch.apply(Buffer.concat([EVENT, EVENT]))?.rows, 2);
  });

  it("are forgotten when there are many", () => {
    const events = new EventSharing();
    const watch = shareMasking(events, plan(), LIMITS);
    const first = watch.apply(EVENT);
    const large = (index: number) => Buffer.from(`{"n":${index},"pad":"${"x".repeat(500_000)}"}\n`);
    for (let index = 0; index < 24; index++) watch.apply(large(index));
    assert.notEqual(watch.apply(EVENT), first);
  });
});
