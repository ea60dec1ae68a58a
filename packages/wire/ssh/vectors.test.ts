import assert from "node:assert/strict";
import test from "node:test";
import { asJson, DECODERS, readVectors } from "../../../fuzz/ssh/decoder-table.ts";
import { SshError } from "./errors.ts";

/** These read what is left, so a shorter message is another message. */
const TO_THE_END =
  /^(other|extended|extended-reply|init|version|(global|open) (other|hostkeys|keepalive|no-more))/;

for (const vector of readVectors("valid")) {
  const codec = DECODERS[vector.decoder]!;
  const bytes = Buffer.from(vector.hex, "hex");
  test(`valid: ${vector.decoder}: ${vector.name}`, () => {
    const value = codec.decode(bytes);
    assert.deepEqual(asJson(value), vector.decoded);
    // In the middle of other bytes, which are not to be touched or taken in.
    const amid = Buffer.concat([Buffer.alloc(3), bytes, Buffer.alloc(70)]).subarray(
      3,
      3 + bytes.length,
    );
    assert.deepEqual(asJson(codec.decode(amid)), vector.decoded);
    const again = codec.encode?.(value, bytes);
    if (again !== undefined) assert.equal(again.toString("hex"), vector.hex);
  });
  test(`valid: ${vector.decoder}: ${vector.name}, cut at every byte`, () => {
    for (let end = 0; end < bytes.length; end++) {
      try {
        codec.decode(bytes.subarray(0, end));
      } catch (error) {
        assert.ok(error instanceof SshError, `${end} bytes: ${error}`);
        continue;
      }
      const isOpen = TO_THE_END.test(vector.name) || vector.name === "another method";
      assert.ok(isOpen, `${end} bytes were enough`);
    }
  });
}

for (const vector of readVectors("invalid")) {
  test(`invalid: ${vector.decoder}: ${vector.name}`, () => {
    const bytes = Buffer.from(vector.hex, "hex");
    // What lies behind the message would make it valid if it were read.
    const amid = Buffer.concat([Buffer.alloc(3), bytes, Buffer.alloc(70_000)]);
    for (const one of [bytes, amid.subarray(3, 3 + bytes.length)]) {
      assert.throws(() => DECODERS[vector.decoder]!.decode(one), {
        name: "SshError",
        code: vector.code,
      });
    }
  });
}

test("every decoder has a valid and an invalid vector", () => {
  for (const folder of ["valid", "invalid"] as const) {
    const named = new Set(readVectors(folder).map((one) => one.decoder));
    for (const decoder of Object.keys(DECODERS))
      assert.ok(named.has(decoder), `${folder} ${decoder}`);
  }
});
