import assert from "node:assert/strict";
import test from "node:test";
import { saslPrepared } from "./saslprep.ts";

// RFC 4013 section 3 has the first seven.
const cases: readonly [name: string, password: string, prepared: string | undefined][] = [
  ["soft hyphen mapped to nothing", "I\u00adX", "IX"],
  ["no transformation", "user", "user"],
  ["case kept", "USER", "USER"],
  ["NFKC, feminine ordinal", "\u00aa", "a"],
  ["NFKC, Roman numeral", "\u2168", "IX"],
  ["prohibited control", "\u0007", undefined],
  ["right-to-left", "\u0627\u0031", undefined],
  ["a non-ASCII space becomes a space", "a\u00a0b\u3000c", "a b c"],
  ["composed", "e\u0301", "\u00e9"],
  ["line separator", "a\u2028b", undefined],
  ["private use", "a\ue000", undefined],
  ["non-character", "a\u{1fffe}", undefined],
  ["tag character", "a\u{e0041}", undefined],
  ["half a surrogate pair", "a\ud800", undefined],
];

for (const [name, password, prepared] of cases) {
  test(`SASLprep: ${name}`, () => assert.equal(saslPrepared(password), prepared));
}
