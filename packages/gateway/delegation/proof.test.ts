import assert from "node:assert/strict";
import { test } from "node:test";
import { readPublicKey } from "./key.ts";
import { createOnce } from "./once.ts";
import { createKeyProofs } from "./proof.ts";
import { dpop, newSigner, type ProofOptions } from "./signer.fixture.ts";

const url = "https://custody.test/v1/whoami";
const clock = { now: 1_800_000_000_000, nowMs: () => clock.now, monotonicMs: () => clock.now };
const request = { method: "POST", url, credential: "the-credential" };
const signer = newSigner();
const proof = (options: Partial<ProofOptions> = {}) =>
  dpop(signer, { url, nowMs: clock.now, credential: "the-credential", ...options });

test("a proof of each kind of key is taken, once", async () => {
  const proofs = createKeyProofs(clock);
  for (const algorithm of ["EdDSA", "ES256"] as const) {
    const holder = newSigner(algorithm);
    const one = dpop(holder, {
      url: `${url}?q=1#x`,
      nowMs: clock.now,
      credential: "the-credential",
    });
    assert.equal((await proofs.verify(one, request)).jkt, holder.key.jkt);
    await assert.rejects(proofs.verify(one, request), { message: /used before/ });
  }
});

test("thumbprints are those of RFC 7638 and RFC 8037", () => {
  // RFC 8037 appendix A.3.
  const x = "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo";
  assert.equal(
    readPublicKey({ kty: "OKP", crv: "Ed25519", x })?.jkt,
    "kPrK_qmxVWaYVA9wwBF6Iuo3vVzz7TxHCTwXBygrS4k",
  );
});

test("what is not a proof of this request is refused", async () => {
  const proofs = createKeyProofs(clock);
  const other = newSigner();
  const hs = Buffer.from(JSON.stringify({ alg: "HS256", typ: "dpop+jwt", jwk: signer.key.jwk }));
  const cases: Record<string, [string, RegExp]> = {
    "another method": [proof({ method: "GET" }), /htm/],
    "another path": [proof({ url: "https://custody.test/v1/targets" }), /htu/],
    "another host": [proof({ url: "https://evil.test/v1/whoami" }), /htu/],
    "no URL": [proof({ claims: { htu: "whoami" } }), /htu/],
    "another credential": [proof({ credential: "another" }), /ath/],
    "no credential": [proof({ claims: { ath: undefined } }), /ath/],
    "too old": [proof({ nowMs: clock.now - 61_000 }), /too old/],
    "from the future": [proof({ nowMs: clock.now + 32_000 }), /future/],
    "no time": [proof({ claims: { iat: undefined } }), /iat/],
    "a time that is text": [proof({ claims: { iat: "now" } }), /iat/],
    "no id": [proof({ claims: { jti: undefined } }), /jti/],
    "a long id": [proof({ claims: { jti: "x".repeat(300) } }), /jti/],
    "an unknown claim": [proof({ claims: { crit: ["x"] } }), /not known/],
    "another type": [proof({ header: { typ: "JWT" } }), /typ/],
    "the key of another": [proof({ header: { jwk: other.key.jwk } }), /signature/],
    "no key": [proof({ header: { jwk: undefined } }), /jwk/],
    "a private key": [proof({ header: { jwk: { ...signer.key.jwk, d: "x" } } }), /jwk/],
    "a symmetric key": [proof({ header: { jwk: { kty: "oct", k: "c2VjcmV0" } } }), /jwk/],
    "alg none": [proof({ header: { alg: "none" } }), /signature/],
    "alg HS256": [`${hs.toString("base64url")}.e30.AAAA`, /signature/],
    "two proofs": [`${proof()}, ${proof()}`, /signature|signed JWT/],
    nothing: ["", /signed JWT/],
    "a long one": ["x".repeat(5000), /too long/],
  };
  for (const [what, [text, message]] of Object.entries(cases))
    await assert.rejects(proofs.verify(text, request), { code: "unauthenticated", message }, what);
});

test("the memory of used proofs is bounded, refuses when full, and forgets what is past", () => {
  const once = createOnce(clock, 3);
  for (const value of ["a", "b", "c"]) assert.equal(once.use(value, clock.now + 1000), true);
  assert.equal(once.use("a", clock.now + 1000), false);
  assert.throws(() => once.use("d", clock.now + 1000), { code: "limit" });
  clock.now += 1001;
  assert.equal(once.use("a", clock.now + 1000), true);
  assert.equal(once.use("d", clock.now + 1000), true);
});
