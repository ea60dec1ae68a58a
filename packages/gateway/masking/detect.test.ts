import assert from "node:assert/strict";
import { test } from "node:test";
import fc from "fast-check";
import { createDetector } from "./detect.ts";

const detect = createDetector([
  { class: "pii.card", kind: "card-number" },
  { class: "pii.email", kind: "email" },
  { class: "secret.key", kind: "provider-key" },
]);

const found = (text: string) => detect(Buffer.from(text))?.toString();

test("card numbers with their check digit, however they are written", () => {
  // Numbers that payment providers publish for tests.
  assert.equal(found("paid with 4242 4242 4242 4242."), "paid with [masked pii.card].");
  assert.equal(found("5555-5555-5555-4444"), "[masked pii.card]");
  assert.equal(found('{"card":"378282246310005"}'), '{"card":"[masked pii.card]"}');
  for (const text of [
    "4242 4242 4242 4243",
    "0000000000000000",
    "12345678901234567890123",
    "2026-11-23",
  ])
    assert.equal(found(text), undefined, text);
});

test("a number in front of a card's number or behind it does not hide it", () => {
  for (const [text, masked] of [
    ["2026-11-23 4242424242424242 paid", "2026-11-23 [masked pii.card] paid"],
    ["7 4242 4242 4242 4242", "7 [masked pii.card]"],
    ["4242 4242 4242 4242 17", "[masked pii.card] 17"],
    ["378282246310005 2026", "[masked pii.card] 2026"],
  ] as const)
    assert.equal(found(text), masked);
});

test("addresses inside a text, which keeps the rest of it", () => {
  assert.equal(
    found("wrote to änn.b+c@mail.example.org twice"),
    "wrote to ä[masked pii.email] twice",
  );
  assert.equal(found("a@b, @home, ann at example.com"), undefined);
});

test("keys by the forms their providers give them", () => {
  const body = "A".repeat(36);
  for (const key of [
    `AKIA${"A".repeat(16)}`,
    `ghp_${body}`,
    `glpat-${body.slice(16)}`,
    `xoxb-${body}`,
    `sk_live_${body}`,
    `AIza${"A".repeat(35)}`,
    `eyJ${body}.eyJ${body}.${body}`,
  ])
    assert.equal(found(`key=${key};`), "key=[masked secret.key];", key);
});

test("what is not found stays byte for byte, whatever it is", () => {
  fc.assert(
    fc.property(fc.uint8Array({ maxLength: 200 }), (bytes) => {
      const value = Buffer.from(bytes);
      const replaced = detect(value);
      if (replaced !== undefined) assert.match(replaced.toString("latin1"), /\[masked /);
    }),
  );
});

test("no text takes long", () => {
  for (const unit of ["1 ", "a", "a.", "eyJ", "-----BEGIN ", "@a", "4242-"]) {
    const before = process.cpuUsage();
    detect(Buffer.from(unit.repeat(40_000)));
    assert.ok(process.cpuUsage(before).user < 2_000_000, unit);
  }
});
