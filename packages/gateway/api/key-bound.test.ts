import assert from "node:assert/strict";
import { createPublicKey, randomUUID, verify } from "node:crypto";
import { after, beforeEach, describe, test } from "node:test";
import { GRANT_TYPE_TOKEN_EXCHANGE, TOKEN_TYPE } from "@custody/contract/oauth.ts";
import {
  type Answer,
  at,
  bearer,
  GRANT,
  NARROW,
  startControlApi,
} from "../../../conformance/support/control-api.ts";
import { Secret } from "../base/secret.ts";
import { leafOf } from "../delegation/chain.ts";
import { statementNodeId } from "../delegation/hop-statement.ts";
import {
  dpop,
  hopStatement,
  newSigner,
  presentation,
  type Signer,
  sha256,
} from "../delegation/signer.fixture.ts";

const api = await startControlApi();
after(() => api[Symbol.asyncDispose]());
beforeEach(() => api.side.clock.advance(10_000));
const { call, corp, form, side } = api;
const { issuer } = side;
const url = (path: string): string => new URL(path, issuer).href;

/** A token request with a proof of the key that what it makes is to be bound to. */
function exchange(fields: Record<string, string>, signer?: Signer): Promise<Answer> {
  const headers =
    signer === undefined
      ? {}
      : { dpop: dpop(signer, { url: url("/token"), nowMs: side.clock.nowMs() }) };
  return form("/token", { grant_type: GRANT_TYPE_TOKEN_EXCHANGE, ...fields }, headers);
}

async function signIn(signer: Signer, fields: Record<string, string> = {}) {
  const answer = await exchange(
    {
      subject_token: await corp.idToken("engineer"),
      subject_token_type: TOKEN_TYPE.idToken,
      ...fields,
    },
    signer,
  );
  assert.equal(answer.status, 200, answer.text);
  assert.equal(at(answer, "token_type"), "DPoP");
  return { id: String(at(answer, "delegation_id")), token: String(at(answer, "access_token")) };
}

function shown(path: string, token: string, signer: Signer): Promise<Answer> {
  const proof = dpop(signer, {
    method: "GET",
    url: url(path),
    nowMs: side.clock.nowMs(),
    credential: token,
  });
  return call("GET", path, { headers: { authorization: `DPoP ${token}`, dpop: proof } });
}

interface Parent {
  readonly id: string;
  readonly root: string;
  readonly depth: number;
  readonly statement?: string;
}

/** The claims of a statement that fits; `changes` make it one that does not. */
function state(signer: Signer, parent: Parent, changes: object = {}): string {
  const iat = Math.floor(side.clock.nowMs() / 1000);
  return hopStatement(
    signer,
    {
      aud: issuer,
      root: parent.root,
      parent: parent.id,
      parent_hash: parent.statement === undefined ? null : sha256(parent.statement),
      depth: parent.depth + 1,
      iat,
      exp: iat + 600,
      authorization_details: [GRANT],
      actor: { name: "agent" },
      cnf: null,
    },
    changes,
  );
}

const agent = { actor_token: "agent", actor_token_type: TOKEN_TYPE.agentName };

describe("a delegation bound to a key", () => {
  test("is of no use as a bare bearer, and each request proves its key", async () => {
    const holder = newSigner("ES256");
    for (const shape of [TOKEN_TYPE.jwt, TOKEN_TYPE.handle]) {
      const { token, id } = await signIn(holder, { requested_token_type: shape });
      const bare = await call("GET", "/v1/whoami", bearer(token));
      assert.equal(bare.status, 401, bare.text);
      assert.match(String(bare.headers.get("www-authenticate")), /DPoP .*algs="EdDSA ES256"/);
      const proved = await shown("/v1/whoami", token, holder);
      assert.equal(proved.status, 200, proved.text);
      assert.equal(at(proved, "delegation.keyThumbprint"), holder.key.jkt);
      assert.equal((await shown("/v1/whoami", token, newSigner())).status, 401);
      const told = await form("/introspect", { token }, bearer(await api.signIn("admin")).headers);
      assert.equal(at(told, "cnf.jkt"), holder.key.jkt);
      assert.equal(at(told, "token_type"), "DPoP");
      // In a password field: with a presentation, and not without.
      await assert.rejects(side.authenticate(new Secret(token)), { code: "unauthenticated" });
      const now = { issuer, nowMs: side.clock.nowMs() };
      const password = `${token}~${presentation(holder, token, now)}`;
      assert.equal(leafOf(await side.authenticate(new Secret(password))).delegationId, id);
      assert.equal((await call("GET", "/v1/whoami", bearer(password))).status, 401);
    }
  });

  test("one proof is good for one request, and none for a delegation without a key", async () => {
    const holder = newSigner();
    const { token } = await signIn(holder);
    const options = { method: "GET", url: url("/v1/whoami"), nowMs: side.clock.nowMs() };
    const proof = dpop(holder, { ...options, credential: token });
    const headers = { authorization: `DPoP ${token}`, dpop: proof };
    assert.equal((await call("GET", "/v1/whoami", { headers })).status, 200);
    assert.equal((await call("GET", "/v1/whoami", { headers })).status, 401);
    const plain = await api.signIn("engineer");
    assert.equal((await shown("/v1/whoami", plain, holder)).status, 401);
    const none = await call("GET", "/v1/whoami", { headers: { authorization: `DPoP ${token}` } });
    assert.equal(none.status, 401);
    const bad = await form(
      "/token",
      { grant_type: GRANT_TYPE_TOKEN_EXCHANGE, subject_token: token, subject_token_type: "x" },
      { dpop: "not.a.proof" },
    );
    assert.equal(at(bad, "error"), "invalid_dpop_proof");
  });

  test("a presentation is for this gateway, this credential and a short time", async () => {
    const holder = newSigner();
    const { token } = await signIn(holder);
    const other = await signIn(holder);
    const now = { issuer, nowMs: side.clock.nowMs() };
    const iat = Math.floor(now.nowMs / 1000);
    const attempts: Record<string, string> = {
      "of another credential": presentation(holder, other.token, now),
      "with another key": presentation(newSigner(), token, now),
      "for another gateway": presentation(holder, token, now, { aud: "https://other.test" }),
      expired: presentation(holder, token, now, { iat: iat - 600, exp: iat }),
      "that lives a day": presentation(holder, token, now, { exp: iat + 86_400 }),
      "from the future": presentation(holder, token, now, { iat: iat + 600, exp: iat + 700 }),
      "with an unknown claim": presentation(holder, token, now, { scope: "all" }),
    };
    for (const [what, text] of Object.entries(attempts))
      await assert.rejects(
        side.authenticate(new Secret(`${token}~${text}`)),
        { code: "unauthenticated" },
        what,
      );
    const plain = await api.signIn("engineer");
    const credential = new Secret(`${plain}~${presentation(holder, plain, now)}`);
    await assert.rejects(side.authenticate(credential), { code: "unauthenticated" });
  });
});

describe("a hop statement", () => {
  test("is needed below a key, kept, and checked by whoever has the parent's key", async () => {
    const holder = newSigner();
    const child = newSigner();
    const root = await signIn(holder);
    const parent = { id: root.id, root: root.id, depth: 0 };
    const request = {
      subject_token: root.token,
      subject_token_type: TOKEN_TYPE.jwt,
      authorization_details: JSON.stringify([GRANT]),
      ...agent,
    };
    const without = await exchange(request, child);
    assert.equal(at(without, "error"), "invalid_request");
    assert.match(String(at(without, "error_description")), /need a hop statement/);
    const statement = state(holder, parent, { cnf: { jwk: child.key.jwk } });
    const made = await exchange({ ...request, hop_statement: statement }, child);
    assert.equal(made.status, 200, made.text);
    const id = String(at(made, "delegation_id"));
    const told = await shown(`/v1/delegations/${id}`, root.token, holder);
    assert.equal(at(told, "statement"), statement);
    assert.equal(at(told, "provenance"), "possession");
    assert.deepEqual(at(told, "key"), child.key.jwk);
    // What an auditor does: the public key of the parent, the statement, and nothing of the gateway's.
    const above = await shown(`/v1/delegations/${root.id}`, root.token, holder);
    const [header = "", claims = "", signature = ""] = statement.split(".");
    const jwk = at(above, "key");
    assert.ok(typeof jwk === "object" && jwk !== null);
    const key = createPublicKey({ key: { ...jwk }, format: "jwk" });
    const input = Buffer.from(`${header}.${claims}`);
    assert.ok(verify(null, input, key, Buffer.from(signature, "base64url")));
    const leaves = await side.leaves();
    const created = leaves.findLast(({ event }) => event === "delegation.created");
    assert.equal(Object(created?.detail).statement, sha256(statement));
    assert.equal(Object(created?.detail).jkt, child.key.jkt);
    // Once.
    const again = await exchange({ ...request, hop_statement: statement }, child);
    assert.match(String(at(again, "error_description")), /used before/);
  });

  test("that is not exactly what is asked, by the parent, for this place, is refused", async () => {
    const holder = newSigner();
    const root = await signIn(holder);
    const twin = await signIn(holder);
    const parent = { id: root.id, root: root.id, depth: 0 };
    const iat = Math.floor(side.clock.nowMs() / 1000);
    const hs256 = `${Buffer.from('{"alg":"HS256","typ":"custody-hop+jwt"}').toString("base64url")}.e30.AAAA`;
    const refused: Record<string, string> = {
      "of another key": state(newSigner(), parent),
      "for another parent of the same key": state(holder, { ...parent, id: twin.id }),
      "for another root": state(holder, { ...parent, root: twin.id }),
      "for another depth": state(holder, { ...parent, depth: 1 }),
      "below a statement the parent has not": state(holder, { ...parent, statement: "x" }),
      "for another gateway": state(holder, parent, { aud: "https://other.test" }),
      "that outlives the parent": state(holder, parent, { exp: iat + 90_000 }),
      "that has expired": state(holder, parent, { iat: iat - 20, exp: iat - 10 }),
      "signed long ago": state(holder, parent, { iat: iat - 400 }),
      "from the future": state(holder, parent, { iat: iat + 400 }),
      "about another actor": state(holder, parent, { actor: { name: "other" } }),
      "about an actor of no known kind": state(holder, parent, { actor: { name: "agent", x: 1 } }),
      "about another grant": state(holder, parent, { authorization_details: [NARROW] }),
      "about no grant": state(holder, parent, { authorization_details: undefined }),
      "with an unknown constraint": state(holder, parent, {
        authorization_details: [{ ...GRANT, hours: "9-17" }],
      }),
      "with a constraint of an unknown type": state(holder, parent, {
        authorization_details: [{ ...GRANT, type: "payment" }],
      }),
      "with an unknown member": state(holder, parent, { crit: ["x"] }),
      "about a key that was not proved": state(holder, parent, {
        cnf: { jwk: newSigner().key.jwk },
      }),
      "without its number": state(holder, parent, { jti: undefined }),
      "of another type": holder.jws({ typ: "JWT" }, { aud: issuer, jti: randomUUID() }),
      "with a symmetric signature": hs256,
      "that is no JWS": "statement",
    };
    const ask = (statement: string) =>
      exchange({
        subject_token: root.token,
        subject_token_type: TOKEN_TYPE.jwt,
        authorization_details: JSON.stringify([GRANT]),
        hop_statement: statement,
        ...agent,
      });
    for (const [what, statement] of Object.entries(refused)) {
      const answer = await ask(statement);
      assert.equal(answer.status, 400, `${what}: ${answer.text}`);
    }
    assert.equal(side.tree.subtree(root.id, 10).length, 1);
    assert.equal((await ask(state(holder, parent))).status, 200);
    // And none where the parent has no key that it could fit.
    const plain = await api.signIn("engineer");
    const answer = await exchange({
      subject_token: plain,
      subject_token_type: TOKEN_TYPE.jwt,
      authorization_details: JSON.stringify([GRANT]),
      hop_statement: state(holder, parent),
      ...agent,
    });
    assert.equal(at(answer, "error"), "invalid_request");
  });
});

describe("children signed offline", () => {
  const chainOf = async (depth: number) => {
    const holder = newSigner();
    const root = await signIn(holder, { offline_children: "true" });
    const statements: string[] = [];
    let signer = holder;
    let parent: Parent = { id: root.id, root: root.id, depth: 0 };
    for (let hop = 0; hop < depth; hop++) {
      const child = newSigner(hop % 2 === 0 ? "ES256" : "EdDSA");
      const statement = state(signer, parent, {
        cnf: { jwk: child.key.jwk },
        actor: { name: `hop ${hop + 1}` },
        authorization_details: [hop === 0 ? GRANT : NARROW],
      });
      statements.push(statement);
      parent = { id: statementNodeId(statement), root: root.id, depth: hop + 1, statement };
      signer = child;
    }
    return { holder, root, statements, signer, parent };
  };
  const now = () => ({ issuer, nowMs: side.clock.nowMs() });

  test("are registered at first use, listed, and revoked like any other", async () => {
    const { holder, root, statements, signer, parent } = await chainOf(3);
    const base = statements.join("~");
    assert.equal(side.tree.subtree(root.id, 10).length, 1);
    const password = new Secret(`${base}~${presentation(signer, base, now())}`);
    const chain = await side.authenticate(password);
    assert.deepEqual(
      chain.hops.map(({ provenance }) => provenance),
      ["attested", "possession", "possession", "possession"],
    );
    assert.equal(leafOf(chain).delegationId, parent.id);
    const listed = await shown(`/v1/delegations/${parent.id}`, root.token, holder);
    assert.equal(at(listed, "depth"), 3);
    assert.equal(at(listed, "statement"), statements[2]);
    const leaves = await side.leaves();
    const created = leaves.filter(
      ({ event, detail }) => event === "delegation.created" && Object(detail).shape === "offline",
    );
    assert.deepEqual(
      created.slice(-3).map(({ detail }) => Object(detail).statement),
      statements.map(sha256),
    );
    // Over HTTP with a proof, and again with the same nodes.
    assert.equal((await shown("/v1/whoami", base, signer)).status, 200);
    assert.equal(side.tree.subtree(root.id, 10).length, 4);
    const middle = chain.hops[1]?.delegationId ?? "";
    side.lifecycle.revoke(side.tree.chain(root.id), middle, undefined);
    await assert.rejects(side.authenticate(password), { message: /revoked/ });
    assert.equal((await shown("/v1/whoami", base, signer)).status, 401);
  });

  test("need the key of the leaf: statements are no secret", async () => {
    const { root, statements, holder } = await chainOf(2);
    const base = statements.join("~");
    const attempts = [base, `${base}~${presentation(holder, base, now())}`];
    for (const text of attempts)
      await assert.rejects(side.authenticate(new Secret(text)), { code: "unauthenticated" });
    await assert.rejects(side.authenticate(new Secret(base), "unproved-will-do"), {
      code: "unauthenticated",
    });
    assert.equal((await form("/revoke", { token: base })).status, 200);
    assert.equal(side.tree.subtree(root.id, 10).length, 1);
  });

  test("are refused below a root that did not allow them, or was revoked, and when spliced", async () => {
    const open = async (statements: readonly string[], signer: Signer) => {
      const base = statements.join("~");
      return side.authenticate(new Secret(`${base}~${presentation(signer, base, now())}`));
    };
    const refused = { code: "unauthenticated" };
    const strict = newSigner();
    const closed = await signIn(strict);
    const leaf = newSigner();
    const cnf = { jwk: leaf.key.jwk };
    const parent = { id: closed.id, root: closed.id, depth: 0 };
    await assert.rejects(open([state(strict, parent, { cnf })], leaf), /does not allow/);
    const one = await chainOf(2);
    const two = await chainOf(2);
    const [first = "", second = ""] = one.statements;
    const [otherFirst = "", otherSecond = ""] = two.statements;
    await assert.rejects(open([first, otherSecond], two.signer), refused);
    await assert.rejects(open([otherFirst, second], one.signer), refused);
    await assert.rejects(open([second, first], one.signer), refused);
    await assert.rejects(open([second], one.signer), refused);
    // A hop that widens, outlives or says what is not known, signed by the right key.
    const iat = Math.floor(side.clock.nowMs() / 1000);
    const wrong: object[] = [
      { authorization_details: [GRANT] },
      { authorization_details: [{ ...NARROW, when: "always" }] },
      { exp: iat + 3600 },
      { iat: iat - 60 },
      { depth: 1 },
      { root: two.root.id },
      { parent_hash: null },
      { cnf: null },
      { actor: { name: "corp/dba1@example.com" } },
      { actor: { token_hash: sha256("x") } },
      { may: "everything" },
    ];
    for (const changes of wrong) {
      const statement = state(one.signer, one.parent, {
        cnf,
        authorization_details: [NARROW],
        ...changes,
      });
      const what = JSON.stringify(changes);
      await assert.rejects(open([...one.statements, statement], leaf), refused, what);
    }
    side.lifecycle.revoke(side.tree.chain(two.root.id), two.root.id, undefined);
    await assert.rejects(open(two.statements, two.signer), /revoked/);
  });

  test("need a sign-in with a key, and are no one's but a root's to allow", async () => {
    const token = await corp.idToken("engineer");
    const answer = await exchange({
      subject_token: token,
      subject_token_type: TOKEN_TYPE.idToken,
      offline_children: "true",
    });
    assert.equal(at(answer, "error"), "invalid_request", answer.text);
    const plain = await api.signIn("engineer");
    const child = await exchange({
      subject_token: plain,
      subject_token_type: TOKEN_TYPE.jwt,
      offline_children: "true",
      authorization_details: JSON.stringify([GRANT]),
      ...agent,
    });
    assert.equal(at(child, "error"), "invalid_request");
  });
});
