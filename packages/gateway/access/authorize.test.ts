import assert from "node:assert/strict";
import { describe, it } from "node:test";
import {
  agent,
  createTestAccess,
  dba,
  effect,
  engineer,
  entry,
  NOON_MS,
  operation,
  policy,
  schema,
  subject,
  system,
  table,
} from "./access.fixture.ts";
import { operationToConnect } from "./decide.ts";
import type { ClassUse, Decision, Denial, Permit, Resource } from "./operation.ts";
import { isCurrent, isPermit } from "./permit.ts";

const CONNECT = `@id("connect") permit (principal, action == Custody::Action::"connect", resource);`;
const READ = `@id("read") permit (principal, action in SQL::Action::"read", resource);`;
const WRITE = `@id("write") permit (principal, action in SQL::Action::"write", resource);`;

const select = operation([effect("sql:select", table("customers"))]);
const remove = operation([effect("sql:delete", table("orders"))]);

function using(...texts: string[]) {
  return createTestAccess(policy([CONNECT, READ, WRITE, ...texts].join("\n")));
}

function denial(decision: Decision): Denial {
  assert.equal(decision.verdict, "deny");
  return decision.verdict === "deny" ? decision.denial : assert.fail();
}

function permit(decision: Decision): Permit {
  assert.equal(decision.verdict, "permit", JSON.stringify(decision));
  return decision.verdict === "permit" ? decision.permit : assert.fail();
}

function required(decision: Decision): readonly string[] {
  assert.equal(decision.verdict, "hold", JSON.stringify(decision));
  const requirements = decision.verdict === "hold" ? decision.requirements : [];
  return requirements.map((requirement) => requirement.policyId).toSorted();
}

function touching(use: ClassUse, ...effects: Parameters<typeof effect>[]) {
  const list = effects.length === 0 ? select.effects : effects.map((one) => effect(...one));
  return operation(list, [{ class: "pii.email", use, column: "public.customers.email" }]);
}

describe("every hop", () => {
  it("must be permitted: a forbid at any of them denies", () => {
    const { access } = using(
      `@id("no-agents") @message("Not for agents.") forbid (principal is Custody::Agent, action == SQL::Action::"delete", resource);`,
    );
    assert.equal(access.authorize(subject([engineer]), remove).verdict, "permit");
    const chain = [engineer, agent("job", [entry()]), agent("sub", [entry()])] as const;
    assert.deepEqual(denial(access.authorize(subject([...chain]), remove)), {
      kind: "forbidden",
      what: "delete on table public.orders",
      policyId: "no-agents",
      message: "Not for agents.",
      hop: 1,
      hopLabel: "depth 1, agent job",
    });
  });

  it("must carry it in its grant, the middle one too", () => {
    const { access } = using();
    const wide = agent("wide", [entry()]);
    const narrow = agent("narrow", [entry({ actions: ["sql:read"] })]);
    const found = denial(access.authorize(subject([engineer, narrow, wide]), remove));
    assert.deepEqual(
      [found.kind, found.hop, found.hopLabel],
      ["not_granted", 1, "depth 1, agent narrow"],
    );
    assert.match(found.message, /does not carry sql:delete on shop\/public\/orders/);
  });

  it("must be permitted by policies of its own where none lets agents inherit", () => {
    const { access } = createTestAccess(
      policy(
        `@id("people") permit (principal is Custody::User, action, resource is Custody::Target);
         @id("people-read") permit (principal is Custody::User, action in SQL::Action::"read", resource);`,
      ),
    );
    const found = denial(access.authorize(subject([engineer, agent("job", [entry()])]), select));
    assert.deepEqual(
      [found.kind, found.hop, found.what],
      ["not_permitted", 1, "connect on target orders"],
    );
  });

  it("asks no permit or grant for what is done by way of something, but for what forbids it", () => {
    const permits = `@id("connect") permit (principal, action == Custody::Action::"connect", resource);
       @id("orders") permit (principal, action, resource == SQL::Table::"orders/shop/public/orders");`;
    const grant = [entry({ resources: ["shop/public/orders"] })];
    const byWay = operation([
      effect("sql:select", table("orders")),
      { ...effect("sql:select", table("orders_2026")), byWay: true as const },
    ]);
    const chain = subject([engineer, agent("job", grant)]);
    const open = createTestAccess(policy(permits));
    assert.equal(open.access.authorize(chain, byWay).verdict, "permit");
    const closed = createTestAccess(
      policy(
        `${permits} @id("not-this-year") forbid (principal, action, resource == SQL::Table::"orders/shop/public/orders_2026");`,
      ),
    );
    const found = denial(closed.access.authorize(chain, byWay));
    assert.deepEqual([found.kind, found.policyId], ["forbidden", "not-this-year"]);
  });

  it("sees the whole chain: depth, weakest provenance, claimed names, root", () => {
    const asked = subject([dba, agent("job", [entry()])]);
    for (const condition of [
      "context.depth == 1",
      'context.provenance == "bearer"',
      'context.agents == ["job"]',
      'context.root has user && context.root.user in Custody::Group::"corp/dba"',
      'context.target.hasTag("env") && context.target.getTag("env") == "demo"',
      'context.account == "rw" && context.protocol == "postgres"',
      'context.address.isInRange(ip("127.0.0.0/8"))',
      "!(context has justification)",
      'context.time.hour == 20 && context.time.weekday == "sunday"',
      'context.time.now == datetime("2026-11-22T20:15:00Z")',
      'resource.path == "shop/public/orders" && !resource.system',
    ]) {
      const { access } = using(
        `@id("f") forbid (principal, action == SQL::Action::"delete", resource) when { ${condition} };`,
      );
      assert.equal(denial(access.authorize(asked, remove)).policyId, "f", condition);
    }
  });

  it("reads an address that is IPv4 in IPv6, and denies when there is none", () => {
    const { access } = using(
      `@id("f") forbid (principal, action == SQL::Action::"delete", resource) when { context.address.isInRange(ip("10.0.0.0/8")) };`,
    );
    const from = (clientAddress: string) =>
      access.authorize(subject([engineer], { clientAddress }), remove);
    assert.equal(denial(from("::ffff:10.1.2.3")).policyId, "f");
    assert.equal(from("fe80::1%eth0").verdict, "permit");
    assert.equal(denial(from("somewhere")).kind, "fault");
  });
});

describe("every effect", () => {
  it("must be allowed, and connecting with each", () => {
    const { access, use } = using();
    const both = operation([...select.effects, effect("sql:drop", table("orders"))]);
    assert.equal(
      denial(access.authorize(subject([engineer]), both)).what,
      "drop on table public.orders",
    );
    const nothing = operation([]);
    const asked = subject([engineer]);
    assert.equal(access.authorize(asked, nothing).verdict, "permit");
    use(policy(READ));
    assert.equal(denial(access.authorize(asked, nothing)).what, "connect on target orders");
    assert.equal(
      denial(access.authorize(asked, operationToConnect("postgres", "orders"))).kind,
      "not_permitted",
    );
  });

  it("is denied when it is unknown, whatever policies and grants say", () => {
    const { access } = createTestAccess(policy(`@id("all") permit (principal, action, resource);`));
    const column: Resource = { ...table("orders"), type: "SQL::Column" };
    for (const unknown of [
      effect("sql:unknown", table("orders")),
      effect("sql:read", table("orders")),
      effect("", table("orders")),
      effect("sql:select", column),
      effect("sql:truncate", schema("public")),
    ]) {
      const asked = subject([engineer, agent("job", [entry({ actions: ["*"] })])]);
      assert.equal(denial(access.authorize(asked, operation([unknown]))).kind, "unknown");
    }
  });

  it("needs no grant to read the catalogue, but one to change it", () => {
    const { access } = using();
    const narrow = agent("narrow", [entry({ resources: ["shop/public/*"] })]);
    const asked = subject([engineer, narrow]);
    const read = operation([effect("sql:select", system("pg_class"))]);
    const change = operation([effect("sql:update", system("pg_class"))]);
    assert.equal(access.authorize(asked, read).verdict, "permit");
    assert.equal(denial(access.authorize(asked, change)).kind, "not_granted");
  });

  it("belongs to the schema and the target it is in", () => {
    const { access } = using(
      `@id("s") forbid (principal, action, resource in SQL::Schema::"orders/shop/internal");`,
      `@id("t") forbid (principal, action in SQL::Action::"write", resource in Custody::Target::"orders");`,
    );
    const internal = operation([effect("sql:select", table("keys", "internal"))]);
    assert.equal(denial(access.authorize(subject([engineer]), internal)).policyId, "s");
    assert.equal(denial(access.authorize(subject([engineer]), remove)).policyId, "t");
    assert.equal(access.authorize(subject([engineer]), select).verdict, "permit");
  });
});

describe("the denial that is told", () => {
  const forbid = `@id("f") forbid (principal, action == SQL::Action::"delete", resource);`;
  const reads = agent("reads", [entry({ actions: ["sql:read"] })]);

  it("is an explicit forbid before a grant, and a grant before no permit", () => {
    const asked = subject([engineer, reads]);
    assert.equal(denial(using(forbid).access.authorize(asked, remove)).kind, "forbidden");
    const dropped = operation([...remove.effects, effect("sql:drop", table("orders"))]);
    assert.equal(denial(using().access.authorize(asked, dropped)).kind, "not_granted");
    const drop = operation([effect("sql:drop", table("orders"))]);
    const alone = denial(using().access.authorize(subject([engineer]), drop));
    assert.deepEqual([alone.kind, alone.hop], ["not_permitted", 0]);
  });

  it("is a policy that fails before everything else", () => {
    const { access } = using(
      forbid,
      `@id("errs") forbid (principal, action == SQL::Action::"delete", resource) when { context.depth + 9223372036854775807 > 0 };`,
    );
    const found = denial(access.authorize(subject([engineer, reads]), remove));
    assert.equal(found.kind, "fault");
    assert.match(found.message, /policy "errs" failed/);
    // Cedar itself would skip it, and at depth 0 it does not fail.
    assert.equal(denial(access.authorize(subject([engineer]), remove)).policyId, "f");
  });
});

describe("a policy that errs", () => {
  it("denies though another permits, and is not remembered", () => {
    const { access } = using(
      `@id("errs") forbid (principal, action == SQL::Action::"delete", resource) when { context.depth + 9223372036854775807 > 0 };`,
    );
    const asked = subject([engineer, agent("job", [entry()])]);
    assert.equal(denial(access.authorize(asked, remove)).kind, "fault");
    assert.equal(denial(access.authorizeApproved(asked, remove, ["errs"])).kind, "fault");
  });
});

describe("hold", () => {
  const two = [
    `@id("dba") @approvers("corp/dba") @quorum("2") forbid (principal, action == SQL::Action::"delete", resource) unless { context.approved };`,
    `@id("agents") @justification("required") forbid (principal is Custody::Agent, action in SQL::Action::"write", resource) unless { context.approved };`,
  ];

  it("requires what every hop's forbids ask for, once each", () => {
    const { access } = using(...two);
    const chain = subject([engineer, agent("job", [entry()]), agent("sub", [entry()])]);
    assert.deepEqual(required(access.authorize(chain, remove)), ["agents", "dba"]);
    assert.deepEqual(required(access.authorize(subject([engineer]), remove)), ["dba"]);
    const insert = operation([effect("sql:insert", table("orders"))]);
    assert.deepEqual(required(access.authorize(chain, insert)), ["agents"]);
    assert.equal(access.authorize(subject([engineer]), insert).verdict, "permit");
  });

  it("opens only when all that each pair needs is met", () => {
    const { access } = using(...two);
    const chain = subject([engineer, agent("job", [entry()])]);
    const approved = (...met: string[]) => access.authorizeApproved(chain, remove, met);
    assert.deepEqual(required(approved()), ["agents", "dba"]);
    assert.deepEqual(required(approved("dba")), ["agents"]);
    assert.deepEqual(required(approved("agents")), ["dba"]);
    assert.equal(approved("agents", "dba").verdict, "permit");
  });

  it("is no way around a plain forbid, a missing permit or a grant", () => {
    const forbid = `@id("never") forbid (principal, action == SQL::Action::"delete", resource);`;
    const asked = subject([engineer]);
    const met = ["dba", "agents", "never"];
    const forbidden = using(...two, forbid).access;
    assert.equal(denial(forbidden.authorize(asked, remove)).policyId, "never");
    assert.equal(denial(forbidden.authorizeApproved(asked, remove, met)).policyId, "never");
    const unpermitted = createTestAccess(policy([CONNECT, ...two].join("\n"))).access;
    assert.equal(denial(unpermitted.authorize(asked, remove)).kind, "not_permitted");
    assert.equal(denial(unpermitted.authorizeApproved(asked, remove, met)).kind, "not_permitted");
    const ungranted = subject([engineer, agent("job", [entry({ actions: ["sql:read"] })])]);
    assert.equal(
      denial(using(...two).access.authorizeApproved(ungranted, remove, met)).kind,
      "not_granted",
    );
  });

  it("is judged again at release, under the policies of then", () => {
    const { access, use } = using(...two);
    const asked = subject([engineer]);
    assert.deepEqual(required(access.authorize(asked, remove)), ["dba"]);
    use(policy([CONNECT, READ, ...two].join("\n")));
    assert.equal(denial(access.authorizeApproved(asked, remove, ["dba"])).kind, "not_permitted");
  });
});

describe("classes", () => {
  const UNMASK = `@id("see") permit (principal, action == Custody::Action::"unmask", resource in Custody::Class::"pii");`;
  const USERS_SEE = UNMASK.replace("(principal,", "(principal is Custody::User,");
  const MATCH = `@id("match") permit (principal, action == Custody::Action::"match", resource == Custody::Class::"pii.email");`;
  const seeing = agent("seeing", [entry({ unmask: ["pii.*"] })]);
  const blind = agent("blind", [entry()]);

  it("of class never are out of reach whatever policies and grants say", () => {
    const all = [`@id("all") permit (principal, action, resource is Custody::Class);`];
    for (const use of ["output", "match", "inner"] as const) {
      const touch = { class: "never", use, column: "public.customers.ssn" };
      const asked = operation([effect("sql:select", table("customers"))], [touch]);
      const found = denial(using(...all).access.authorize(subject([engineer]), asked));
      assert.deepEqual([found.kind, found.what], ["classified", "use of public.customers.ssn"]);
    }
  });

  it("are masked unless every hop may unmask and every grant names them", () => {
    const shown = (texts: string[], ...hops: Parameters<typeof subject>[0]) => {
      const decision = using(...texts).access.authorize(subject(hops), touching("output"));
      return [...permit(decision).obligations.unmask];
    };
    assert.deepEqual(shown([], engineer), []);
    assert.deepEqual(shown([UNMASK], engineer), ["pii.email"]);
    assert.deepEqual(shown([UNMASK], engineer, seeing), ["pii.email"]);
    assert.deepEqual(shown([UNMASK], engineer, blind), []);
    assert.deepEqual(shown([UNMASK], engineer, blind, seeing), []);
    assert.deepEqual(shown([USERS_SEE], engineer, seeing), []);
    assert.deepEqual(shown([UNMASK.replace('"pii"', '"secret"')], engineer), []);
  });

  it("are shown to a grant only where the entry that names them carries the effect", () => {
    const { access } = using(UNMASK);
    const split = agent("split", [
      entry({ resources: ["shop/public/customers"] }),
      entry({ resources: ["shop/public/orders"], unmask: ["pii.email"] }),
    ]);
    const decision = access.authorize(subject([engineer, split]), touching("output"));
    assert.deepEqual([...permit(decision).obligations.unmask], []);
    // The value may have been reached through either of the two.
    const joined = touching(
      "output",
      ["sql:select", table("customers")],
      ["sql:select", table("orders")],
    );
    const both = access.authorize(subject([engineer, split]), joined);
    assert.deepEqual([...permit(both).obligations.unmask], []);
  });

  it("may be compared with a constant by whom match permits at every hop", () => {
    const asked = [subject([engineer]), subject([engineer, blind])] as const;
    for (const one of asked) {
      assert.equal(denial(using().access.authorize(one, touching("match"))).kind, "classified");
      const decision = using(MATCH).access.authorize(one, touching("match"));
      assert.deepEqual([...permit(decision).obligations.unmask], []);
    }
    const usersOnly = MATCH.replace("(principal,", "(principal is Custody::User,");
    const found = denial(using(usersOnly).access.authorize(asked[1], touching("match")));
    assert.deepEqual([found.kind, found.hop], ["classified", 1]);
    assert.equal(using(UNMASK).access.authorize(asked[0], touching("match")).verdict, "permit");
  });

  it("may be computed with only by whom they may be shown to", () => {
    const inner = touching("inner");
    const found = denial(using(MATCH).access.authorize(subject([engineer]), inner));
    assert.deepEqual([found.kind, found.what], ["classified", "use of public.customers.email"]);
    assert.equal(using(UNMASK).access.authorize(subject([engineer]), inner).verdict, "permit");
    const chain = subject([engineer, blind]);
    assert.equal(denial(using(UNMASK).access.authorize(chain, inner)).kind, "classified");
    const mixed = operation(select.effects, [...touching("output").touches, ...inner.touches]);
    assert.equal(
      denial(using(MATCH).access.authorize(subject([engineer]), mixed)).kind,
      "classified",
    );
  });

  it("are a pair of their own: consent to the statement shows nothing", () => {
    const { access } = using(
      UNMASK,
      `@id("see-asks") forbid (principal, action == Custody::Action::"unmask", resource) unless { context.approved };`,
      `@id("read-asks") forbid (principal, action == SQL::Action::"select", resource) unless { context.approved };`,
    );
    const asked = subject([engineer]);
    assert.deepEqual(required(access.authorize(asked, touching("output"))), [
      "read-asks",
      "see-asks",
    ]);
    const half = access.authorizeApproved(asked, touching("output"), ["read-asks"]);
    assert.deepEqual(required(half), ["see-asks"]);
    const all = access.authorizeApproved(asked, touching("output"), ["read-asks", "see-asks"]);
    assert.deepEqual([...permit(all).obligations.unmask], ["pii.email"]);
    // Where a hop could not see it even then, nobody is asked, and the mask stays.
    const masked = access.authorizeApproved(subject([engineer, blind]), touching("output"), [
      "read-asks",
    ]);
    assert.deepEqual([...permit(masked).obligations.unmask], []);
  });

  it("are not passed over when a policy about them fails", () => {
    const { access } = using(
      `@id("errs") forbid (principal, action == Custody::Action::"unmask", resource) when { context.depth + 9223372036854775807 > 0 };`,
    );
    const found = denial(access.authorize(subject([engineer, seeing]), touching("output")));
    assert.equal(found.kind, "fault");
  });
});

describe("obligations", () => {
  it("are the strictest of all policies and grants that let it pass", () => {
    const { access } = using(
      `@id("a") @max_rows("100") @timeout("30s") permit (principal is Custody::User, action == SQL::Action::"select", resource);`,
      `@id("b") @max_rows("50") @record("commands") permit (principal is Custody::Agent, action == SQL::Action::"select", resource);`,
      `@id("c") @max_bytes("1KiB") @record("full") permit (principal, action == SQL::Action::"delete", resource);`,
    );
    const job = agent("job", [
      entry({ limits: { timeoutMs: 10_000, maxBytes: 5000 } }),
      entry({ targets: ["other"], limits: { maxRows: 1 } }),
    ]);
    const { unmask: _, ...obligations } = permit(
      access.authorize(subject([engineer, job]), select),
    ).obligations;
    assert.deepEqual(obligations, {
      maxRows: 50,
      maxBytes: 5000,
      timeoutMs: 10_000,
      record: "commands",
    });
    const both = operation([...select.effects, ...remove.effects]);
    const strict = permit(access.authorize(subject([engineer, job]), both)).obligations;
    assert.deepEqual([strict.maxBytes, strict.record], [1024, "full"]);
  });

  it("as to how far the recording may be behind are all kept", () => {
    const people = `permit (principal is Custody::User, action == SQL::Action::"select", resource);`;
    const agents = `permit (principal is Custody::Agent, action == SQL::Action::"select", resource);`;
    const modeOf = (a: string, b: string) => {
      const { access } = using(`@id("a") ${a} ${people}`, `@id("b") ${b} ${agents}`);
      const asked = subject([engineer, agent("job", [entry()])]);
      return permit(access.authorize(asked, select)).obligations.recordMode;
    };
    const strict = { mode: "strict" };
    assert.equal(modeOf("", ""), undefined);
    const strictly = '@record_mode("strict")';
    assert.deepEqual(modeOf(strictly, '@record_mode("bounded 100ms")'), strict);
    assert.deepEqual(modeOf('@record_mode("bounded 100ms")', strictly), strict);
    assert.deepEqual(modeOf("", strictly), strict);
    assert.deepEqual(
      modeOf('@record_mode("bounded 100ms 64KiB")', '@record_mode("bounded 2s 32KiB")'),
      { mode: "bounded", aheadMs: 100, aheadBytes: 32_768 },
    );
  });

  it("to mask what is answered deny what cannot be masked", () => {
    const { access } = using(
      `@id("masks") @mask("secret.key, pii.card") permit (principal is Custody::Agent, action == SQL::Action::"select", resource);`,
      `@id("more") @mask("pii.email") permit (principal, action == Custody::Action::"connect", resource);`,
    );
    const asked = subject([engineer, agent("job", [entry()])]);
    const found = permit(access.authorize(asked, { ...select, maskable: true }));
    assert.deepEqual(found.obligations.mask, ["pii.card", "pii.email", "secret.key"]);
    for (const [maskable, why] of [
      [undefined, /cannot be masked/],
      ["it is a picture", /it is a picture/],
    ] as const) {
      const { maskable: _, ...plain } = select;
      const one = maskable === undefined ? plain : { ...plain, maskable };
      const refused = denial(access.authorize(asked, one));
      assert.equal(refused.kind, "classified");
      assert.match(refused.message, why);
    }
    assert.equal(
      permit(access.authorize(subject([engineer]), { ...select, maskable: true })).obligations.mask
        ?.length,
      1,
    );
  });

  it("to filter what is listed deny what lists nothing, whoever of the chain has them", () => {
    const { access } = using(
      `@id("some") @filter("items") permit (principal is Custody::Agent, action == SQL::Action::"select", resource);`,
    );
    const asked = subject([engineer, agent("job", [entry()])]);
    const found = permit(access.authorize(asked, { ...select, filterable: true }));
    assert.equal(found.obligations.filter, true);
    for (const filterable of [undefined, "it has a page token"]) {
      const { filterable: _, ...plain } = { ...select, filterable };
      const one = filterable === undefined ? plain : { ...plain, filterable };
      const refused = denial(access.authorize(asked, one));
      assert.deepEqual([refused.kind, refused.policyId], ["not_permitted", "some"]);
    }
    const person = permit(access.authorize(subject([engineer]), { ...select, filterable: true }));
    assert.equal(person.obligations.filter, undefined);
  });

  it("come from the entries that carry the effect, or, for none, from all that apply", () => {
    const { access } = using();
    const job = agent("job", [
      entry({ resources: ["shop/public/customers"], limits: { maxRows: 7 } }),
      entry({ resources: ["shop/public/orders"], limits: { timeoutMs: 9 } }),
    ]);
    const asked = subject([engineer, job]);
    const rows = permit(access.authorize(asked, select)).obligations;
    assert.deepEqual([rows.maxRows, rows.timeoutMs], [7, undefined]);
    const nothing = permit(access.authorize(asked, operation([]))).obligations;
    assert.deepEqual([nothing.maxRows, nothing.timeoutMs], [7, 9]);
  });
});

describe("a permit", () => {
  it("cannot be made by anybody else", () => {
    const { access, use } = using();
    const genuine = permit(access.authorize(subject([engineer]), select));
    assert.equal(isPermit(genuine), true);
    assert.equal(isPermit({ ...genuine }), false);
    assert.equal(isPermit(structuredClone({ ...genuine, operation: undefined })), false);
    assert.equal(isPermit(Object.create(genuine)), false);
    assert.equal(isPermit(undefined), false);
    assert.throws(() => Object.assign(genuine, { operation: remove }), TypeError);
    assert.throws(() => Object.assign(genuine.obligations, { maxRows: 1 }), TypeError);
    assert.equal(isCurrent(genuine, select, access), true);
    assert.equal(isCurrent(genuine, operation(select.effects), access), false);
    use(policy([CONNECT, READ].join("\n")));
    assert.equal(isCurrent(genuine, select, access), false);
  });

  it("names every policy that let it pass", () => {
    const { access } = using();
    assert.deepEqual(permit(access.authorize(subject([engineer]), select)).policyIds, [
      "connect",
      "read",
    ]);
  });
});

describe("the cache", () => {
  it("keeps a decision for the same subject and operation, and no other", () => {
    const { access, use, clock } = using();
    const asked = subject([engineer]);
    const first = access.authorize(asked, select);
    clock.now += 86_400_000;
    assert.equal(access.authorize(asked, select), first);
    assert.equal(access.authorize({ ...asked }, select), first);
    assert.notEqual(access.authorize({ ...asked, justification: "because" }, select), first);
    assert.notEqual(access.authorize({ ...asked, chain: { hops: [engineer] } }, select), first);
    assert.notEqual(access.authorize({ ...asked, sessionId: "s-other" }, select), first);
    const again = access.authorize(asked, select);
    access.forget(asked.sessionId);
    assert.notEqual(access.authorize(asked, select), again);
    use(policy([CONNECT].join("\n")));
    assert.equal(access.authorize(asked, select).verdict, "deny");
  });

  it("ends an answer that read the clock when the clock could change it", () => {
    const { access, clock } = using(
      `@id("hour") forbid (principal, action == SQL::Action::"delete", resource) when { context.time.hour == 21 };`,
      `@id("until") forbid (principal, action == SQL::Action::"select", resource) when { context.time.now >= datetime("2026-11-22T20:17:00Z") };`,
    );
    const asked = subject([engineer]);
    const verdictAt = (minutes: number, seconds: number, what = select) => {
      clock.now = Date.UTC(2026, 10, 22, 20, minutes, seconds);
      return access.authorize(asked, what).verdict;
    };
    assert.equal(verdictAt(16, 59), "permit");
    assert.equal(verdictAt(17, 0), "deny");
    assert.equal(verdictAt(16, 30), "permit", "the clock was set back");
    assert.equal(verdictAt(59, 59, remove), "permit");
    assert.equal(verdictAt(60, 0, remove), "deny");
    assert.equal(verdictAt(119, 59, remove), "deny");
    assert.equal(verdictAt(120, 0, remove), "permit");
    clock.now = NOON_MS;
  });

  it("does not mix up principals, groups, targets or contexts that look alike", () => {
    const { access } = using(
      `@id("g") forbid (principal in Custody::Group::"corp/dba", action == SQL::Action::"delete", resource);`,
      `@id("x") forbid (principal, action == SQL::Action::"delete", resource) when { context.depth == 1 };`,
      `@id("e") forbid (principal, action == SQL::Action::"delete", resource) when { context.target.hasTag("env") && context.target.getTag("env") == "prod" };`,
    );
    const verdict = (...asked: Parameters<typeof subject>) =>
      access.authorize(subject(...asked), remove).verdict;
    assert.equal(verdict([engineer]), "permit");
    assert.equal(verdict([{ ...engineer, groups: ["corp/dba"] }]), "deny");
    assert.equal(verdict([engineer, agent("job", [entry()])]), "deny");
    const runner = { ...engineer, kind: "workload", id: "github/acme/shop", groups: [] } as const;
    const runs = [runner, engineer, runner] as const;
    assert.equal(verdict([...runs]), "permit");
    assert.equal(verdict([runs[0], { ...engineer, groups: ["corp/dba"] }, runs[2]]), "deny");
    assert.equal(verdict([engineer], { targetTags: { env: "prod" } }), "deny");
    assert.equal(verdict([engineer]), "permit");
  });
});
