import assert from "node:assert/strict";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { DatabaseSync } from "node:sqlite";
import { describe, test } from "node:test";
import fc from "fast-check";
import { systemRandom } from "../base/ids.ts";
import type { Principal } from "../identity/principal.ts";
import { openStore, type Store } from "../store/store.ts";
import { expiryOf, rootOf } from "./chain.ts";
import { type Grant, isSubset, parseGrant } from "./grant.ts";
import type { HopStatement } from "./hop-statement.ts";
import { newSigner } from "./signer.fixture.ts";
import { createTree, isRefused, type Minted, type Refused, type Tree } from "./tree.ts";

const HOUR_MS = 3_600_000;
const ENGINEER: Principal = {
  kind: "user",
  id: "corp/engineer",
  name: "engineer",
  subject: "corp/4711",
  groups: ["corp/engineers"],
  verifiedAtMs: 1_000_000,
};
const READ: Grant = grant({ actions: ["sql:read"] });

function grant(changes: Readonly<Record<string, unknown>> = {}): Grant {
  return parseGrant([
    {
      type: "custody",
      targets: ["orders"],
      accounts: ["*"],
      actions: ["sql:*"],
      resources: ["shop/*"],
      ...changes,
    },
  ]);
}

interface Fixture extends AsyncDisposable {
  readonly tree: Tree;
  readonly store: Store;
  readonly file: string;
  readonly clock: { now: number };
}

async function fixture(limits: Readonly<Record<string, number>> = {}): Promise<Fixture> {
  const directory = await mkdtemp(join(tmpdir(), "custody-tree-"));
  const clock = { now: 1_000_000 };
  const store = openStore(directory);
  const tree = createTree({
    store: store.delegations,
    clock: { nowMs: () => clock.now, monotonicMs: () => clock.now },
    random: systemRandom,
    limits: {
      delegationDepth: 4,
      delegationFanOut: 3,
      delegationTtlMs: HOUR_MS,
      delegationMaxTtlMs: 12 * HOUR_MS,
      signInTtlMs: 12 * HOUR_MS,
      ...limits,
    },
  });
  return {
    tree,
    store,
    clock,
    file: join(directory, "custody.db"),
    async [Symbol.asyncDispose]() {
      store[Symbol.dispose]();
      await rm(directory, { recursive: true, force: true });
    },
  };
}

function minted(result: Minted | Refused): Minted {
  if (isRefused(result)) assert.fail(`refused: ${result.message}`);
  return result;
}

function refusal(result: Minted | Refused): string {
  if (!isRefused(result)) assert.fail("was not refused");
  return result.message;
}

const child = (changes: { name?: string; grant?: Grant; ttlMs?: number } = {}) => ({
  actor: { kind: "agent" as const, name: changes.name ?? "agent" },
  grant: changes.grant ?? grant(),
  ttlMs: changes.ttlMs,
  shape: "jwt" as const,
});

describe("a child", () => {
  test("is refused when its grant is wider, and the first thing that does not fit is named", async () => {
    await using f = await fixture();
    const root = minted(f.tree.signIn(ENGINEER, undefined, "jwt")).node.id;
    const reader = minted(f.tree.delegate(root, child({ grant: READ }))).node.id;
    const wider = grant({ actions: ["sql:write"] });
    assert.match(refusal(f.tree.delegate(reader, child({ grant: wider }))), /action sql:\w+ on/);
    const elsewhere = grant({ actions: ["sql:read"], targets: ["billing"] });
    assert.match(refusal(f.tree.delegate(reader, child({ grant: elsewhere }))), /billing/);
  });

  test("never outlives its parent, asked for or not", async () => {
    await using f = await fixture();
    const root = minted(f.tree.signIn(ENGINEER, 30 * 60_000, "jwt")).node;
    const node = minted(f.tree.delegate(root.id, child())).node;
    assert.equal(node.expiresAtMs, root.expiresAtMs);
    assert.match(refusal(f.tree.delegate(root.id, child({ ttlMs: HOUR_MS }))), /3600 s is more/);
  });

  test("is limited in depth and in number", async () => {
    await using f = await fixture({ delegationDepth: 2, delegationFanOut: 2 });
    const root = minted(f.tree.signIn(ENGINEER, undefined, "jwt")).node.id;
    const one = minted(f.tree.delegate(root, child())).node.id;
    const two = minted(f.tree.delegate(one, child())).node.id;
    assert.match(refusal(f.tree.delegate(two, child())), /2 deep/);
    minted(f.tree.delegate(root, child()));
    assert.match(refusal(f.tree.delegate(root, child())), /2 live children/);
    f.tree.revoke(one, "corp/engineer", undefined);
    minted(f.tree.delegate(root, child()));
  });

  test("has no name of its own as an identity", async () => {
    await using f = await fixture();
    const root = minted(f.tree.signIn(ENGINEER, undefined, "jwt")).node.id;
    const { node, chain } = minted(f.tree.delegate(root, child({ name: "dba1" })));
    assert.equal(node.entityId, node.id);
    assert.equal(node.provenance, "bearer");
    assert.deepEqual(chain.hops[1]?.groups, []);
  });
});

describe("a chain", () => {
  test("is none when a hop expired, even one in the middle", async () => {
    await using f = await fixture();
    const root = minted(f.tree.signIn(ENGINEER, undefined, "jwt")).node.id;
    const one = minted(f.tree.delegate(root, child({ ttlMs: 10 * 60_000 }))).node.id;
    const two = minted(f.tree.delegate(one, child())).node.id;
    f.clock.now += 10 * 60_000;
    assert.throws(() => f.tree.chain(two), /expired at/);
    assert.equal(f.tree.chain(root).hops.length, 1);
  });

  test("is none when the stored tree was spliced, widened or lengthened", async () => {
    for (const edit of [
      // A child of one parent hung below another, of the same root and of another root.
      "UPDATE delegations SET parent_id = (SELECT id FROM delegations WHERE name = 'narrow') WHERE name = 'leaf'",
      "UPDATE delegations SET parent_id = (SELECT id FROM delegations WHERE name = 'other') WHERE name = 'leaf'",
      "UPDATE delegations SET grant_json = (SELECT grant_json FROM delegations WHERE name = 'wide') WHERE name = 'leaf'",
      "UPDATE delegations SET expires_at = expires_at + 1, renewable_until = renewable_until + 1 WHERE name = 'leaf'",
      "UPDATE delegations SET depth = depth + 1 WHERE name = 'leaf'",
      "UPDATE delegations SET root_id = (SELECT id FROM delegations WHERE name = 'other') WHERE name = 'leaf'",
    ]) {
      await using f = await fixture();
      const { tree } = f;
      const root = minted(tree.signIn(ENGINEER, undefined, "jwt")).node.id;
      minted(tree.signIn({ ...ENGINEER, name: "other" }, undefined, "jwt"));
      const wide = minted(tree.delegate(root, child({ name: "wide" }))).node.id;
      const usage = grant({ actions: ["sql:insert"] });
      minted(tree.delegate(root, child({ name: "narrow", grant: usage })));
      const reader = minted(tree.delegate(wide, child({ name: "reader", grant: READ }))).node.id;
      const leaf = minted(tree.delegate(reader, child({ name: "leaf", grant: READ }))).node.id;
      assert.equal(tree.chain(leaf).hops.length, 4);
      const other = new DatabaseSync(f.file);
      other.exec(edit);
      other.close();
      assert.throws(() => tree.chain(leaf), /breaks the rules|not one of this gateway/, edit);
    }
  });
});

describe("renewal", () => {
  test("goes to the parent's expiry and never past it, and never shortens", async () => {
    await using f = await fixture();
    const root = minted(f.tree.signIn(ENGINEER, HOUR_MS, "jwt")).node;
    const one = minted(f.tree.delegate(root.id, child({ ttlMs: 10 * 60_000 }))).node;
    f.clock.now += 5 * 60_000;
    const renewed = f.tree.renew(one.id, undefined);
    assert.ok(!isRefused(renewed));
    assert.equal(renewed.expiresAtMs, f.clock.now + 10 * 60_000);
    const past = f.tree.renew(one.id, 2 * HOUR_MS);
    assert.ok(isRefused(past) && /is more than/.test(past.message));
    const shorter = f.tree.renew(one.id, 1000);
    assert.ok(!isRefused(shorter) && shorter.expiresAtMs === renewed.expiresAtMs);
  });

  test("revives what expired below a living parent, and nothing that was revoked", async () => {
    await using f = await fixture();
    const root = minted(f.tree.signIn(ENGINEER, undefined, "jwt")).node.id;
    const one = minted(f.tree.delegate(root, child({ ttlMs: 60_000 }))).node.id;
    f.clock.now += 120_000;
    assert.throws(() => f.tree.chain(one), /expired/);
    f.tree.renew(one, undefined);
    assert.equal(f.tree.chain(one).hops.length, 2);
    f.tree.revoke(one, "corp/engineer", undefined);
    assert.ok(isRefused(f.tree.renew(one, undefined)));
  });

  test("of a root stops at the longest sign-in", async () => {
    await using f = await fixture();
    const root = minted(f.tree.signIn(ENGINEER, HOUR_MS, "jwt")).node;
    f.clock.now += 30 * 60_000;
    const renewed = f.tree.renew(root.id, 11 * HOUR_MS);
    assert.ok(!isRefused(renewed));
    assert.ok(isRefused(f.tree.renew(root.id, 12 * HOUR_MS)));
  });
});

describe("a child that its parent's key signed", () => {
  test("may be stated as far as its parent can be renewed, ends with it, and is renewed no further", async () => {
    await using f = await fixture();
    const { key } = newSigner();
    const binding = { key, offlineChildren: true };
    const groupsUntilMs = f.clock.now + 6 * HOUR_MS;
    const engineer = { ...ENGINEER, groupsUntilMs };
    const root = minted(f.tree.signIn(engineer, HOUR_MS, "jwt", binding)).node;
    assert.equal(root.renewableUntilMs, groupsUntilMs);
    const stated = (expiresAtMs: number): HopStatement => ({
      text: `statement of ${expiresAtMs}`,
      delegationId: `d-${expiresAtMs}`,
      rootId: root.id,
      parentId: root.id,
      parentDigest: undefined,
      actor: { kind: "agent", name: "agent" },
      key,
      grant: grant(),
      depth: 1,
      issuedAtMs: f.clock.now,
      expiresAtMs,
    });
    const until = f.clock.now + 5 * HOUR_MS;
    const over = stated(groupsUntilMs + 1);
    assert.match(refusal(f.tree.delegate(root.id, { ...child(), statement: over })), /outlives/);
    const offline = { ...child(), statement: stated(until), offline: true };
    assert.match(refusal(f.tree.delegate(root.id, offline)), /outlives/);
    const ttlMs = 2 * HOUR_MS;
    const made = minted(
      f.tree.delegate(root.id, { ...child({ ttlMs }), statement: stated(until) }),
    );
    assert.equal(made.node.expiresAtMs, root.expiresAtMs, "it ends with its parent");
    assert.ok(isRefused(f.tree.renew(made.node.id, ttlMs)));
    assert.ok(!isRefused(f.tree.renew(root.id, 5.5 * HOUR_MS)));
    const renewed = f.tree.renew(made.node.id, 5 * HOUR_MS);
    assert.ok(!isRefused(renewed));
    assert.equal(renewed.expiresAtMs, until);
    // What the provider vouches for anew goes further; what was signed does not.
    f.clock.now += HOUR_MS;
    const later = f.clock.now + 10 * HOUR_MS;
    f.tree.refresh(root.id, { ...engineer, verifiedAtMs: f.clock.now, groupsUntilMs: later });
    assert.equal(f.tree.find(root.id)?.renewableUntilMs, later);
    assert.ok(isRefused(f.tree.renew(made.node.id, 5 * HOUR_MS)));
    assert.equal(f.tree.find(made.node.id)?.renewableUntilMs, until);
  });
});

test("in any tree: revoking kills exactly the subtree, and authority only falls along a chain", async () => {
  const step = fc.record({
    parent: fc.nat({ max: 30 }),
    ttlMs: fc.option(fc.integer({ min: 1, max: 11 * HOUR_MS }), { nil: undefined }),
    grant: fc.constantFrom(
      grant(),
      READ,
      grant({ actions: ["sql:select"], resources: ["shop/public/*"] }),
      grant({ actions: ["sql:write"] }),
      grant({ actions: ["sql:read"], limits: { max_rows: 10 } }),
    ),
  });
  const runs = fc.asyncProperty(
    fc.array(step, { minLength: 1, maxLength: 30 }),
    fc.nat({ max: 30 }),
    async (steps, victim) => {
      await using f = await fixture();
      const { tree } = f;
      const ids = [minted(tree.signIn(ENGINEER, undefined, "jwt")).node.id];
      ids.push(minted(tree.signIn({ ...ENGINEER, subject: "corp/2" }, undefined, "jwt")).node.id);
      const parentOf = new Map<string, string>();
      for (const { parent, ttlMs, grant: asked } of steps) {
        const parentId = ids[parent % ids.length] ?? "";
        const made = tree.delegate(parentId, { ...child({ grant: asked }), ttlMs });
        if (isRefused(made)) continue;
        ids.push(made.node.id);
        parentOf.set(made.node.id, parentId);
      }
      for (const id of ids) {
        const chain = tree.chain(id);
        assert.equal(rootOf(chain).delegationId, tree.find(id)?.rootId);
        let above = chain.hops[0];
        for (const hop of chain.hops.slice(1)) {
          assert.ok(hop.expiresAtMs <= above.expiresAtMs);
          assert.ok(isSubset(hop.grant ?? [], above.grant).ok);
          above = hop;
        }
        assert.equal(expiryOf(chain), above.expiresAtMs);
      }
      const revoked = ids[victim % ids.length] ?? "";
      const isBelow = (id: string | undefined): boolean =>
        id !== undefined && (id === revoked || isBelow(parentOf.get(id)));
      const expected = ids.filter(isBelow).sort();
      assert.deepEqual([...tree.revoke(revoked, "corp/engineer", "test")].sort(), expected);
      for (const id of ids)
        if (isBelow(id)) assert.throws(() => tree.chain(id), /was revoked/);
        else assert.equal(tree.chain(id).hops.at(-1)?.delegationId, id);
      assert.deepEqual(tree.revoke(revoked, "corp/engineer", "again"), []);
    },
  );
  await fc.assert(runs, { numRuns: Number(process.env.CUSTODY_RUNS ?? 25) });
});
