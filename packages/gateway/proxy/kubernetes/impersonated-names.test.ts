import assert from "node:assert/strict";
import { describe, it } from "node:test";
import fc from "fast-check";
import { GatewayError } from "../../base/errors.ts";
import type { Chain } from "../../delegation/chain.ts";
import { impersonated } from "./session-credentials.ts";

function named(id: string, groups: readonly string[] = []) {
  const chain: Chain = {
    hops: [
      {
        ...{ delegationId: "d-1", kind: "user", id, name: id, subject: "corp/1", groups },
        ...{ provenance: "attested", grant: undefined, expiresAtMs: 0 },
      },
    ],
  };
  return impersonated({ prefix: "custody:", groups: ["editors"], rootGroups: true }, chain, "s-1");
}

describe("whom a cluster sees", () => {
  it("is the name as it is where a header keeps it", () => {
    const { user, groups } = named("corp/ann@example.com", ["corp/dba", "corp/two words"]);
    assert.equal(user, "custody:corp/ann@example.com");
    assert.deepEqual(groups, ["editors", "custody:corp/dba", "custody:corp/two words"]);
  });

  it("is another for another name, whatever is in it", () => {
    const names = ["a?b", "aéb", "aèb", "a%b", "a%25b", "a b", "a  b", "ab", "ab ", "ab\t", "a\nb"];
    const users = names.map((name) => named(`corp/${name}`).user);
    assert.equal(new Set(users).size, names.length, users.join(" "));
    assert.equal(named("corp/Müller").user, "custody:corp/M%C3%BCller");
    assert.equal(named("corp/x", ["corp/admins "]).groups[1], "custody:corp/admins%20");
    fc.assert(
      fc.property(
        fc.string({ unit: "grapheme", maxLength: 20 }),
        fc.string({ unit: "grapheme", maxLength: 20 }),
        (one, other) => {
          const [first, second] = [named(one).user, named(other).user];
          assert.equal(first === second, one === other);
          // What a header keeps: printable, and no space at its end.
          assert.match(first, /^[\x21-\x7e]([\x20-\x7e]*[\x21-\x7e])?$/);
        },
      ),
    );
  });

  it("is nobody whose name no header can hold, and in no such group", () => {
    for (const name of ["x".repeat(2000), "é".repeat(400), "\ud800"])
      assert.throws(
        () => named(name),
        (error) => error instanceof GatewayError && error.code === "forbidden",
      );
    assert.deepEqual(named("corp/ann", ["y".repeat(2000), "\udc00"]).groups, ["editors"]);
  });
});
