import assert from "node:assert/strict";
import { test } from "node:test";
import {
  agent,
  chainOf,
  createTestAccess,
  dba,
  engineer,
  entry,
  policy,
} from "./access.fixture.ts";

const target = { name: "orders", tags: { env: "demo" } };
const session = {
  ...{ account: "ro", protocol: "postgres", address: "10.1.2.3" },
  justification: undefined,
};

test("who may see a class in a recording is whom policies let unmask it there, and acts for themself", () => {
  const { control, use } = createTestAccess(
    policy(`
      @id("dbas-unmask-pii")
      permit (principal in Custody::Group::"corp/dba", action == Custody::Action::"unmask",
        resource in Custody::Class::"pii")
      when { context.account == "ro" && context.address.isInRange(ip("10.0.0.0/8")) };`),
  );
  const may = (
    hops: Parameters<typeof chainOf>[0],
    className = "pii.email",
    place: Partial<typeof session> = {},
  ): boolean =>
    control.mayUnmask(chainOf(hops), { target, session: { ...session, ...place } }, className)
      .allowed;
  assert.equal(may([dba]), true);
  assert.equal(may([engineer]), false);
  assert.equal(may([dba], "secret.token"), false);
  assert.equal(may([dba], "pii.email", { account: "rw" }), false);
  assert.equal(may([dba], "pii.email", { address: "192.0.2.1" }), false);
  assert.equal(may([dba, agent("job", [entry({ unmask: ["*"] })])]), false);
  // What takes consent in a session is not to be had by replaying it.
  use(
    policy(`
      @id("all") permit (principal, action == Custody::Action::"unmask", resource);
      @id("asks") @quorum("1") @approvers("corp/dba") @approval_ttl("15m")
      forbid (principal, action == Custody::Action::"unmask", resource)
      unless { context.approved };`),
  );
  assert.equal(may([dba]), false);
});
