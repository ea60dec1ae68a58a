import assert from "node:assert/strict";
import { after, beforeEach, describe, it } from "node:test";
import { openTestDoor, type TestDoor } from "../../../../conformance/support/kubernetes-door.ts";
import { engineer, policy } from "../../access/access.fixture.ts";

const CONNECT = `@id("connect") permit (principal, action == Custody::Action::"connect", resource);`;
const READ = `@id("read") permit (principal, action in K8s::Action::"read", resource);`;
const UNRELATED = `@id("more") permit (principal, action == K8s::Action::"create", resource);`;
const HOLD = `@id("asks") forbid (principal, action == K8s::Action::"watch", resource) unless { context.approved };`;
const NEVER = `@id("never") @message("not any more") forbid (principal, action == K8s::Action::"watch", resource);`;
const FILTER = `@id("filter") @filter("items") permit (principal, action == K8s::Action::"watch", resource);`;
const EVENING = `@id("evening") forbid (principal, action == K8s::Action::"watch", resource) when { context.time.hour >= 21 };`;
const GROUP = `@id("group") permit (principal in Custody::Group::"corp/engineers", action in K8s::Action::"read", resource);`;

const doors: TestDoor[] = [];
after(() => Promise.all(doors.map((door) => door[Symbol.asyncDispose]())));

let door: TestDoor;
beforeEach(async () => {
  door = await openTestDoor({
    answer: (request, answer) => {
      answer.writeHead(200, { "content-type": "application/json" });
      const isWatch = request.url?.includes("watch=") === true;
      const pod = { kind: "Pod", apiVersion: "v1", metadata: { name: "p", namespace: "shop" } };
      if (isWatch) answer.write(`${JSON.stringify({ type: "ADDED", object: pod })}\n`);
      else answer.end(JSON.stringify(pod));
    },
    policies: policy([CONNECT, READ].join("\n")),
    hops: [engineer],
  });
  doors.push(door);
});

const use = (...texts: string[]) => door.test.use(policy([CONNECT, ...texts].join("\n")));

async function watch() {
  const answer = await door.ask("/api/v1/namespaces/shop/pods?watch=1");
  assert.equal(answer.status, 200);
  const reader = (answer.body ?? assert.fail("no body")).getReader();
  const next = async () => {
    const { done, value } = await reader.read();
    return done ? undefined : Buffer.from(value as Uint8Array).toString();
  };
  assert.match((await next()) ?? "", /"ADDED"/);
  return {
    next,
    /** What it is told last. */
    async end() {
      const told = JSON.parse((await next()) ?? "null");
      assert.equal(await next(), undefined);
      return told as { type: string; object: { code: number; reason: string; message: string } };
    },
  };
}

describe("what runs while policies are reloaded", () => {
  for (const [what, policies, message] of [
    ["is forbidden", [READ, NEVER], /no longer permitted: not any more \(policy never\)/],
    ["is permitted by none", [], /no longer permitted: no policy permits it/],
    ["wants an approval", [READ, HOLD], /needs an approval now/],
    ["is permitted in part", [READ, FILTER], /on other terms now/],
  ] as const)
    it(`ends with a Status where it ${what}`, async () => {
      const running = await watch();
      use(...policies);
      const { object, type } = await running.end();
      assert.deepEqual([type, object.code, object.reason], ["ERROR", 403, "Forbidden"]);
      assert.match(object.message, message);
      const outcome = door.leaves.findLast(({ event }) => event === "command.outcome");
      assert.equal(outcome?.outcome, "forbidden");
    });

  it("goes on where it may, and a later reload still ends it", async () => {
    const running = await watch();
    use(READ, UNRELATED);
    const other = await watch();
    use(READ, UNRELATED, NEVER);
    for (const one of [running, other])
      assert.match((await one.end()).object.message, /not any more/);
  });

  it("ends as the clock passes what a policy reads", async () => {
    use(READ, EVENING);
    const running = await watch();
    door.test.clock.now += 3_600_000;
    assert.match((await running.end()).object.message, /policy evening/);
  });

  it("ends as a group is taken away", async () => {
    use(GROUP);
    const running = await watch();
    const [{ onChain } = assert.fail("no session")] = door.events;
    onChain?.({ hops: [{ ...engineer, groups: [] }] });
    assert.equal((await running.end()).object.code, 403);
  });
});
