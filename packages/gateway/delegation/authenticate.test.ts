import assert from "node:assert/strict";
import { createHmac, generateKeyPairSync, sign } from "node:crypto";
import { join } from "node:path";
import { DatabaseSync } from "node:sqlite";
import { describe, test } from "node:test";
import { type ControlSide, startControlSide } from "../../../conformance/support/control-side.ts";
import { Secret } from "../base/secret.ts";
import type { Principal } from "../identity/principal.ts";
import { leafOf } from "./chain.ts";
import { parseGrant } from "./grant.ts";
import { isRefused, type Shape } from "./tree.ts";

const ENGINEER: Principal = {
  kind: "user",
  id: "corp/engineer",
  name: "engineer",
  subject: "corp/4711",
  groups: [],
  verifiedAtMs: 0,
};
const GRANT = parseGrant([
  {
    type: "custody",
    targets: ["orders"],
    accounts: ["ro"],
    actions: ["sql:read"],
    resources: ["shop/*"],
  },
]);

function signIn(side: ControlSide, shape: Shape = "jwt") {
  const made = side.tree.signIn(ENGINEER, undefined, shape);
  assert.ok(!isRefused(made));
  return made;
}

function delegate(side: ControlSide, parentId: string, shape: Shape = "jwt") {
  const actor = { kind: "agent" as const, name: "ci" };
  const made = side.tree.delegate(parentId, { actor, grant: GRANT, ttlMs: undefined, shape });
  assert.ok(!isRefused(made));
  return made;
}

const refused = { code: "unauthenticated" };
const part = (value: object): string => Buffer.from(JSON.stringify(value)).toString("base64url");

describe("a JWT", () => {
  test("opens the chain it points at, with the actors nested and the current one outermost", async () => {
    await using side = await startControlSide();
    const one = delegate(side, signIn(side).node.id);
    const two = delegate(side, one.node.id);
    const token = await side.tokens.sign(two.chain);
    const claims = JSON.parse(Buffer.from(token.split(".")[1] ?? "", "base64url").toString());
    assert.equal(claims.sub, "corp/4711");
    assert.equal(claims.act.sub, two.node.id);
    assert.equal(claims.act.act.sub, one.node.id);
    assert.equal(claims.act.act.act, undefined);
    const chain = await side.authenticate(new Secret(token));
    assert.equal(leafOf(chain).delegationId, two.node.id);
  });

  test("is refused when anything but our key signed it", async () => {
    await using side = await startControlSide();
    const token = await side.tokens.sign(signIn(side).chain);
    const [header = "", payload = "", signature = ""] = token.split(".");
    const claims = JSON.parse(Buffer.from(payload, "base64url").toString());
    const { kid } = side.key;
    const typ = "custody-delegation+jwt";
    const foreign = generateKeyPairSync("ed25519");
    const jwk = foreign.publicKey.export({ format: "jwk" });
    const signedBy = (head: object, body: object = claims): string => {
      const input = `${part(head)}.${part(body)}`;
      return `${input}.${sign(null, Buffer.from(input), foreign.privateKey).toString("base64url")}`;
    };
    const hmac = (key: string): string => {
      const input = `${part({ alg: "HS256", typ, kid })}.${payload}`;
      return `${input}.${createHmac("sha256", key).update(input).digest("base64url")}`;
    };
    const publicPem = side.key.publicKey.export({ type: "spki", format: "pem" }).toString();
    const attempts: Record<string, string> = {
      "alg none": `${part({ alg: "none", typ })}.${payload}.`,
      "alg none with the old signature": `${part({ alg: "none", typ })}.${payload}.${signature}`,
      "our public key as an HMAC secret": hmac(publicPem),
      "our public x as an HMAC secret": hmac(String(side.key.jwk.x)),
      "another key under our kid": signedBy({ alg: "EdDSA", typ, kid }),
      "a key it brings along": signedBy({ alg: "EdDSA", typ, kid, jwk }),
      "a key it points at": signedBy({ alg: "EdDSA", typ, kid, jku: "https://evil.test/jwks" }),
      "an unknown critical header": signedBy({ alg: "EdDSA", typ, crit: ["x"], x: 1 }),
      "another payload": `${header}.${part({ ...claims, sub: "corp/1" })}.${signature}`,
      "no signature": `${header}.${payload}.`,
      garbage: "a.b.c",
      nothing: "",
    };
    for (const [what, attempt] of Object.entries(attempts))
      await assert.rejects(side.authenticate(new Secret(attempt)), refused, what);
    await side.authenticate(new Secret(token));
  });

  test("of ours, but of another type, audience or issuer, is refused", async () => {
    await using side = await startControlSide();
    const { chain } = signIn(side);
    const token = await side.tokens.sign(chain);
    const claims = JSON.parse(Buffer.from(token.split(".")[1] ?? "", "base64url").toString());
    const ours = (head: object, body: object): Secret => {
      const input = `${part({ alg: "EdDSA", kid: side.key.kid, ...head })}.${part(body)}`;
      const signature = sign(null, Buffer.from(input), side.key.privateKey);
      return new Secret(`${input}.${signature.toString("base64url")}`);
    };
    const typ = "custody-delegation+jwt";
    await side.authenticate(ours({ typ }, claims));
    const attempts: [object, object][] = [
      [{ typ: "JWT" }, claims],
      [{}, claims],
      [{ typ }, { ...claims, aud: "https://elsewhere.test" }],
      [{ typ }, { ...claims, iss: "https://elsewhere.test" }],
      [{ typ }, { ...claims, exp: undefined }],
      [{ typ }, { ...claims, delegation_id: undefined }],
      [{ typ }, { ...claims, delegation_id: "d-000000000000" }],
      // Signed by us and still not what the tree says.
      [{ typ }, { ...claims, sub: "corp/1" }],
      [{ typ }, { ...claims, act: { sub: "d-1" } }],
    ];
    for (const [head, body] of attempts)
      await assert.rejects(
        side.authenticate(ours(head, body)),
        refused,
        JSON.stringify([head, body]),
      );
  });

  test("dies with the revocation of any hop, at once", async () => {
    await using side = await startControlSide();
    const root = signIn(side);
    const one = delegate(side, root.node.id);
    const two = delegate(side, one.node.id);
    const token = new Secret(await side.tokens.sign(two.chain));
    await side.authenticate(token);
    side.tree.revoke(one.node.id, "corp/engineer", undefined);
    await assert.rejects(side.authenticate(token), /was revoked/);
  });
});

describe("a handle", () => {
  test("opens its own delegation and no other; a sibling's secret is of no use", async () => {
    await using side = await startControlSide();
    const root = signIn(side).node.id;
    const [one, two] = [delegate(side, root, "handle"), delegate(side, root, "handle")];
    assert.ok(one.handle !== undefined && two.handle !== undefined);
    const chain = await side.authenticate(one.handle);
    assert.equal(leafOf(chain).delegationId, one.node.id);
    const [, idOne] = one.handle.reveal().split("_");
    const [, , secretTwo] = two.handle.reveal().split("_");
    await assert.rejects(side.authenticate(new Secret(`cst_${idOne}_${secretTwo}`)), refused);
  });

  test("is refused when it is cut, guessed, unknown or of a JWT's delegation", async () => {
    await using side = await startControlSide();
    const root = signIn(side);
    const { handle } = delegate(side, root.node.id, "handle");
    const text = handle?.reveal() ?? "";
    const zeros = "0".repeat(52);
    for (const attempt of [
      text.slice(0, -1),
      `${text}0`,
      text.toUpperCase(),
      `${text} `,
      `cst_unknown00000_${zeros}`,
      `cst_${root.node.id.slice(2)}_${zeros}`,
      "cst__",
      "cst_",
    ])
      await assert.rejects(side.authenticate(new Secret(attempt)), refused, attempt);
  });

  test("does not verify against its own verifier in another's row", async () => {
    await using side = await startControlSide();
    const root = signIn(side).node.id;
    const [one, two] = [delegate(side, root, "handle"), delegate(side, root, "handle")];
    const database = new DatabaseSync(join(side.directory, "custody.db"));
    database
      .prepare("UPDATE delegations SET handle_verifier = ? WHERE id = ?")
      .run(one.node.handleVerifier ?? null, two.node.id);
    database.close();
    const secret = one.handle?.reveal().split("_")[2] ?? "";
    const moved = new Secret(`cst_${two.node.id.slice(2)}_${secret}`);
    await assert.rejects(side.authenticate(moved), refused);
  });

  test("is not in the store, nor anything it can be computed from", async () => {
    await using side = await startControlSide();
    const { handle, node } = delegate(side, signIn(side).node.id, "handle");
    const secret = handle?.reveal().split("_")[2] ?? "";
    assert.equal(secret.length, 52);
    const stored = side.tree.find(node.id);
    assert.equal(stored?.handleVerifier?.length, 32);
    assert.equal(JSON.stringify(stored).includes(secret), false);
  });
});
