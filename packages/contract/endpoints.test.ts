import assert from "node:assert/strict";
import { test } from "node:test";
import { endpoints, pathOf } from "./endpoints.ts";
import { GRANT_TYPE_TOKEN_EXCHANGE, TOKEN_TYPE, tokenRequestSchema } from "./oauth.ts";

test("each endpoint has a method and path of its own", () => {
  const seen = Object.values(endpoints).map((endpoint) => `${endpoint.method} ${endpoint.path}`);
  assert.equal(new Set(seen).size, seen.length);
});

test("parameters are encoded, so that an id cannot leave its segment", () => {
  assert.equal(pathOf("session", { id: "s-1/../x" }), "/v1/sessions/s-1%2F..%2Fx");
  assert.equal(pathOf("tile", { rest: "0/x001/234" }), "/v1/audit/tile/0/x001/234");
  assert.throws(() => pathOf("session"), /needs the parameter id/);
});

test("a token request with a misspelt or unused parameter is refused, not ignored", () => {
  const good = {
    grant_type: GRANT_TYPE_TOKEN_EXCHANGE,
    subject_token: "x",
    subject_token_type: TOKEN_TYPE.jwt,
  };
  assert.equal(tokenRequestSchema.safeParse(good).success, true);
  for (const extra of [{ actorToken: "x" }, { scope: "all" }, { expires_in: "-1" }])
    assert.equal(tokenRequestSchema.safeParse({ ...good, ...extra }).success, false);
});
