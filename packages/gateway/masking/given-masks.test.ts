import assert from "node:assert/strict";
import { test } from "node:test";
import fc from "fast-check";
import { createMaskMemory } from "./given-masks.ts";
import { textMask } from "./masks.ts";

const CLASSES = new Set(["pii.email", "pii.card"]);

test("a redacted value is known whoever it was given to, inside longer text too", () => {
  const given = createMaskMemory()("d-1");
  assert.equal(given.findIn("hello [masked pii.email]!", CLASSES), "[masked pii.email]");
  assert.equal(
    given.findIn(Buffer.from('{"a":"[masked pii.card]"}'), CLASSES),
    "[masked pii.card]",
  );
  assert.equal(given.findIn("[masked ball] invitation", CLASSES), undefined);
});

test("a mask that keeps a part counts for the chain it was given to", () => {
  const memory = createMaskMemory();
  const mask = textMask("email-domain", "pii.email");
  memory("d-1").gave(mask(Buffer.from("ann@example.com")) ?? Buffer.alloc(0));
  assert.equal(memory("d-1").findIn("'***@example.com'", CLASSES), "***@example.com");
  assert.equal(memory("d-1").findIn("***@example.org", CLASSES), undefined);
  assert.equal(memory("d-2").findIn("***@example.com", CLASSES), undefined);
});

test("when there were too many to remember, every text of the shape counts", () => {
  const memory = createMaskMemory({ roots: 2, valuesPerRoot: 3 });
  for (const last of ["1111", "2222"]) memory("d-1").gave(Buffer.from(`****${last}`));
  assert.equal(memory("d-1").findIn("****9999", CLASSES), undefined);
  memory("d-1").gave(Buffer.from("****3333"));
  assert.equal(memory("d-1").findIn("****9999", CLASSES), "****9999");
});

test("the least used root is forgotten first", () => {
  const memory = createMaskMemory({ roots: 2, valuesPerRoot: 10 });
  memory("d-1").gave(Buffer.from("****1111"));
  memory("d-2").gave(Buffer.from("****2222"));
  memory("d-1");
  memory("d-3");
  assert.equal(memory("d-1").findIn("****1111", CLASSES), "****1111");
  assert.equal(memory("d-2").findIn("****2222", CLASSES), undefined);
});

test("whatever a mask makes of a value is found again wherever it stands", () => {
  const part = fc.stringMatching(/^[a-z0-9 .,@*-]{0,20}$/);
  fc.assert(
    fc.property(
      fc.constantFrom("redact", "email-domain", "last4"),
      fc.string({ minLength: 1 }),
      part,
      part,
      (name, value, before, after) => {
        const given = createMaskMemory()("d-1");
        const masked = textMask(name, "pii.email")(Buffer.from(`${value}@mail.example`));
        assert.ok(masked);
        given.gave(masked);
        // What follows directly may make another host name of it.
        const text = `${before} ${masked.toString("latin1")} ${after}`;
        assert.notEqual(given.findIn(text, CLASSES), undefined);
      },
    ),
  );
});
