import assert from "node:assert/strict";
import { test } from "node:test";
import fc from "fast-check";
import { type MaskName, textMask } from "./masks.ts";

const shown = (name: MaskName, value: string) =>
  textMask(name, "pii.email")(Buffer.from(value))?.toString() ?? null;

test("redact keeps nothing, not even whether there was a value", () => {
  const mask = textMask("redact", "pii.email");
  assert.equal(mask(undefined)?.toString(), "[masked pii.email]");
  fc.assert(
    fc.property(fc.uint8Array(), (bytes) => {
      assert.equal(mask(Buffer.from(bytes))?.toString(), "[masked pii.email]");
    }),
  );
});

test("email-domain keeps the domain of a plain address and nothing else", () => {
  assert.equal(shown("email-domain", "alice@example.com"), "***@example.com");
  for (const odd of ["alice", "@example.com", "alice@", '"a@b"@example.com', "alice@ex ample", ""])
    assert.equal(shown("email-domain", odd), "[masked pii.email]", odd);
  assert.equal(shown("email-domain", `a@${"x".repeat(256)}`), "[masked pii.email]");
  assert.equal(textMask("email-domain", "c")(undefined), null);
});

test("last4 keeps four characters of a longer value", () => {
  assert.equal(shown("last4", "4111111111111234"), "****1234");
  for (const odd of ["1234", "1234567", "12345678é", "abcd efg "])
    assert.equal(shown("last4", odd), "[masked pii.email]", odd);
});

test("null is NULL", () => {
  assert.equal(shown("null", "alice@example.com"), null);
});

test("every mask is total and never gives the value back", () => {
  const names: MaskName[] = ["redact", "null", "email-domain", "last4"];
  fc.assert(
    fc.property(fc.uint8Array(), fc.constantFrom(...names), (bytes, name) => {
      const value = Buffer.from(bytes);
      const masked = textMask(name, "c")(value);
      assert.ok(masked === null || value.length === 0 || !masked.equals(value));
    }),
  );
});
