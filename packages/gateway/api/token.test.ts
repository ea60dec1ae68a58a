import assert from "node:assert/strict";
import { after, beforeEach, describe, test } from "node:test";
import { GRANT_TYPE_TOKEN_EXCHANGE, TOKEN_TYPE } from "@custody/contract/oauth.ts";
import {
  at,
  bearer,
  GRANT,
  NARROW,
  startControlApi,
} from "../../../conformance/support/control-api.ts";

const api = await startControlApi();
after(() => api[Symbol.asyncDispose]());
// The limits on how often one may ask fill up again between tests.
beforeEach(() => api.side.clock.advance(10_000));
const { ci, corp, delegate, exchange, form, get, late, post, side, signIn } = api;

describe("token exchange", () => {
  test("signs a user in at depth 0, and each exchange below adds one hop and keeps the others", async () => {
    const root = await signIn("engineer");
    const job = await exchange({
      subject_token: root,
      subject_token_type: TOKEN_TYPE.accessToken,
      actor_token: await ci.idToken("shop-pipeline"),
      actor_token_type: TOKEN_TYPE.idToken,
      authorization_details: JSON.stringify([GRANT]),
      expires_in: "1800",
    });
    assert.equal(job.status, 200, job.text);
    assert.ok(Number(at(job, "expires_in")) <= 1800);
    const handle = await delegate(String(at(job, "access_token")), "sub-agent", NARROW);
    const whoami = await get("/v1/whoami", handle);
    assert.equal(whoami.status, 200, whoami.text);
    assert.deepEqual(
      [0, 1, 2].map((hop) => [
        at(whoami, `chain.${hop}.kind`),
        at(whoami, `chain.${hop}.provenance`),
      ]),
      [
        ["user", "attested"],
        ["workload", "attested"],
        ["agent", "bearer"],
      ],
    );
    assert.equal(at(whoami, "chain.0.id"), "corp/engineer");
    assert.equal(at(whoami, "chain.1.id"), "ci/shop-pipeline");
    assert.equal(at(whoami, "delegation.depth"), 2);
    const told = await form("/introspect", { token: handle }, bearer(root).headers);
    assert.equal(at(told, "active"), true);
    assert.equal(at(told, "sub"), `corp/${corp.subject("engineer")}`);
    assert.equal(at(told, "act.sub"), at(whoami, "delegation.id"));
    assert.equal(at(told, "act.act.sub"), `ci/${ci.subject("shop-pipeline")}`);
  });

  test("refuses what would widen, impersonate or confuse, and says what", async () => {
    const root = await signIn("engineer");
    const reader = await delegate(root, "reader", NARROW);
    const idToken = await corp.idToken("engineer");
    const pipeline = await ci.idToken("shop-pipeline");
    const details = JSON.stringify([NARROW]);
    const jwt = { subject_token: root, subject_token_type: TOKEN_TYPE.jwt };
    const agentName = { actor_token: "x", actor_token_type: TOKEN_TYPE.agentName };
    const cases: [string, Record<string, string>, string, RegExp][] = [
      [
        "no actor: impersonation",
        { ...jwt, authorization_details: details },
        "invalid_request",
        /impersonation/,
      ],
      [
        "no grant",
        { ...jwt, ...agentName },
        "invalid_authorization_details",
        /an empty grant is none/,
      ],
      [
        "an empty grant",
        { ...jwt, ...agentName, authorization_details: "[]" },
        "invalid_authorization_details",
        /at least one/,
      ],
      [
        "an unknown member",
        {
          ...jwt,
          ...agentName,
          authorization_details: JSON.stringify([{ ...NARROW, hosts: ["*"] }]),
        },
        "invalid_authorization_details",
        /hosts/,
      ],
      [
        "an unknown type",
        {
          ...jwt,
          ...agentName,
          authorization_details: JSON.stringify([{ ...NARROW, type: "payment" }]),
        },
        "invalid_authorization_details",
        /type/,
      ],
      [
        "no JSON",
        { ...jwt, ...agentName, authorization_details: "{" },
        "invalid_authorization_details",
        /JSON/,
      ],
      [
        "a grant that no token could carry",
        {
          ...jwt,
          ...agentName,
          authorization_details: JSON.stringify([
            { ...NARROW, resources: Array.from({ length: 32 }, () => "x".repeat(256)) },
          ]),
        },
        "invalid_authorization_details",
        /longer than/,
      ],
      [
        "a wider grant",
        {
          subject_token: reader,
          subject_token_type: TOKEN_TYPE.handle,
          ...agentName,
          authorization_details: JSON.stringify([GRANT]),
        },
        "invalid_authorization_details",
        /not in the parent's grant/,
      ],
      [
        "an audience of their choice",
        { ...jwt, ...agentName, authorization_details: details, audience: "https://db.internal" },
        "invalid_target",
        /itself only/,
      ],
      [
        "a resource of their choice",
        { ...jwt, ...agentName, authorization_details: details, resource: "https://db.internal" },
        "invalid_target",
        /itself only/,
      ],
      [
        "a longer life than the parent",
        { ...jwt, ...agentName, authorization_details: details, expires_in: "43300" },
        "invalid_request",
        /at most|more than/,
      ],
      [
        "an actor without its type",
        { ...jwt, actor_token: "x", authorization_details: details },
        "invalid_request",
        /go together/,
      ],
      [
        "a type without an actor",
        { ...jwt, actor_token_type: TOKEN_TYPE.agentName, authorization_details: details },
        "invalid_request",
        /go together/,
      ],
      [
        "a name that looks like a user",
        { ...jwt, ...agentName, actor_token: "corp/dba1", authorization_details: details },
        "invalid_request",
        /agent's name/,
      ],
      [
        "a list in a name",
        { ...jwt, ...agentName, actor_token: "a,b", authorization_details: details },
        "invalid_request",
        /agent's name/,
      ],
      [
        "a user as somebody's actor",
        {
          ...jwt,
          actor_token: idToken,
          actor_token_type: TOKEN_TYPE.idToken,
          authorization_details: details,
        },
        "invalid_request",
        /a user acts for themselves/,
      ],
      [
        "a delegation as proof of an actor",
        {
          ...jwt,
          actor_token: root,
          actor_token_type: TOKEN_TYPE.jwt,
          authorization_details: details,
        },
        "invalid_request",
        /no proof/,
      ],
      [
        "a delegation shown as an ID token",
        {
          ...jwt,
          subject_token_type: TOKEN_TYPE.idToken,
          ...agentName,
          authorization_details: details,
        },
        "invalid_request",
        /does not fit/,
      ],
      [
        "a handle shown as a JWT",
        {
          subject_token: reader,
          subject_token_type: TOKEN_TYPE.jwt,
          ...agentName,
          authorization_details: details,
        },
        "invalid_request",
        /does not fit/,
      ],
      [
        "an ID token shown as an access token",
        { subject_token: idToken, subject_token_type: TOKEN_TYPE.accessToken },
        "invalid_request",
        /takes ID tokens/,
      ],
      [
        "a provider's token with an actor",
        {
          subject_token: idToken,
          subject_token_type: TOKEN_TYPE.idToken,
          actor_token: pipeline,
          actor_token_type: TOKEN_TYPE.idToken,
        },
        "invalid_request",
        /signs its own principal in/,
      ],
      [
        "a sign-in with a grant",
        {
          subject_token: idToken,
          subject_token_type: TOKEN_TYPE.idToken,
          authorization_details: details,
        },
        "invalid_authorization_details",
        /carries no grant/,
      ],
      [
        "no subject",
        { ...agentName, authorization_details: details },
        "invalid_request",
        /subject_token/,
      ],
      [
        "an unknown subject type",
        { ...jwt, subject_token_type: "urn:x" },
        "invalid_request",
        /subject_token_type/,
      ],
      [
        "an unknown shape",
        { ...jwt, ...agentName, authorization_details: details, requested_token_type: "urn:x" },
        "invalid_request",
        /requested_token_type/,
      ],
      [
        "a scope",
        { ...jwt, ...agentName, authorization_details: details, scope: "all" },
        "invalid_request",
        /scopes are not used/,
      ],
      [
        "another grant type",
        { ...jwt, grant_type: "password" },
        "unsupported_grant_type",
        /grant_type/,
      ],
    ];
    for (const [what, fields, error, description] of cases) {
      const answer = await exchange(fields);
      assert.equal(answer.status, 400, `${what}: ${answer.text}`);
      assert.equal(at(answer, "error"), error, `${what}: ${answer.text}`);
      assert.match(String(at(answer, "error_description")), description, what);
      // RFC 6749 section 5.2: printable ASCII without quotation mark and backslash.
      assert.match(
        String(at(answer, "error_description")),
        /^[\x20-\x21\x23-\x5b\x5d-\x7e]*$/,
        what,
      );
    }
    const leaves = await side.leaves();
    assert.ok(leaves.some(({ event }) => event === "delegation.refused"));
    for (const secret of [root, reader, idToken, pipeline])
      assert.equal(JSON.stringify(leaves).includes(secret), false);
  });

  test("a parameter given twice is an error, and JSON is no form", async () => {
    const twice = await form("/token", [
      ["grant_type", GRANT_TYPE_TOKEN_EXCHANGE],
      ["grant_type", GRANT_TYPE_TOKEN_EXCHANGE],
    ]);
    assert.equal(at(twice, "error"), "invalid_request");
    const json = await post("/token", "x", { grant_type: GRANT_TYPE_TOKEN_EXCHANGE });
    assert.equal(json.status, 400);
  });

  test("a provider that is down is said to be down", async () => {
    const token = await late.idToken("engineer");
    late.fail("unavailable");
    const answer = await exchange({
      subject_token: token,
      subject_token_type: TOKEN_TYPE.idToken,
    });
    assert.equal(answer.status, 503, answer.text);
    assert.equal(at(answer, "error"), "temporarily_unavailable");
    assert.match(String(at(answer, "error_description")), /provider late/);
  });
});
