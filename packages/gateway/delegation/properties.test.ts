// What holds of every tree, tried on every small one and on random larger ones. The model beside the tree
// is a list of parents: it knows nothing of grants, stores or signatures.

import assert from "node:assert/strict";
import { after, test } from "node:test";
import fc from "fast-check";
import { startControlSide } from "../../../conformance/support/control-side.ts";
import { Secret } from "../base/secret.ts";
import type { Principal } from "../identity/principal.ts";
import { type Grant, type GrantEntry, isSubset, parseGrant } from "./grant.ts";
import { statementNodeId } from "./hop-statement.ts";
import { hopStatement, newSigner, presentation, type Signer, sha256 } from "./signer.fixture.ts";
import { isRefused, type Minted } from "./tree.ts";

const side = await startControlSide({ limits: { delegationDepth: 8, delegationFanOut: 1000 } });
after(() => side[Symbol.asyncDispose]());
const { tree } = side;
const RUNS = 25;

function signIn(binding?: { key: Signer["key"]; offlineChildren: boolean }): Minted {
  // Somebody else each time: one subject can sign in so often only.
  const subject = `corp/${Math.random()}`;
  const engineer: Principal = {
    kind: "user",
    id: subject,
    name: subject,
    subject,
    groups: [],
    verifiedAtMs: side.clock.nowMs(),
  };
  const made = tree.signIn(engineer, undefined, "handle", binding);
  assert.ok(!isRefused(made));
  return made;
}

const pattern = (values: readonly string[]) =>
  fc.uniqueArray(fc.constantFrom(...values), { minLength: 1, maxLength: 2 });
const limit = fc.option(fc.integer({ min: 1, max: 3 }), { nil: undefined });
const anyEntry: fc.Arbitrary<GrantEntry> = fc.record({
  targets: pattern(["orders", "or*", "*", "billing"]),
  accounts: pattern(["ro", "*"]),
  actions: pattern(["sql:select", "sql:read", "sql:write", "sql:*", "*"]),
  resources: pattern(["shop/public/*", "shop/*", "shop/public/orders", "*"]),
  unmask: fc.uniqueArray(fc.constantFrom("pii.email", "pii.*"), { maxLength: 1 }),
  limits: fc
    .record({ maxRows: limit, timeoutMs: limit })
    .map((limits) => Object.fromEntries(Object.entries(limits).filter(([, value]) => value))),
});
const anyGrant: fc.Arbitrary<Grant> = fc.array(anyEntry, { minLength: 1, maxLength: 2 });
const WIDEST: Grant = parseGrant([
  { type: "custody", targets: ["*"], accounts: ["*"], actions: ["*"], resources: ["*"] },
]);

test("narrowing is transitive: what fits a parent fits everything above it", () => {
  const one = fc.array(
    anyEntry.map((entry) => ({ ...entry, targets: ["orders"], accounts: ["*"], unmask: [] })),
    { minLength: 1, maxLength: 2 },
  );
  let fits = 0;
  fc.assert(
    fc.property(one, one, one, (top, middle, bottom) => {
      assert.ok(isSubset(top, top).ok);
      if (!isSubset(middle, top).ok || !isSubset(bottom, middle).ok) return;
      fits += 1;
      assert.ok(isSubset(bottom, top).ok);
    }),
    { numRuns: 10_000 },
  );
  assert.ok(fits >= 10, `only ${fits} chains to look at`);
});

test("along any chain authority, expiry and depth only fall and the root never changes", () => {
  const step = fc.record({
    parent: fc.nat(),
    grant: anyGrant,
    ttlS: fc.integer({ min: 1, max: 7200 }),
  });
  let minted = 0;
  fc.assert(
    fc.property(fc.array(step, { maxLength: 20 }), (steps) => {
      const root = signIn();
      const nodes = [root];
      for (const { parent, grant, ttlS } of steps) {
        const above = nodes[parent % nodes.length] ?? root;
        const actor = { kind: "agent" as const, name: "agent" };
        const ttlMs = ttlS * 1000;
        const made = tree.delegate(above.node.id, { actor, grant, ttlMs, shape: "jwt" });
        if (!isRefused(made)) nodes.push(made);
      }
      for (const { node } of nodes) {
        minted += 1;
        const { hops } = tree.chain(node.id);
        assert.equal(hops.length, node.depth + 1);
        assert.equal(hops[0].delegationId, root.node.id);
        for (const [index, hop] of hops.entries())
          for (const below of hops.slice(index + 1)) {
            assert.ok(below.expiresAtMs <= hop.expiresAtMs);
            assert.ok(isSubset(below.grant ?? [], hop.grant).ok);
          }
      }
    }),
    { numRuns: RUNS },
  );
  assert.ok(minted > 2 * RUNS);
});

/** Every tree of so many nodes, as the list of each node's parent; the first is the root. */
function* treesOf(size: number, parents: readonly number[] = []): Generator<readonly number[]> {
  if (parents.length === size - 1) yield parents;
  else
    for (let parent = 0; parent <= parents.length; parent++)
      yield* treesOf(size, [...parents, parent]);
}

function grow(parents: readonly number[]): readonly Minted[] {
  const nodes = [signIn()];
  for (const parent of parents) {
    const actor = { kind: "agent" as const, name: "agent" };
    const child = { actor, grant: WIDEST, ttlMs: undefined, shape: "handle" as const };
    const made = tree.delegate(nodes[parent]?.node.id ?? "", child);
    assert.ok(!isRefused(made));
    nodes.push(made);
  }
  return nodes;
}

function isAtOrBelow(parents: readonly number[], node: number, top: number): boolean {
  return node === top || (node > 0 && isAtOrBelow(parents, parents[node - 1] ?? 0, top));
}

async function opens(credential: string): Promise<boolean> {
  return side.authenticate(new Secret(credential)).then(
    () => true,
    () => false,
  );
}

test("in every tree of up to five nodes, revoking each node kills exactly what is at or below it", () => {
  let count = 0;
  for (let size = 1; size <= 5; size++)
    for (const parents of treesOf(size))
      for (let top = 0; top < size; top++) {
        const nodes = grow(parents);
        const ids = new Set(tree.revoke(nodes[top]?.node.id ?? "", "test", undefined));
        for (const [index, { node }] of nodes.entries()) {
          const dead = isAtOrBelow(parents, index, top);
          assert.equal(ids.has(node.id), dead, `${parents} ${top} ${index}`);
          assert.equal(tree.aliveUntil(node.id) === undefined, dead);
        }
        count += 1;
      }
  assert.equal(count, 1 + 2 + 2 * 3 + 6 * 4 + 24 * 5);
});

test("a sibling's credential is useless elsewhere, whatever is revoked", async () => {
  const anyTree = fc.integer({ min: 2, max: 8 }).chain((size) =>
    fc.record({
      parents: fc.tuple(...Array.from({ length: size - 1 }, (_, index) => fc.nat({ max: index }))),
      top: fc.nat({ max: size - 1 }),
    }),
  );
  await fc.assert(
    fc.asyncProperty(anyTree, async ({ parents, top }) => {
      const nodes = grow(parents);
      const handles = nodes.map(({ handle }) => handle?.reveal() ?? "");
      for (const [one, handle] of handles.entries()) {
        const chain = await side.authenticate(new Secret(handle));
        assert.equal(chain.hops.at(-1)?.delegationId, nodes[one]?.node.id);
        for (const [other, { node }] of nodes.entries()) {
          if (other === one) continue;
          const secret = handle.split("_")[2];
          assert.equal(await opens(`cst_${node.id.slice(2)}_${secret}`), false);
        }
      }
      tree.revoke(nodes[top]?.node.id ?? "", "test", undefined);
      for (const [index, handle] of handles.entries())
        assert.equal(await opens(handle), !isAtOrBelow(parents, index, top));
    }),
    { numRuns: RUNS },
  );
});

interface Signed {
  readonly statements: readonly string[];
  readonly signers: readonly Signer[];
}

/** A chain signed offline below `root`, its keys those of `keys`. */
function signChain(root: Minted, holder: Signer, keys: readonly Signer[]): Signed {
  const iat = Math.floor(side.clock.nowMs() / 1000);
  const statements: string[] = [];
  let signer = holder;
  for (const [index, key] of keys.entries()) {
    const above = statements[index - 1];
    statements.push(
      hopStatement(signer, {
        aud: side.issuer,
        root: root.node.id,
        parent: above === undefined ? root.node.id : statementNodeId(above),
        parent_hash: above === undefined ? null : sha256(above),
        depth: index + 1,
        iat,
        exp: iat + 600,
        authorization_details: [{ type: "custody", ...WIDEST[0], limits: {} }],
        actor: { name: "agent" },
        cnf: { jwk: key.key.jwk },
      }),
    );
    signer = key;
  }
  return { statements, signers: keys };
}

test("no splice: of the statements of two chains with the same keys, only the chains themselves open", async () => {
  const holder = newSigner();
  const keys = [newSigner(), newSigner("ES256"), newSigner()];
  const root = signIn({ key: holder.key, offlineChildren: true });
  const chains = [signChain(root, holder, keys), signChain(root, holder, keys)];
  const pool = chains.flatMap(({ statements }) => statements);
  const registered = new Set<string>();
  /** A run of one chain, from its top or from below a hop that is registered. */
  const fits = (sequence: readonly string[]): boolean =>
    chains.some(({ statements }) => {
      const start = statements.indexOf(sequence[0] ?? "");
      const above = statements[start - 1];
      const isRun = sequence.every((text, index) => text === statements[start + index]);
      return start >= 0 && isRun && (above === undefined || registered.has(above));
    });
  const at = { issuer: side.issuer, nowMs: side.clock.nowMs() };
  const attempt = async (sequence: readonly string[]): Promise<void> => {
    const base = sequence.join("~");
    let opened = false;
    for (const signer of [holder, ...keys])
      opened = (await opens(`${base}~${presentation(signer, base, at)}`)) || opened;
    assert.equal(opened, fits(sequence));
    if (opened) for (const text of sequence) registered.add(text);
  };
  const anySequence = fc.array(fc.constantFrom(...pool), { minLength: 1, maxLength: 4 });
  await fc.assert(fc.asyncProperty(anySequence, attempt), { numRuns: 100, endOnFailure: true });
  for (const { statements } of chains) await attempt(statements);
  assert.equal(tree.subtree(root.node.id, 100).length, 1 + pool.length);
  await fc.assert(fc.asyncProperty(anySequence, attempt), { numRuns: 100, endOnFailure: true });
});

test("whatever member a constraint or a statement has that is not known, it is refused", async () => {
  const holder = newSigner();
  const key = newSigner();
  const root = signIn({ key: holder.key, offlineChildren: true });
  const iat = Math.floor(side.clock.nowMs() / 1000);
  const entry = { type: "custody", ...WIDEST[0], limits: {} };
  const claims = {
    aud: side.issuer,
    root: root.node.id,
    parent: root.node.id,
    parent_hash: null,
    depth: 1,
    iat,
    exp: iat + 600,
    authorization_details: [entry],
    actor: { name: "agent" },
    cnf: { jwk: key.key.jwk },
  };
  const known = new Set([...Object.keys(claims), ...Object.keys(entry), "jti", "max_rows"]).union(
    new Set(["max_bytes", "timeout_ms", "__proto__"]),
  );
  const anyName = fc.string({ minLength: 1, maxLength: 12 }).filter((name) => !known.has(name));
  const places = ["statement", "grant", "limits", "actor", "cnf"] as const;
  await fc.assert(
    fc.asyncProperty(
      anyName,
      fc.jsonValue(),
      fc.constantFrom(...places),
      async (name, value, where) => {
        const extra = { [name]: value };
        const changes = {
          statement: extra,
          grant: { authorization_details: [{ ...entry, ...extra }] },
          limits: { authorization_details: [{ ...entry, limits: extra }] },
          actor: { actor: { name: "agent", ...extra } },
          cnf: { cnf: { jwk: key.key.jwk, ...extra } },
        }[where];
        const base = hopStatement(holder, claims, changes);
        const at = { issuer: side.issuer, nowMs: side.clock.nowMs() };
        assert.equal(await opens(`${base}~${presentation(key, base, at)}`), false);
      },
    ),
    { numRuns: 200 },
  );
  assert.equal(tree.subtree(root.node.id, 10).length, 1);
});
