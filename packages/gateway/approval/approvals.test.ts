import assert from "node:assert/strict";
import { describe, test } from "node:test";
import { commandDigest } from "@custody/evidence/node/command-digest.ts";
import {
  type ControlSide,
  type ControlSideOptions,
  startControlSide,
} from "../../../conformance/support/control-side.ts";
import type { Requirement } from "../access/operation.ts";
import { type Chain, leafOf } from "../delegation/chain.ts";
import { parseGrant } from "../delegation/grant.ts";
import { newSigner } from "../delegation/signer.fixture.ts";
import { isRefused } from "../delegation/tree.ts";
import type { HoldRequest, HoldState } from "../session/control.ts";
import { forWhom } from "./approvals.ts";

const GRANT = parseGrant([
  { type: "custody", targets: ["*"], accounts: ["*"], actions: ["sql:*"], resources: ["*"] },
]);
const PEOPLE = {
  erin: ["corp/engineer", "corp/erin-admin"],
  dana: ["corp/dba1", "partner/dana"],
  drew: ["corp/dba2"],
};

function requirement(changes: Partial<Requirement> = {}): Requirement {
  return {
    policyId: "deletes-need-a-dba",
    message: undefined,
    quorum: 1,
    approvers: ["corp/dba"],
    ttlMs: 15 * 60_000,
    justificationRequired: false,
    ...changes,
  };
}

function signIn(
  side: ControlSide,
  name: string,
  groups: readonly string[] = [],
  ttlMs: number | undefined = undefined,
) {
  const [provider = "corp", short = name] = name.includes("/") ? name.split("/") : ["corp", name];
  const made = side.tree.signIn(
    {
      kind: "user",
      id: `${provider}/${short}`,
      name: short,
      subject: `${provider}/subject-of-${short}`,
      groups,
      verifiedAtMs: side.clock.nowMs(),
    },
    ttlMs,
    "handle",
  );
  assert.ok(!isRefused(made) && made.handle !== undefined);
  return { chain: made.chain, handle: made.handle };
}

function delegate(side: ControlSide, chain: Chain) {
  const actor = { kind: "agent" as const, name: "ci" };
  const made = side.tree.delegate(leafOf(chain).delegationId, {
    actor,
    grant: GRANT,
    ttlMs: undefined,
    shape: "handle",
  });
  assert.ok(!isRefused(made) && made.handle !== undefined);
  return { chain: made.chain, handle: made.handle };
}

/** An engineer's CI job with a session that wants to delete, and two DBAs. */
async function scene(options: ControlSideOptions = {}) {
  const side = await startControlSide({ people: PEOPLE, ...options });
  const engineer = signIn(side, "engineer", ["corp/dba"]);
  const job = delegate(side, engineer.chain);
  const { sessionId } = await side.control.openSession(
    {
      protocol: "postgres",
      credential: job.handle,
      target: "orders",
      account: undefined,
      database: "shop",
      clientAddress: "127.0.0.1",
    },
    { onEnd: () => undefined, onWarning: () => undefined },
  );
  const states: HoldState[] = [];
  const ask = (changes: Partial<HoldRequest> = {}) =>
    side.control.requestApproval(
      {
        requestId: "r-1",
        sessionId,
        target: "orders",
        account: "ro",
        what: "delete on table public.orders",
        command: "DELETE FROM orders WHERE id = $1",
        parameters: ["7"],
        requirements: [requirement()],
        justification: undefined,
        binding: "binding-1",
        ...changes,
      },
      (state) => states.push(state),
    );
  return {
    side,
    engineer,
    job,
    sessionId,
    states,
    ask,
    dba1: signIn(side, "dba1", ["corp/dba"]).chain,
    dba2: signIn(side, "dba2", ["corp/dba"]).chain,
    [Symbol.asyncDispose]: () => side[Symbol.asyncDispose](),
  };
}

describe("an approval", () => {
  test("of who holds a key is signed, over this very request, and stands in the log", async () => {
    await using s = await scene();
    const { holdId } = await s.ask();
    const delegation = leafOf(s.dba1).delegationId;
    const iat = Math.floor(s.side.clock.nowMs() / 1000);
    const command = commandDigest("DELETE FROM orders WHERE id = $1");
    const claims = {
      hold: holdId,
      binding: "binding-1",
      command,
      vote: "approve",
      delegation,
      iat,
    };
    for (const algorithm of ["EdDSA", "ES256"] as const) {
      const signer = newSigner(algorithm);
      const { jkt, jwk } = signer.key;
      const head = { typ: "custody-vote+jwt", jwk };
      const other = newSigner(algorithm);
      const refused: readonly (readonly [string, string | undefined])[] = [
        ["nothing signed", undefined],
        ["another key", other.jws({ ...head, jwk: other.key.jwk }, claims)],
        ["another's name for the key", other.jws(head, claims)],
        ["another type", signer.jws({ ...head, typ: "dpop+jwt" }, claims)],
        ["another request", signer.jws(head, { ...claims, hold: "h-other" })],
        ["another binding", signer.jws(head, { ...claims, binding: "binding-2" })],
        ["another command", signer.jws(head, { ...claims, command: commandDigest("DROP") })],
        ["the other vote", signer.jws(head, { ...claims, vote: "deny" })],
        ["another sign-in", signer.jws(head, { ...claims, delegation: "d-other" })],
        ["another time", signer.jws(head, { ...claims, iat: iat - 3600 })],
        ["more than that", signer.jws(head, { ...claims, more: true })],
      ];
      for (const [what, statement] of refused)
        assert.throws(
          () => s.side.approvals.vote(s.dba1, holdId, "approve", { key: jkt, statement }),
          { code: "invalid" },
          what,
        );
    }
    assert.equal(s.side.approvals.find(holdId)?.votes.length, 0);
    const signer = newSigner();
    const statement = signer.jws({ typ: "custody-vote+jwt", jwk: signer.key.jwk }, claims);
    s.side.approvals.vote(s.dba1, holdId, "approve", { key: signer.key.jkt, statement });
    const leaf = (await s.side.leaves()).find(({ event }) => event === "hold.voted");
    assert.deepEqual(Object(leaf?.detail).statement, statement);
  });

  test("is asked for, given by a DBA, and spent once for exactly its binding", async () => {
    await using s = await scene();
    const hold = await s.ask();
    assert.deepEqual(hold.current, {
      state: "waiting",
      approvals: 0,
      quorum: 1,
      forWhom: "a member of corp/dba",
    });
    assert.equal(await s.side.control.spendApproval(hold.holdId, "binding-1"), false);
    s.side.approvals.vote(s.dba1, hold.holdId, "approve", { reason: "looks right" });
    assert.deepEqual(s.states, [
      { state: "approved", met: ["deletes-need-a-dba"], approvers: ["corp/dba1"] },
    ]);
    assert.equal(await s.side.control.spendApproval(hold.holdId, "binding-2"), false);
    const spends = [1, 2, 3].map(() => s.side.control.spendApproval(hold.holdId, "binding-1"));
    assert.deepEqual(await Promise.all(spends), [true, false, false]);
    const events = (await s.side.leaves()).map(({ event }) => event);
    assert.deepEqual(
      events.filter((event) => String(event).startsWith("hold.")),
      ["hold.requested", "hold.voted", "hold.ended"],
    );
    assert.equal(JSON.stringify(await s.side.leaves()).includes("DELETE"), false);
  });

  test("asked for again is the same request, and another binding or delegation another", async () => {
    await using s = await scene();
    const first = await s.ask();
    assert.equal((await s.ask({ requestId: "r-2" })).holdId, first.holdId);
    assert.notEqual((await s.ask({ binding: "binding-2" })).holdId, first.holdId);
    s.side.approvals.vote(s.dba1, first.holdId, "approve", {});
    const again = await s.ask();
    assert.equal(again.holdId, first.holdId);
    assert.equal(again.current.state, "approved");
    assert.equal(await s.side.control.spendApproval(first.holdId, "binding-1"), true);
    assert.notEqual((await s.ask()).holdId, first.holdId);
  });

  test("is not honoured past its time, given or not", async () => {
    await using s = await scene();
    const waiting = await s.ask();
    const approved = await s.ask({ binding: "binding-2" });
    s.side.approvals.vote(s.dba1, approved.holdId, "approve", {});
    s.side.clock.advance(15 * 60_000);
    assert.equal(await s.side.control.spendApproval(approved.holdId, "binding-2"), false);
    assert.throws(() => s.side.approvals.vote(s.dba1, waiting.holdId, "approve", {}), {
      code: "invalid",
      message: /is expired/,
    });
    s.side.approvals.sweep();
    assert.deepEqual(
      s.states.map(({ state }) => state),
      ["approved", "expired", "expired"],
    );
    assert.notEqual((await s.ask()).holdId, waiting.holdId);
  });

  test("is not told to who left, and stays open for the next attempt", async () => {
    await using s = await scene();
    const { holdId } = await s.ask();
    s.side.control.leaveHold(holdId, s.sessionId);
    s.side.approvals.vote(s.dba1, holdId, "approve", {});
    assert.deepEqual(s.states, []);
    assert.equal((await s.ask()).current.state, "approved");
  });

  test("dies with the delegation that asked", async () => {
    await using s = await scene();
    const { holdId } = await s.ask();
    const { chain } = s.engineer;
    s.side.lifecycle.revoke(chain, leafOf(chain).delegationId, undefined);
    assert.deepEqual(s.states, [{ state: "expired" }]);
    assert.throws(() => s.side.approvals.vote(s.dba1, holdId, "approve", {}), /is revoked/);
    assert.equal(await s.side.control.spendApproval(holdId, "binding-1"), false);
    await assert.rejects(s.ask({ binding: "after the end" }), { code: "not_found" });
  });

  test("is spent only while each vote stands: its voter not revoked, and still allowed to", async () => {
    let allowed = true;
    await using s = await scene({ mayApprove: () => ({ allowed }) });
    const two = [requirement({ quorum: 2 })];
    const hold = await s.ask({ requirements: two });
    s.side.approvals.vote(s.dba1, hold.holdId, "approve", {});
    const voter = leafOf(s.dba1).delegationId;
    s.side.lifecycle.revoke(s.dba1, voter, "laptop stolen");
    s.side.approvals.vote(s.dba2, hold.holdId, "approve", {});
    assert.equal(s.side.approvals.find(hold.holdId)?.state, "waiting");
    assert.equal(await s.side.control.spendApproval(hold.holdId, "binding-1"), false);
    // Approved, and then no more.
    const second = await s.ask({ binding: "binding-2" });
    s.side.approvals.vote(s.dba2, second.holdId, "approve", {});
    assert.equal(s.side.approvals.find(second.holdId)?.state, "approved");
    s.side.lifecycle.revoke(s.dba2, leafOf(s.dba2).delegationId, undefined);
    assert.equal(await s.side.control.spendApproval(second.holdId, "binding-2"), false);
    assert.equal(s.side.approvals.find(second.holdId)?.state, "revoked");
    const dba3 = signIn(s.side, "dba2", ["corp/dba"]).chain;
    const third = await s.ask({ binding: "binding-3" });
    s.side.approvals.vote(dba3, third.holdId, "approve", {});
    allowed = false;
    assert.equal(await s.side.control.spendApproval(third.holdId, "binding-3"), false);
    allowed = true;
    // A sign-in that ended in its own time takes nothing back.
    const fourth = await s.ask({ binding: "binding-4" });
    const brief = signIn(s.side, "dba2", ["corp/dba"], 60_000).chain;
    s.side.approvals.vote(brief, fourth.holdId, "approve", {});
    s.side.clock.advance(61_000);
    assert.equal(await s.side.control.spendApproval(fourth.holdId, "binding-4"), true);
  });

  test("is denied by one who may approve, for good", async () => {
    await using s = await scene();
    const { holdId } = await s.ask({ requirements: [requirement({ quorum: 2 })] });
    s.side.approvals.vote(s.dba1, holdId, "approve", {});
    s.side.approvals.vote(s.dba2, holdId, "deny", { reason: "not on a Friday" });
    assert.deepEqual(s.states.at(-1), {
      state: "denied",
      by: "corp/dba2",
      reason: "not on a Friday",
    });
    assert.equal(await s.side.control.spendApproval(holdId, "binding-1"), false);
  });

  test("needs a justification where a policy says so, and room", async () => {
    await using s = await scene();
    const requirements = [requirement({ justificationRequired: true })];
    for (const justification of [undefined, "", "  "])
      await assert.rejects(s.ask({ requirements, justification }), /needs a justification/);
    await s.ask({ requirements, justification: "ticket 12" });
    for (let index = 2; index <= 20; index++) await s.ask({ binding: `binding-${index}` });
    await assert.rejects(s.ask({ binding: "one too many" }), { code: "limit" });
  });
});

describe("a quorum", () => {
  test("counts persons, not accounts, groups or votes", async () => {
    await using s = await scene();
    const requirements = [requirement({ quorum: 2, approvers: ["corp/dba", "partner/dba"] })];
    const { holdId } = await s.ask({ requirements });
    s.side.approvals.vote(s.dba1, holdId, "approve", {});
    const again = signIn(s.side, "dba1", ["corp/dba", "partner/dba"]).chain;
    const other = signIn(s.side, "partner/dana", ["partner/dba"]).chain;
    for (const approver of [s.dba1, again, other])
      assert.throws(() => s.side.approvals.vote(approver, holdId, "approve", {}), {
        message: /a person counts once/,
      });
    assert.equal(s.side.approvals.find(holdId)?.state, "waiting");
    s.side.approvals.vote(s.dba2, holdId, "approve", {});
    assert.equal(s.side.approvals.find(holdId)?.state, "approved");
  });

  test("is met for every requirement by those whom it names", async () => {
    await using s = await scene();
    const requirements = [
      requirement(),
      requirement({ policyId: "prod-needs-security", approvers: ["corp/security"] }),
    ];
    const { holdId } = await s.ask({ requirements });
    s.side.approvals.vote(s.dba1, holdId, "approve", {});
    s.side.approvals.vote(s.dba2, holdId, "approve", {});
    assert.equal(s.side.approvals.find(holdId)?.state, "waiting");
    assert.deepEqual(s.states.at(-1), {
      state: "waiting",
      approvals: 1,
      quorum: 2,
      forWhom: "a member of corp/dba and a member of corp/security",
    });
  });

  test("is told in words", () => {
    assert.equal(forWhom([requirement({ quorum: 2 })]), "2 members of corp/dba");
    assert.equal(forWhom([requirement({ approvers: [] })]), "somebody who may approve");
    assert.equal(
      forWhom([requirement({ approvers: ["corp/dba", "corp/sre"] }), requirement()]),
      "a member of corp/dba or corp/sre and a member of corp/dba",
    );
  });
});

describe("nobody approves who", () => {
  test("is behind the chain, is no person, is not linked, or is not named; each try is on record", async () => {
    await using s = await scene();
    const { holdId } = await s.ask();
    const dbas = ["corp/dba"];
    const asserted = s.dba1.hops.map((hop) => ({ ...hop, provenance: "asserted" as const }));
    const workload = s.dba1.hops.map((hop) => ({ ...hop, kind: "workload" as const }));
    const [firstAsserted, firstWorkload] = [asserted[0], workload[0]];
    assert.ok(firstAsserted !== undefined && firstWorkload !== undefined);
    const attempts: [string, Chain, RegExp][] = [
      ["the requestor", s.engineer.chain, /on their own behalf/],
      ["the requestor, signed in again", signIn(s.side, "engineer", dbas).chain, /own behalf/],
      [
        "the requestor's other account",
        signIn(s.side, "erin-admin", dbas).chain,
        /another account/,
      ],
      ["the agent itself", s.job.chain, /only a person who signed in/],
      ["an agent of a DBA", delegate(s.side, s.dba1).chain, /only a person who signed in/],
      ["a workload", { hops: [firstWorkload] }, /only a person who signed in/],
      ["an asserted DBA", { hops: [firstAsserted] }, /only asserted/],
      ["who is not linked", signIn(s.side, "dba9", dbas).chain, /not linked to a person/],
      ["a DBA of another provider", signIn(s.side, "partner/dba2", dbas).chain, /not linked/],
      ["who is in no such group", signIn(s.side, "dba2", ["corp/sre"]).chain, /a member of corp/],
    ];
    for (const [what, approver, why] of attempts)
      for (const vote of ["approve", "deny"] as const)
        assert.throws(
          () => s.side.approvals.vote(approver, holdId, vote, {}),
          { code: "forbidden", message: why },
          what,
        );
    assert.equal(s.side.approvals.find(holdId)?.state, "waiting");
    const refused = (await s.side.leaves()).filter(({ event }) => event === "hold.vote_refused");
    assert.equal(refused.length, attempts.length * 2);
  });

  test("stands anywhere in the chain, an asserted hop included", async () => {
    await using s = await scene();
    const { holdId } = await s.ask();
    const request = s.side.approvals.find(holdId) ?? assert.fail();
    const [root] = request.chain.hops;
    const claimed = { ...s.dba1.hops[0], provenance: "asserted" as const };
    const chain: Chain = { hops: [root, claimed, ...request.chain.hops.slice(1)] };
    const eligible = (approver: Chain) =>
      s.side.approvals.eligibility(approver, { ...request, chain });
    assert.equal(eligible(s.dba1).ok, false);
    assert.equal(eligible(signIn(s.side, "partner/dana", ["corp/dba"]).chain).ok, false);
    assert.equal(eligible(s.dba2).ok, true);
  });

  test("is named by the provider's own token as one who acts, by subject or by name", async () => {
    await using s = await scene();
    const actors = [
      { subject: "corp/subject-of-dba1", name: "asserted dba1" },
      { subject: "corp/dba2", name: "asserted dba2" },
    ];
    const made = s.side.tree.signIn(
      {
        kind: "user",
        id: "corp/intern",
        name: "intern",
        subject: "corp/subject-of-intern",
        groups: ["corp/dba"],
        verifiedAtMs: s.side.clock.nowMs(),
        actors,
      },
      undefined,
      "handle",
    );
    assert.ok(!isRefused(made) && made.handle !== undefined);
    assert.deepEqual(
      made.chain.hops.map(({ provenance, kind, groups }) => [provenance, kind, groups]),
      [
        ["attested", "user", ["corp/dba"]],
        ["asserted", "agent", []],
        ["asserted", "agent", []],
      ],
    );
    // A claimed name is no entity's id, and the one who shows the token approves nothing.
    for (const hop of made.chain.hops.slice(1)) assert.equal(hop.id, hop.delegationId);
    const session = await s.side.control.openSession(
      {
        protocol: "postgres",
        credential: made.handle,
        target: "orders",
        account: undefined,
        database: "shop",
        clientAddress: "127.0.0.1",
      },
      { onEnd: () => undefined, onWarning: () => undefined },
    );
    const hold = await s.ask({ sessionId: session.sessionId, binding: "binding-9" });
    for (const approver of [s.dba1, s.dba2, made.chain])
      assert.throws(() => s.side.approvals.vote(approver, hold.holdId, "approve", {}), {
        code: "forbidden",
      });
  });

  test("policies do not let approve", async () => {
    await using s = await scene({
      mayApprove: (_approver, { target }) => ({
        allowed: target !== "orders",
        message: "orders are approved by nobody today",
      }),
    });
    const { holdId } = await s.ask();
    assert.throws(
      () => s.side.approvals.vote(s.dba1, holdId, "approve", {}),
      /approved by nobody today/,
    );
  });
});

describe("many requests", () => {
  /** Beside the one that was asked for: as many of the same delegation as a flood of them brings. */
  async function flooded(s: Awaited<ReturnType<typeof scene>>, count: number) {
    const { holdId } = await s.ask();
    const one = s.side.store.approvals.find(holdId);
    assert.ok(one);
    s.side.store.approvals.atomically(() => {
      for (let at = 1; at < count; at++)
        s.side.store.approvals.insert({ ...one, id: `h-flood${at}`, binding: `flood-${at}` });
    });
    const left = () => s.side.store.approvals.list("waiting", 10_000).length;
    assert.equal(left(), count);
    return { left, expiresAtMs: one.expiresAtMs };
  }

  for (const how of ["expire", "are revoked"] as const)
    test(`that ${how} end some a turn, all of them, and each is on record`, async () => {
      await using s = await scene();
      const { left, expiresAtMs } = await flooded(s, 330);
      if (how === "expire") {
        s.side.clock.advance(expiresAtMs - s.side.clock.nowMs() + 1);
        s.side.approvals.sweep();
      } else s.side.lifecycle.revoke(s.engineer.chain, leafOf(s.job.chain).delegationId, "enough");
      const after = [left()];
      while (after.at(-1) !== 0) {
        await new Promise((resolve) => setImmediate(resolve));
        after.push(left());
      }
      const steps = after.slice(1).map((now, at) => (after[at] ?? 0) - now);
      assert.equal(after[0], 280);
      assert.ok(Math.max(...steps) <= 50, `${Math.max(...steps)} in one turn`);
      const ended = (await s.side.leaves()).filter(({ event }) => event === "hold.ended");
      assert.equal(ended.length, 330);
      assert.deepEqual(s.side.faults, []);
    });

  test("are listed from a place on, each once", async () => {
    await using s = await scene();
    await flooded(s, 45);
    const seen: string[] = [];
    let page = s.side.approvals.list("waiting", 20);
    while (page.length > 0) {
      seen.push(...page.map(({ id }) => id));
      page = s.side.approvals.list("waiting", 20, page.at(-1));
    }
    assert.deepEqual([seen.length, new Set(seen).size], [45, 45]);
  });
});
