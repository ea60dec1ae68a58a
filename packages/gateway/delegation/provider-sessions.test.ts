// What a provider's word does to live sessions: groups replaced, rights gone with them, an end.

import assert from "node:assert/strict";
import { test } from "node:test";
import { startControlSide } from "../../../conformance/support/control-side.ts";
import { Secret } from "../base/secret.ts";
import type { Identity } from "../identity/oidc.ts";
import type { Principal } from "../identity/principal.ts";
import { createSignIns } from "../identity/sign-ins.ts";
import type { Signal } from "../identity/signals.ts";
import type { SessionEnd } from "../session/control.ts";
import type { Chain } from "./chain.ts";
import { createProviderSessions } from "./provider-sessions.ts";
import { isRefused, type Minted } from "./tree.ts";

const HOUR_MS = 3_600_000;

/** The control side with a provider whose next token says what the test says. */
async function stage() {
  const side = await startControlSide();
  let next: Principal;
  const verify: Identity["verify"] = async () => next;
  const signIns = createSignIns({ verify }, side.store.signIns);
  const revoked: string[] = [];
  const sessions = createProviderSessions({
    tree: side.tree,
    signIns,
    journal: side.journal,
    onRevoked: (id) => {
      revoked.push(id);
      const end = { code: "revoked" as const, message: "signed out", hint: undefined };
      return side.registry.endUnder(id, end);
    },
    onRefreshed: side.registry.refreshed,
  });
  const principal = (more: Partial<Principal> = {}): Principal => ({
    kind: "user",
    id: "corp/ann",
    name: "ann",
    subject: "corp/4711",
    groups: ["corp/engineers"],
    verifiedAtMs: side.clock.nowMs(),
    groupsUntilMs: side.clock.nowMs() + HOUR_MS,
    voucher: {
      provider: "corp",
      tokenId: undefined,
      expiresAtMs: side.clock.nowMs() + 300_000,
      session: "sid-1",
      oneTime: false,
    },
    ...more,
  });
  const signIn = (who: Principal): Minted => {
    const made = signIns.admit(
      who,
      () => side.tree.signIn(who, undefined, "handle"),
      (result) => (isRefused(result) ? undefined : result.node.id),
    );
    assert.ok(!isRefused(made));
    return made;
  };
  const open = (chain: Chain) => {
    const seen = { chain, end: undefined as SessionEnd | undefined };
    side.registry.add(
      {
        id: `s-${Math.random()}`,
        chain,
        target: "orders",
        account: "ro",
        database: "shop",
        clientAddress: "127.0.0.1",
      },
      {
        onEnd: (end) => {
          seen.end = end;
        },
        onWarning: () => undefined,
        onChain: (other) => {
          seen.chain = other;
        },
      },
    );
    return seen;
  };
  const refresh = (chain: Chain, who: Principal) => {
    next = who;
    return sessions.refresh(chain, new Secret("a token"), "id_token");
  };
  const signal = (whom: Partial<Signal["whom"]>, tokenId = "one"): Signal => ({
    provider: "corp",
    kind: "logout",
    tokenId,
    issuedAtMs: side.clock.nowMs(),
    keptUntilMs: side.clock.nowMs() + HOUR_MS,
    whom: { subject: undefined, id: undefined, session: undefined, ...whom },
  });
  return { side, sessions, principal, signIn, open, refresh, signal, revoked };
}

test("other groups reach live sessions of every depth as another chain", async () => {
  const { side, principal, signIn, open, refresh } = await stage();
  await using _ = side;
  const root = signIn(principal());
  const child = side.tree.delegate(root.node.id, {
    actor: { kind: "agent", name: "job" },
    grant: [
      { targets: ["*"], accounts: ["*"], actions: ["*"], resources: ["*"], unmask: [], limits: {} },
    ],
    ttlMs: undefined,
    shape: "handle",
  });
  assert.ok(!isRefused(child));
  const [own, below] = [open(root.chain), open(child.chain)];
  side.clock.advance(30 * 60_000);
  const node = await refresh(root.chain, principal({ groups: ["corp/interns"] }));
  assert.deepEqual(node.groups, ["corp/interns"]);
  for (const session of [own, below]) {
    assert.deepEqual(session.chain.hops[0].groups, ["corp/interns"]);
    assert.equal(session.end, undefined);
  }
  assert.notEqual(own.chain, root.chain);
  const leaf = (await side.leaves()).at(-1);
  assert.equal(leaf?.event, "delegation.renewed");
  assert.equal(Object(leaf?.detail).groupsChanged, true);
});

test("a session that cannot take another chain over is ended", async () => {
  const { side, principal, signIn, refresh } = await stage();
  await using _ = side;
  const root = signIn(principal());
  let ended: SessionEnd | undefined;
  side.registry.add(
    {
      id: "s-old",
      chain: root.chain,
      target: "orders",
      account: "ro",
      database: "shop",
      clientAddress: "::1",
    },
    {
      onEnd: (end) => {
        ended = end;
      },
      onWarning: () => undefined,
    },
  );
  await refresh(root.chain, principal());
  assert.equal(ended?.code, "revoked");
});

test("groups that get too old end the sign-in; a refresh carries it on", async () => {
  const { side, principal, signIn, refresh } = await stage();
  await using _ = side;
  const refreshed = signIn(principal());
  const left = signIn(principal());
  side.clock.advance(HOUR_MS - 1);
  await refresh(refreshed.chain, principal());
  side.clock.advance(1);
  assert.throws(() => side.tree.chain(left.node.id), { code: "unauthenticated" });
  assert.equal(side.tree.chain(refreshed.node.id).hops.length, 1);
  side.clock.advance(HOUR_MS);
  assert.throws(() => side.tree.chain(refreshed.node.id), { code: "unauthenticated" });
});

test("an older token, another's, and an agent refresh nothing", async () => {
  const { side, principal, signIn, refresh } = await stage();
  await using _ = side;
  const root = signIn(principal());
  const older = principal({ groups: ["corp/admins"], verifiedAtMs: side.clock.nowMs() - 1 });
  await assert.rejects(refresh(root.chain, older), { code: "invalid" });
  await assert.rejects(refresh(root.chain, principal({ subject: "corp/4712" })), {
    code: "forbidden",
  });
  const inner = { hops: [root.chain.hops[0], root.chain.hops[0]] } as const;
  await assert.rejects(refresh(inner, principal()), { code: "forbidden" });
  assert.deepEqual(side.tree.find(root.node.id)?.groups, ["corp/engineers"]);
});

test("a session that ended at the provider ends here, and no token made before opens another", async () => {
  const { side, sessions, principal, signIn, open, signal, revoked } = await stage();
  await using _ = side;
  const root = signIn(principal());
  const other = signIn(principal({ subject: "corp/4712", id: "corp/bob" }));
  const session = open(root.chain);
  assert.equal(sessions.end(signal({ subject: "corp/4711" })), 1);
  assert.equal(session.end?.code, "revoked");
  assert.deepEqual(revoked, [root.node.id]);
  assert.equal(side.tree.chain(other.node.id).hops.length, 1);
  assert.throws(() => signIn(principal()), /has ended/);
  assert.throws(() => sessions.end(signal({ subject: "corp/4711" })), /given here before/);
  side.clock.advance(1000);
  assert.equal(signIn(principal()).chain.hops.length, 1);
});

test("what a provider vouched for ends when it is taken out of the configuration", async () => {
  const { side, sessions, principal, signIn, open } = await stage();
  await using _ = side;
  const other = signIn(
    principal({
      id: "gh/shop",
      subject: "gh/123",
      voucher: {
        provider: "gh",
        tokenId: undefined,
        expiresAtMs: side.clock.nowMs() + HOUR_MS,
        session: undefined,
        oneTime: false,
      },
    }),
  );
  const kept = signIn(principal());
  const [ofOther, ofKept] = [open(other.chain), open(kept.chain)];
  assert.equal(sessions.keepOnly(new Set(["corp", "gh"])), 0);
  assert.equal(sessions.keepOnly(new Set(["corp"])), 1);
  assert.equal(ofOther.end?.code, "revoked");
  assert.equal(ofKept.end, undefined);
  assert.throws(() => side.tree.chain(other.node.id), /was revoked/);
  assert.equal(side.tree.chain(kept.node.id).hops.length, 1);
  const leaf = (await side.leaves()).at(-1);
  assert.equal(Object(leaf?.detail).how, "provider-removed");
  assert.equal(sessions.keepOnly(new Set(["corp"])), 0, "it is over already");
});
