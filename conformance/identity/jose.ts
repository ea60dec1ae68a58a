// The vectors of RFC 7520 section 4 by the way a provider's keys are read and used here, and each of them
// broken in every place that matters.

import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { keySet } from "@custody/gateway/identity/keys.ts";
import { compactVerify, createLocalJWKSet } from "jose";
import type { Cases } from "./cases.ts";
import { wycheproofCases } from "./wycheproof.ts";

interface Vector {
  readonly section: string;
  readonly alg: string;
  readonly key: object;
  readonly header: string;
  readonly payload: string;
  readonly signature: string;
}

const ALGORITHMS = ["RS256", "PS384", "ES512", "EdDSA"];

export async function joseCases(cases: Cases): Promise<void> {
  const { check } = cases;
  const text = readFileSync(new URL("rfc7520.json", import.meta.url), "utf8");
  const { vectors } = JSON.parse(text) as { vectors: readonly Vector[] };
  for (const vector of vectors) {
    const { section, alg, header, payload, signature } = vector;
    const isSymmetric = alg.startsWith("HS");
    await check(`${section} ${alg} ${isSymmetric ? "has no key here" : "verifies"}`, async () => {
      const verified = verify(vector, `${header}.${payload}.${signature}`);
      if (isSymmetric) await assert.rejects(verified);
      else assert.match(new TextDecoder().decode((await verified).payload), /^It’s a dangerous/);
    });
    if (isSymmetric) continue;
    for (const [name, broken] of brokenOf(vector))
      await check(`${section} ${alg} with ${name} does not`, async () => {
        await assert.rejects(verify(vector, broken));
      });
  }
  await wycheproofCases(cases);
}

function verify({ key }: Vector, token: string) {
  const keys = createLocalJWKSet(keySet({ keys: [key] }));
  return compactVerify(token, keys, { algorithms: ALGORITHMS });
}

function brokenOf(vector: Vector): readonly (readonly [string, string])[] {
  const { header, payload, signature } = vector;
  const bytes = Buffer.from(signature, "base64url");
  const altered = (at: number) => {
    const copy = Buffer.from(bytes);
    copy[at]! ^= 1;
    return copy.toString("base64url");
  };
  const zeros = Buffer.alloc(bytes.length).toString("base64url");
  const none = Buffer.from('{"alg":"none"}').toString("base64url");
  const other = Buffer.from('{"alg":"HS256"}').toString("base64url");
  return [
    ["its first bit changed", `${header}.${payload}.${altered(0)}`],
    ["its last bit changed", `${header}.${payload}.${altered(bytes.length - 1)}`],
    ["a signature of zeros", `${header}.${payload}.${zeros}`],
    ["no signature", `${header}.${payload}.`],
    [
      "a byte more",
      `${header}.${payload}.${Buffer.concat([bytes, Buffer.of(0)]).toString("base64url")}`,
    ],
    ["another payload", `${header}.${payload.slice(4)}.${signature}`],
    ["algorithm none", `${none}.${payload}.`],
    ["another algorithm", `${other}.${payload}.${signature}`],
    ["four parts", `${header}.${payload}.${signature}.${signature}`],
  ];
}
