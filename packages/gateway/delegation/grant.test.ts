import assert from "node:assert/strict";
import { describe, it } from "node:test";
import fc from "fast-check";
import { GatewayError } from "../base/errors.ts";
import { ACTION_GROUPS, ACTIONS, expandAction } from "./actions.ts";
import {
  coveringEntries,
  covers,
  type Grant,
  type GrantEntry,
  type GrantQuestion,
  grantToDetails,
  isSubset,
  narrowGrant,
  parseGrant,
  strictestLimits,
  unmasks,
} from "./grant.ts";

const reader: GrantEntry = {
  targets: ["orders"],
  accounts: ["ro"],
  actions: ["sql:read"],
  resources: ["shop/public/*"],
  unmask: [],
  limits: {},
};

function ask(question: Partial<GrantQuestion> = {}): GrantQuestion {
  return {
    target: "orders",
    account: "ro",
    action: "sql:select",
    resource: "shop/public/customers",
    ...question,
  };
}

function first(child: Grant, parent: Grant): string {
  const result = isSubset(child, parent);
  assert.equal(result.ok, false);
  return result.ok ? "" : result.first;
}

describe("actions", () => {
  it("names each action once, and a group stands for its members", () => {
    assert.equal(new Set(ACTIONS.map((action) => action.name)).size, ACTIONS.length);
    assert.deepEqual(
      expandAction("sql:read").map((action) => action.name),
      ["sql:select", "sql:copy_out"],
    );
    assert.deepEqual(expandAction("*"), ACTIONS);
    assert.deepEqual(
      expandAction("sql:*"),
      ACTIONS.filter(({ name }) => name.startsWith("sql:")),
    );
    assert.deepEqual(expandAction("sql:unknown"), []);
    assert.deepEqual(expandAction("sql:wr*"), [], "a prefix is of actions, never of groups");
    const ofSql = [...ACTION_GROUPS].filter((group) => group.startsWith("sql:"));
    assert.deepEqual(ofSql.sort(), [
      "sql:data",
      "sql:privilege",
      "sql:read",
      "sql:schema",
      "sql:write",
    ]);
  });
});

describe("covers", () => {
  it("takes target, account, action and resource together, in one entry", () => {
    const grant = [reader, { ...reader, accounts: ["rw"], actions: ["sql:delete"] }];
    assert.equal(covers(grant, ask()), true);
    assert.equal(covers(grant, ask({ action: "sql:delete", account: "rw" })), true);
    assert.equal(covers(grant, ask({ action: "sql:delete" })), false);
    assert.equal(covers(grant, ask({ target: "orders2" })), false);
    assert.equal(covers(grant, ask({ resource: "shop/internal/keys" })), false);
    assert.equal(covers(grant, ask({ resource: "shop/public" })), false);
    assert.equal(covers([], ask()), false);
  });

  it("carries connect with any entry for the target and account, and no other", () => {
    const connect = { action: "connect", resource: "" };
    assert.equal(covers([reader], ask(connect)), true);
    assert.equal(covers([reader], ask({ ...connect, account: "rw" })), false);
    assert.equal(covers([reader], ask({ ...connect, target: "billing" })), false);
  });

  it("never covers an action it does not know, not even with a star", () => {
    const all = { ...reader, actions: ["*"], resources: ["*"] };
    assert.equal(covers([all], ask({ action: "sql:unknown" })), false);
    assert.equal(covers([all], ask({ action: "sql:read" })), false);
    assert.equal(covers([all], ask({ action: "sql:drop" })), true);
  });

  it("takes an exact pattern exactly", () => {
    const one = { ...reader, resources: ["shop/public/orders"] };
    assert.equal(covers([one], ask({ resource: "shop/public/orders" })), true);
    assert.equal(covers([one], ask({ resource: "shop/public/orders_old" })), false);
  });
});

describe("isSubset names the first thing that does not fit", () => {
  const cases: readonly [string, Partial<GrantEntry>, string][] = [
    ["target", { targets: ["billing"] }, 'target "billing": not in the parent\'s grant'],
    ["target by prefix", { targets: ["ord*"] }, 'target "ord*": not in the parent\'s grant'],
    [
      "account",
      { accounts: ["ro", "rw"] },
      'account "rw" of target "orders": not in the parent\'s grant',
    ],
    [
      "action",
      { actions: ["sql:read", "sql:write"] },
      'action sql:insert on target "orders": not in the parent\'s grant',
    ],
    [
      "resource",
      { resources: ["shop/*"] },
      'resource "shop/*" of target "orders" for sql:select: not in the parent\'s grant',
    ],
    [
      "unmask",
      { unmask: ["pii.*"] },
      'unmask "pii.*" on target "orders": not in the parent\'s grant',
    ],
    ["limit", { limits: { maxRows: 11 } }, "limit max_rows: 11 is more than the parent's 10"],
    ["no limit", { limits: {} }, "limit max_rows: unbounded, the parent has 10"],
  ];
  for (const [name, change, message] of cases) {
    it(name, () => {
      const parent = { ...reader, unmask: ["pii.email"], limits: { maxRows: 10 } };
      assert.deepEqual(isSubset([parent], [parent]), { ok: true });
      assert.equal(first([{ ...parent, ...change }], [parent]), message);
    });
  }

  it("puts no two entries of the parent together into one permission", () => {
    const parent = [
      { ...reader, actions: ["sql:select"], resources: ["shop/a/*"] },
      { ...reader, actions: ["sql:delete"], resources: ["shop/b/*"] },
    ];
    const crossed = { ...reader, actions: ["sql:delete"], resources: ["shop/a/*"] };
    assert.equal(isSubset([crossed], parent).ok, false);
  });

  it("lets two entries of the parent cover one of the child, combination by combination", () => {
    const parent = [
      { ...reader, actions: ["sql:select"] },
      { ...reader, actions: ["sql:copy_out"] },
    ];
    assert.deepEqual(isSubset([reader], parent), { ok: true });
  });

  it("leaves a root free, and gives nothing from nothing", () => {
    assert.deepEqual(isSubset([reader], undefined), { ok: true });
    assert.equal(isSubset([reader], []).ok, false);
  });
});

describe("narrowGrant", () => {
  it("fills in the parent's limits and refuses wider ones", () => {
    const parent = [{ ...reader, limits: { maxRows: 10, timeoutMs: 1000 } }];
    assert.deepEqual(narrowGrant(parent, [{ ...reader, limits: { maxRows: 5 } }]), {
      ok: true,
      grant: [{ ...reader, limits: { maxRows: 5, timeoutMs: 1000 } }],
    });
    assert.equal(narrowGrant(parent, [{ ...reader, limits: { maxRows: 11 } }]).ok, false);
    assert.deepEqual(narrowGrant(undefined, [reader]), { ok: true, grant: [reader] });
  });
});

describe("parseGrant", () => {
  const detail = {
    type: "custody",
    targets: ["orders"],
    accounts: ["ro"],
    actions: ["sql:read"],
    resources: ["shop/public/*"],
  };

  it("reads the wire form and writes it back", () => {
    const grant = parseGrant([{ ...detail, unmask: ["pii.email"], limits: { max_rows: 10 } }]);
    assert.deepEqual(grant, [{ ...reader, unmask: ["pii.email"], limits: { maxRows: 10 } }]);
    assert.deepEqual(parseGrant(JSON.parse(JSON.stringify(grantToDetails(grant)))), grant);
  });

  const { resources: _, ...withoutResources } = detail;
  const refused: readonly [unknown, RegExp][] = [
    [undefined, /expected an array/],
    [{ ...detail }, /expected an array/],
    [[], /at least one entry/],
    [Array.from({ length: 17 }, () => detail), /at most 16 entries/],
    [[null], /expected an object/],
    [[{ ...detail, type: "payment" }], /type: expected "custody"/],
    [[withoutResources], /resources: expected a list/],
    [[{ ...detail, resources: [] }], /resources: expected at least one/],
    [[{ ...detail, resources: "*" }], /resources: expected a list/],
    [[{ ...detail, resources: ["a*b"] }], /only as its last character/],
    [[{ ...detail, resources: ["a\u0000"] }], /control characters/],
    [[{ ...detail, resources: ["x".repeat(257)] }], /1 to 256 characters/],
    [[{ ...detail, resources: [""] }], /1 to 256 characters/],
    [[{ ...detail, resources: [7] }], /expected strings/],
    [[{ ...detail, targets: ["Orders"] }], /targets: "Orders"/],
    [[{ ...detail, targets: ["a,b"] }], /targets: "a,b"/],
    [[{ ...detail, actions: ["sql:everything"] }], /no action or group/],
    [[{ ...detail, actions: ["sql:wr*"] }], /no action or group/],
    [[{ ...detail, locations: ["x"] }], /locations: not a member of a grant/],
    [[{ ...detail, toString: ["x"] }], /toString: not a member of a grant/],
    [[JSON.parse('{"type":"custody","__proto__":{"targets":["*"]}}')], /__proto__: not a member/],
    [[{ ...detail, limits: { max_cost: 1 } }], /max_cost: not a limit/],
    [[{ ...detail, limits: { max_rows: 0 } }], /whole number/],
    [[{ ...detail, limits: { max_rows: "9" } }], /whole number/],
    [[{ ...detail, limits: [] }], /expected an object/],
  ];
  for (const [value, message] of refused) {
    it(`refuses: ${message.source}`, () => {
      assert.throws(
        () => parseGrant(value),
        (thrown) =>
          thrown instanceof GatewayError &&
          thrown.code === "invalid" &&
          message.test(thrown.message),
      );
    });
  }

  it("bounds what a subset check has to look at", () => {
    const many = Array.from({ length: 32 }, (_, index) => `t${index}`);
    assert.throws(
      () => parseGrant([{ ...detail, targets: many, accounts: many, resources: many }]),
      /more than 4096 combinations/,
    );
  });
});

// A small alphabet, so that patterns often overlap.
const name = fc.stringMatching(/^[ab]{1,3}$/);
const pattern = fc.oneof(
  name,
  name.map((text) => `${text.slice(0, -1)}*`),
);
const patternList = fc.array(pattern, { minLength: 1, maxLength: 3 });
const action = fc.constantFrom(...ACTIONS.map((spec) => spec.name));
const actionPattern = fc.oneof(
  action,
  fc.constantFrom(...ACTION_GROUPS),
  fc.constantFrom("*", "sql:*", "sql:copy_*"),
);
const limits = fc.record(
  { maxRows: fc.integer({ min: 1, max: 3 }), timeoutMs: fc.integer({ min: 1, max: 3 }) },
  { requiredKeys: [], noNullPrototype: true },
);
const grantEntry: fc.Arbitrary<GrantEntry> = fc.record(
  {
    targets: patternList,
    accounts: patternList,
    actions: fc.array(actionPattern, { minLength: 1, maxLength: 3 }),
    resources: patternList,
    unmask: fc.array(pattern, { maxLength: 2 }),
    limits,
  },
  { noNullPrototype: true },
);
const grant = fc.array(grantEntry, { minLength: 1, maxLength: 3 });
const question = fc.record({ target: name, account: name, action, resource: name });

/** A child made out of the parent, so that subsets are common enough to test what follows from them. */
function childOf(parent: Grant): fc.Arbitrary<Grant> {
  const within = (patterns: readonly string[]) =>
    fc
      .tuple(fc.constantFrom(...patterns), name, fc.boolean())
      .map(([chosen, tail, open]) =>
        chosen.endsWith("*") ? `${chosen.slice(0, -1)}${tail}${open ? "*" : ""}` : chosen,
      );
  const list = (patterns: readonly string[]) =>
    fc.array(within(patterns), { minLength: 1, maxLength: 2 });
  return fc.array(
    fc.constantFrom(...parent).chain((entry) =>
      fc.record({
        targets: list(entry.targets),
        accounts: list(entry.accounts),
        actions: fc.array(fc.constantFrom(...entry.actions), { minLength: 1, maxLength: 2 }),
        resources: list(entry.resources),
        unmask:
          entry.unmask.length === 0
            ? fc.constant([])
            : fc.oneof(list(entry.unmask), fc.constant([])),
        limits: fc.constant(entry.limits),
      }),
    ),
    { minLength: 1, maxLength: 3 },
  );
}

const lineage = grant.chain((top) =>
  childOf(top).chain((middle) =>
    fc.oneof(childOf(middle), grant).map((bottom) => [top, middle, bottom] as const),
  ),
);

describe("subset properties", () => {
  it("is reflexive", () => {
    fc.assert(fc.property(grant, (any) => isSubset(any, any).ok));
  });

  it("is transitive, and holds for what was cut out of the parent", () => {
    fc.assert(
      fc.property(lineage, ([top, middle, bottom]) => {
        assert.equal(isSubset(middle, top).ok, true);
        if (isSubset(bottom, middle).ok) assert.equal(isSubset(bottom, top).ok, true);
      }),
      { numRuns: 500 },
    );
  });

  it("never lets a child reach what its parent does not", () => {
    fc.assert(
      fc.property(
        fc.oneof(lineage, fc.tuple(grant, grant, grant)),
        question,
        name,
        (grants, asked, cls) => {
          const [parent, , child] = grants;
          if (!isSubset(child, parent).ok || !covers(child, asked)) return;
          assert.equal(covers(parent, asked), true);
          const childSees = coveringEntries(child, asked).some((entry) => unmasks(entry, cls));
          const parentSees = coveringEntries(parent, asked).some((entry) => unmasks(entry, cls));
          if (childSees) assert.equal(parentSees, true);
        },
      ),
      { numRuns: 2000 },
    );
  });

  it("is exact: a child that is refused can reach something its parent cannot", () => {
    // Fresh letters stand for the names a prefix has not been tried on.
    const probe = (text: string) => (text.endsWith("*") ? `${text.slice(0, -1)}zz` : text);
    fc.assert(
      fc.property(grantEntry, grant, (plain, parent) => {
        const bare = (entry: GrantEntry) => ({ ...entry, unmask: [], limits: {} });
        const child = bare(plain);
        const parents = parent.map(bare);
        if (isSubset([child], parents).ok) return;
        const reached = child.targets.flatMap((target) =>
          child.accounts.flatMap((account) =>
            child.actions.flatMap(expandAction).flatMap((spec) =>
              child.resources.map((resource) => ({
                target: probe(target),
                account: probe(account),
                action: spec.name,
                resource: probe(resource),
              })),
            ),
          ),
        );
        assert.ok(reached.some((asked) => covers([child], asked) && !covers(parents, asked)));
      }),
      { numRuns: 1000 },
    );
  });

  it("narrows only to subsets, keeping what was asked for", () => {
    fc.assert(
      fc.property(lineage, grant, ([top, middle], other) => {
        for (const requested of [
          middle,
          other,
          middle.map((entry) => ({ ...entry, limits: {} })),
        ]) {
          const narrowed = narrowGrant(top, requested);
          if (!narrowed.ok) continue;
          assert.deepEqual(isSubset(narrowed.grant, top), { ok: true });
          assert.deepEqual(
            narrowed.grant.map((entry) => ({ ...entry, limits: {} })),
            requested.map((entry) => ({ ...entry, limits: {} })),
          );
        }
      }),
      { numRuns: 500 },
    );
  });

  it("writes and reads every grant without loss", () => {
    fc.assert(fc.property(grant, (any) => assert.deepEqual(parseGrant(grantToDetails(any)), any)));
  });

  it("takes the strictest limits", () => {
    assert.deepEqual(strictestLimits({ maxRows: 1, timeoutMs: 9 }, { maxRows: 2, maxBytes: 3 }), {
      maxRows: 1,
      maxBytes: 3,
      timeoutMs: 9,
    });
    assert.deepEqual(strictestLimits({}, {}), {});
  });
});

describe("what comparing costs", () => {
  const names = (count: number, begin: string) =>
    Array.from({ length: count }, (_, index) => `${begin}${index}`);
  const widest: GrantEntry = {
    targets: names(8, "t"),
    accounts: names(16, "a"),
    actions: Array.from({ length: 32 }, () => "*"),
    resources: names(32, "r"),
    unmask: [],
    limits: {},
  };

  it("is by the patterns, not by their combinations", () => {
    let reads = 0;
    const counted: Grant = Array.from({ length: 16 }, () => ({
      ...widest,
      get targets() {
        reads += 1;
        return widest.targets;
      },
      get resources() {
        reads += 1;
        return widest.resources;
      },
    }));
    const child = parseGrant(grantToDetails(Array.from({ length: 16 }, () => widest)));
    assert.deepEqual(isSubset(child, counted), { ok: true });
    assert.ok(narrowGrant(counted, child).ok);
    // Twice: 16 entries by 16 entries by 8 targets and 32 resources.
    assert.ok(reads <= 2 * 16 * 16 * (8 + 32), `${reads} reads`);
  });

  it("a session's part is not taken for an action that the same entries carry", () => {
    const sixteen = Array.from({ length: 16 }, () => ({ ...widest, resources: ["r0"] }));
    const asked = { ...widest, actions: ["connect", "sql:select"], resources: ["r1"] };
    assert.match(first([asked], sixteen), /resource "r1" of target "t0" for sql:select/);
  });
});
