import assert from "node:assert/strict";
import test from "node:test";
import fc from "fast-check";
import { decodeOauthToken, oauthRefusal } from "./oauthbearer.ts";

const AUTHENTICATION = { name: "WireError", code: "authentication" };
const A = "\x01";
const decode = (text: string) => decodeOauthToken(Buffer.from(text, "latin1"));

test("the token of RFC 7628, of libpq, and of who only asks", () => {
  const rfc =
    "n,,^Ahost=server.example.com^Aport=143^Aauth=Bearer vF9dft4qmTc2Nvb3RlckBhbHRhdmlzdGEuY29tCg==^A^A";
  assert.equal(decode(rfc.replaceAll("^A", A)), "vF9dft4qmTc2Nvb3RlckBhbHRhdmlzdGEuY29tCg==");
  assert.equal(decode(`n,,${A}auth=Bearer cst_7f3k_abc${A}${A}`), "cst_7f3k_abc");
  assert.equal(decode(`y,,${A}auth=bearer  a.b-c~d${A}${A}`), "a.b-c~d");
  assert.equal(decode(`n,,${A}auth=${A}${A}`), "");
});

for (const [name, text] of [
  ["an authorization identity", `n,a=other,${A}auth=Bearer x${A}${A}`],
  ["a channel binding", `p=tls-server-end-point,,${A}auth=Bearer x${A}${A}`],
  ["no last separator", `n,,${A}auth=Bearer x${A}`],
  ["something behind it", `n,,${A}auth=Bearer x${A}${A}more`],
  ["an empty field", `n,,${A}${A}auth=Bearer x${A}${A}`],
  ["no auth", `n,,${A}host=x${A}${A}`],
  ["no fields", `n,,${A}${A}`],
  ["two tokens", `n,,${A}auth=Bearer x${A}auth=Bearer y${A}${A}`],
  ["another scheme", `n,,${A}auth=Basic dXNlcg==${A}${A}`],
  ["a scheme and no token", `n,,${A}auth=Bearer ${A}${A}`],
  ["a token with a blank", `n,,${A}auth=Bearer x y${A}${A}`],
  ["a NUL in the token", `n,,${A}auth=Bearer x\0${A}${A}`],
  ["a field without a value", `n,,${A}auth${A}${A}`],
  ["nothing", ""],
  ["too long", `n,,${A}auth=Bearer ${"x".repeat(70_000)}${A}${A}`],
] as const)
  test(`refused: ${name}`, () => {
    assert.throws(() => decode(text), AUTHENTICATION);
  });

test("random bytes are refused and nothing worse", () => {
  fc.assert(
    fc.property(fc.uint8Array({ maxLength: 200 }), (bytes) => {
      assert.throws(() => decodeOauthToken(bytes), AUTHENTICATION);
    }),
  );
});

test("the refusal is RFC 7628's JSON", () => {
  const discoveryUrl = "https://gw.example/.well-known/oauth-authorization-server";
  assert.deepEqual(JSON.parse(oauthRefusal({ discoveryUrl, scope: "openid" }).toString()), {
    status: "invalid_token",
    "openid-configuration": discoveryUrl,
    scope: "openid",
  });
});
