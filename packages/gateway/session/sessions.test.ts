import assert from "node:assert/strict";
import { describe, test } from "node:test";
import {
  type ControlSide,
  HOUR_MS,
  recordingBroker,
  startControlSide,
  testTarget,
} from "../../../conformance/support/control-side.ts";
import { GatewayError } from "../base/errors.ts";
import { Secret } from "../base/secret.ts";
import { parseGrant } from "../delegation/grant.ts";
import { isRefused } from "../delegation/tree.ts";
import type { OpenSession, SessionEnd, SessionEvents } from "./control.ts";

const GRANT = parseGrant([
  { type: "custody", targets: ["orders"], accounts: ["*"], actions: ["sql:*"], resources: ["*"] },
]);

function signIn(side: ControlSide, ttlMs?: number) {
  const made = side.tree.signIn(
    {
      kind: "user",
      id: "corp/engineer",
      name: "engineer",
      subject: "corp/4711",
      groups: [],
      verifiedAtMs: side.clock.nowMs(),
    },
    ttlMs,
    "handle",
  );
  assert.ok(!isRefused(made) && made.handle !== undefined);
  return { id: made.node.id, handle: made.handle, chain: made.chain };
}

function delegate(side: ControlSide, parentId: string, ttlMs?: number) {
  const actor = { kind: "agent" as const, name: "ci" };
  const made = side.tree.delegate(parentId, { actor, grant: GRANT, ttlMs, shape: "handle" });
  assert.ok(!isRefused(made) && made.handle !== undefined);
  return { id: made.node.id, handle: made.handle, chain: made.chain };
}

function asked(credential: Secret, changes: Partial<OpenSession> = {}): OpenSession {
  return {
    protocol: "postgres",
    credential,
    target: "orders",
    account: undefined,
    database: "shop",
    clientAddress: "127.0.0.1",
    ...changes,
  };
}

function listening(): SessionEvents & { readonly ends: SessionEnd[]; readonly warnings: string[] } {
  const ends: SessionEnd[] = [];
  const warnings: string[] = [];
  return {
    ends,
    warnings,
    onEnd: (end) => ends.push(end),
    onWarning: (message) => warnings.push(message),
  };
}

describe("opening", () => {
  test("gives the chain, the only account and a credential of its own; each step is on record", async () => {
    await using side = await startControlSide();
    const agent = delegate(side, signIn(side).id);
    const opened = await side.control.openSession(asked(agent.handle), listening());
    assert.equal(opened.chain.hops.length, 2);
    assert.equal(opened.account, "ro");
    assert.equal(opened.upstream.user, `custody_${opened.sessionId}`);
    await side.control.closeSession(opened.sessionId, "client left", { pieces: 2, digest: "00" });
    assert.deepEqual(side.broker, { ...side.broker, released: [opened.sessionId] });
    const leaves = (await side.leaves()).filter(({ session }) => session === opened.sessionId);
    assert.deepEqual(
      leaves.map(({ event }) => event),
      ["session.opened", "session.closed"],
    );
    assert.deepEqual(leaves[1]?.detail, { pieces: 2, digest: "00" });
    assert.equal(side.store.sessions.find(opened.sessionId)?.closeReason, "client left");
    assert.equal(JSON.stringify(await side.leaves()).includes(agent.handle.reveal()), false);
  });

  test("is refused with a reason for what is unknown, and nothing is leased for it", async () => {
    const broker = recordingBroker();
    let leases = 0;
    const lease = broker.lease;
    const counted = {
      ...broker,
      lease: (request: Parameters<typeof lease>[0]) => {
        leases++;
        return lease(request);
      },
    };
    const several = { ...testTarget("several") };
    const accounts = [...several.accounts, { ...several.accounts[0]!, name: "rw" }];
    await using side = await startControlSide({
      broker: counted,
      targets: [testTarget(), { ...several, accounts }],
      mayConnect: (chain) => ({ allowed: chain.hops.length < 3, message: "too deep to connect" }),
    });
    const { handle, id } = signIn(side);
    const deep = delegate(side, delegate(side, id).id);
    const attempts: [OpenSession, string, RegExp][] = [
      [asked(new Secret("hunter2")), "unauthenticated", /not one of this gateway/],
      [asked(handle, { target: "billing" }), "not_found", /no target "billing"/],
      [asked(handle, { account: "root" }), "not_found", /no account "root"/],
      [asked(handle, { target: "several" }), "not_found", /several accounts/],
      [asked(handle, { database: "postgres" }), "not_found", /no database "postgres"/],
      [asked(deep.handle), "forbidden", /too deep to connect/],
    ];
    for (const [request, code, message] of attempts)
      await assert.rejects(side.control.openSession(request, listening()), { code, message });
    assert.equal(leases, 0);
    assert.equal(side.registry.under(undefined).length, 0);
    const refused = (await side.leaves()).filter(({ event }) => event === "session.refused");
    assert.equal(refused.length, attempts.length);
    assert.equal(JSON.stringify(refused).includes("hunter2"), false);
  });

  test("that the target refuses leaves nothing behind", async () => {
    const broker = recordingBroker();
    const down = new GatewayError("target_unavailable", "target orders cannot be reached");
    await using side = await startControlSide({
      broker: { ...broker, lease: () => Promise.reject(down) },
    });
    const { handle } = signIn(side);
    await assert.rejects(side.control.openSession(asked(handle), listening()), down);
    assert.equal(side.registry.under(undefined).length, 0);
  });

  test("is limited for each delegation, and a closed session gives its place back", async () => {
    await using side = await startControlSide({ sessionsPerDelegation: 1 });
    const { handle, id } = signIn(side);
    const { sessionId } = await side.control.openSession(asked(handle), listening());
    await assert.rejects(side.control.openSession(asked(handle), listening()), { code: "limit" });
    await side.control.openSession(asked(delegate(side, id).handle), listening());
    await side.control.closeSession(sessionId, "done", undefined);
    await side.control.openSession(asked(handle), listening());
  });

  test("does not outrun a revocation that comes while the credential is being made", async () => {
    const broker = recordingBroker();
    const gate = Promise.withResolvers<void>();
    await using side = await startControlSide({
      broker: {
        ...broker,
        lease: async (request) => {
          await gate.promise;
          return broker.lease(request);
        },
      },
    });
    const root = signIn(side);
    const events = listening();
    const opening = side.control.openSession(asked(root.handle), events);
    await new Promise(setImmediate);
    side.lifecycle.revoke(root.chain, root.id, undefined);
    gate.resolve();
    await assert.rejects(opening, { code: "revoked" });
    assert.equal(events.ends.length, 1);
    assert.equal(broker.released.length, 1);
    assert.equal(side.registry.under(undefined).length, 0);
  });
});

describe("revoking", () => {
  test("ends every session at or below: the targets in one call, and then all of them in the same turn", async () => {
    const broker = recordingBroker();
    await using side = await startControlSide({ broker });
    const root = signIn(side);
    const job = delegate(side, root.id);
    const agent = delegate(side, job.id);
    const sibling = delegate(side, root.id);
    const seen: string[] = [];
    const open = async (handle: Secret, name: string) => {
      const { sessionId } = await side.control.openSession(asked(handle), {
        onEnd: () => seen.push(`${name} after ${broker.ended.length} calls`),
        onWarning: () => undefined,
      });
      return sessionId;
    };
    const ids = [await open(job.handle, "job"), await open(agent.handle, "agent")];
    await open(sibling.handle, "sibling");
    await open(root.handle, "root");
    const done = side.lifecycle.revoke(root.chain, job.id, "gone wrong");
    assert.deepEqual(seen, ["job after 1 calls", "agent after 1 calls"]);
    assert.deepEqual(broker.ended, [ids]);
    assert.equal(done.revoked, 2);
    assert.equal(done.sessionsEnded, 2);
    const leaf = (await side.leaves()).find(({ event }) => event === "delegation.revoked");
    assert.deepEqual(leaf?.detail, { by: "corp/4711", revoked: 2, sessionsEnded: 2 });
    // A second revocation finds nothing to do.
    assert.equal(side.lifecycle.revoke(root.chain, job.id, undefined).sessionsEnded, 0);
  });

  test("is for who is at or above the delegation; for anybody else it does not exist", async () => {
    await using side = await startControlSide();
    const root = signIn(side);
    const [one, two] = [delegate(side, root.id), delegate(side, root.id)];
    for (const [caller, victim] of [
      [one, two],
      [one, root],
    ] as const)
      assert.throws(() => side.lifecycle.revoke(caller.chain, victim.id, undefined), {
        code: "not_found",
      });
    side.lifecycle.revoke(one.chain, one.id, undefined);
    assert.throws(() => side.tree.chain(one.id), /revoked/);
    assert.equal(side.tree.chain(two.id).hops.length, 2);
  });

  test("one handler that throws does not keep the next session alive", async () => {
    await using side = await startControlSide();
    const root = signIn(side);
    const events = listening();
    await side.control.openSession(asked(root.handle), {
      ...listening(),
      onEnd: () => {
        throw new Error("broken handler");
      },
    });
    await side.control.openSession(asked(root.handle), events);
    side.lifecycle.revoke(root.chain, root.id, undefined);
    assert.equal(events.ends.length, 1);
    assert.equal(side.faults.length, 1);
  });
});

describe("expiry", () => {
  test("warns five minutes and one minute before, then ends the session", async () => {
    const broker = recordingBroker();
    await using side = await startControlSide({ broker });
    const { handle } = signIn(side, 10 * 60_000);
    const events = listening();
    const { sessionId } = await side.control.openSession(asked(handle), events);
    side.registry.sweep();
    assert.deepEqual(events.warnings, []);
    side.clock.advance(5 * 60_000);
    side.registry.sweep();
    side.registry.sweep();
    assert.match(events.warnings.join("|"), /^this session ends in 5 minutes[^|]*$/);
    side.clock.advance(4 * 60_000);
    side.registry.sweep();
    assert.match(events.warnings[1] ?? "", /in 1 minute,/);
    assert.equal(events.ends.length, 0);
    side.clock.advance(60_000);
    side.registry.sweep();
    assert.equal(events.ends[0]?.code, "revoked");
    assert.match(events.ends[0]?.message ?? "", /expired/);
    assert.deepEqual(broker.ended, [[sessionId]]);
  });

  test("moves with a renewal, which the one below cannot give itself", async () => {
    await using side = await startControlSide();
    const root = signIn(side);
    const agent = delegate(side, root.id, 10 * 60_000);
    const events = listening();
    await side.control.openSession(asked(agent.handle), events);
    side.clock.advance(9 * 60_000);
    assert.throws(() => side.lifecycle.renew(agent.chain, agent.id, undefined), {
      code: "forbidden",
    });
    side.lifecycle.renew(root.chain, agent.id, HOUR_MS);
    side.clock.advance(30 * 60_000);
    side.registry.sweep();
    assert.equal(events.ends.length, 0);
    side.clock.advance(HOUR_MS);
    side.registry.sweep();
    assert.equal(events.ends.length, 1);
    const renewed = (await side.leaves()).filter(({ event }) => event === "delegation.renewed");
    assert.equal(renewed.length, 1);
  });
});
