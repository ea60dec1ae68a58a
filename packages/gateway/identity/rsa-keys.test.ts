import assert from "node:assert/strict";
import { generateKeyPairSync } from "node:crypto";
import { test } from "node:test";
import { keySet } from "./keys.ts";
import { isWeakRsa } from "./rsa-keys.ts";

const base64url = (value: bigint) => {
  const hex = value.toString(16);
  return Buffer.from(hex.length % 2 === 0 ? hex : `0${hex}`, "hex").toString("base64url");
};

test("a key as they are made is taken; without both of its numbers, or with an exponent of 1, it is not", () => {
  const { publicKey } = generateKeyPairSync("rsa", { modulusLength: 2048 });
  const { n, e } = publicKey.export({ format: "jwk" });
  assert.equal(isWeakRsa(n, e), false);
  for (const exponent of ["AQ", "AAE", "Ag", "AA", "", undefined, 65_537, "A=="])
    assert.equal(isWeakRsa(n, exponent), true, String(exponent));
  assert.equal(isWeakRsa(undefined, e), true);
  assert.equal(isWeakRsa(n, "Aw"), false);
});

test("a modulus that is a power of 65537 modulo every small prime is not", () => {
  // Of that shape, if no product of two primes: k · M + 65537^a, M the product of the small primes.
  let product = 1n;
  for (let candidate = 2n; candidate <= 701n; candidate++)
    if (
      [...Array(Number(candidate)).keys()].slice(2).every((one) => candidate % BigInt(one) !== 0n)
    )
      product *= candidate;
  let power = 1n;
  for (let count = 0; count < 1234; count++) power = (power * 65_537n) % product;
  const modulus = base64url((1n << 1000n) * product + power);
  assert.equal(isWeakRsa(modulus, "AQAB"), true);
  assert.equal(isWeakRsa(base64url((1n << 1000n) * product + power + 2n), "AQAB"), false);
  const keys = [{ kty: "RSA", n: modulus, e: "AQAB", kid: "weak" }];
  assert.deepEqual(keySet({ keys }), { keys: [] });
});
