import assert from "node:assert/strict";
import { after, before, describe, it } from "node:test";
import { check, property, string } from "fast-check";
import { openTestDoor, type TestDoor } from "../../../../conformance/support/kubernetes-door.ts";
import { engineer, policy } from "../../access/access.fixture.ts";
import { Secret } from "../../base/secret.ts";
import { splitJustification } from "./justification.ts";

const why = (text: string) => `why.${Buffer.from(text).toString("base64url")}`;
let door: TestDoor;

before(async () => {
  door = await openTestDoor({
    answer: (_request, answer) => void answer.end(),
    policies: policy(`
      @id("connect") permit (principal, action == Custody::Action::"connect", resource);
      @id("all") permit (principal, action in K8s::Action::"data", resource);
      @id("asks") @justification("required")
      forbid (principal, action == K8s::Action::"delete", resource) unless { context.approved };
    `),
    hops: [engineer],
  });
});

after(() => door[Symbol.asyncDispose]());

async function remove(headers: Record<string, string>) {
  const path = "/api/v1/namespaces/shop/pods/p";
  const answer = await door.ask(path, { method: "DELETE", headers });
  return { status: answer.status, text: await answer.text() };
}

describe("a justification", () => {
  it("behind the token reaches approvers, and is no part of the credential", async () => {
    const said = await remove({ authorization: `Bearer good~${why("ticket 4711 – now")}` });
    assert.equal(said.status, 429);
    assert.equal(door.held.at(-1)?.justification, "ticket 4711 – now");
    const { credential } = door.opened.at(-1) ?? assert.fail("no session");
    assert.ok(credential instanceof Secret && credential.reveal() === "good");
  });

  it("in the header counts before it, and is of this request alone", async () => {
    const authorization = `Bearer good~${why("one")}`;
    const header = { "custody-justification": "other" };
    await remove({ authorization, ...header });
    assert.equal(door.held.at(-1)?.justification, "other");
    await remove({ authorization });
    assert.equal(door.held.at(-1)?.justification, "one");
  });

  it("that a policy requires and nobody gave is asked for before anybody is", async () => {
    const before = door.held.length;
    for (const authorization of ["Bearer good", `Bearer good~${why("  ")}`]) {
      const { status, text } = await remove({ authorization });
      assert.equal(status, 403);
      assert.match(text, /needs a justification[^.]*CUSTODY_JUSTIFICATION/);
    }
    assert.equal(door.held.length, before);
    assert.equal(door.leaves.at(-1)?.event, "command.denied");
  });

  it("that is none is refused", async () => {
    for (const authorization of [
      `Bearer good~${why("a\nb")}`,
      `Bearer good~${why("x".repeat(501))}`,
      `Bearer good~why.${Buffer.of(0xff, 0xfe).toString("base64url")}`,
    ])
      assert.equal((await remove({ authorization })).status, 400);
    assert.equal((await remove({ authorization: `Bearer ${why("only this")}` })).status, 401);
  });

  it("is split off whatever it says, and nothing else is", () => {
    check(
      property(string({ maxLength: 200 }), (text) => {
        const plain = text.trim();
        if (/\p{Cc}/u.test(plain) || !plain.isWellFormed()) return;
        const split = splitJustification(`cst_a_b~x.y.z~${why(text)}`);
        assert.deepEqual(split, {
          token: "cst_a_b~x.y.z",
          justification: plain === "" ? undefined : plain,
        });
      }),
    );
    for (const token of ["cst_a_b", "a.b.c~d.e.f", "why", ""])
      assert.deepEqual(splitJustification(token), { token, justification: undefined });
  });
});
