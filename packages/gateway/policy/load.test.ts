import assert from "node:assert/strict";
import { mkdir, mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { describe, it } from "node:test";
import { loadPolicies, type PolicyProblem, parsePolicies } from "./load.ts";
import { starterPolicies } from "./starter.ts";

function problemsOf(text: string): readonly PolicyProblem[] {
  const loaded = parsePolicies([{ name: "p.cedar", text }]);
  assert.equal(loaded.ok, false, "was loaded");
  return loaded.ok ? [] : loaded.problems;
}

function loadOne(text: string) {
  const loaded = parsePolicies([{ name: "p.cedar", text }]);
  assert.deepEqual(loaded.ok ? [] : loaded.problems, []);
  const policy = loaded.ok ? loaded.policies.policies[0] : undefined;
  assert.ok(policy);
  return policy;
}

const PERMIT = 'permit (principal, action == SQL::Action::"select", resource)';
const FORBID = 'forbid (principal, action == SQL::Action::"delete", resource)';
const HOLD = `${FORBID} unless { context.approved };`;

describe("parsePolicies refuses", () => {
  const cases: readonly [string, string, RegExp, string?][] = [
    [
      "a syntax error, with its place",
      `@id("a")\npermit (principal action, resource);`,
      /expected/,
      "2:19",
    ],
    [
      "a place counted in characters",
      `@id("a") // é\n@message("é") permit (principal, acton, resource);`,
      /acton/,
      "2:34",
    ],
    ["what is no policy", `@id("a") ${PERMIT}; nonsense`, /expected|unexpected/, "1:81"],
    ["a missing semicolon", `@id("a") ${PERMIT}`, /unexpected end|expected/],
    ["no @id", `${PERMIT};`, /expected an @id/, "1:1"],
    ["an empty @id", `@id("") ${PERMIT};`, /@id: expected 1 to 64/, "1:1"],
    ["an @id without a value", `@id ${PERMIT};`, /@id: expected 1 to 64/],
    ["an @id of other characters", `@id("A b") ${PERMIT};`, /@id: expected 1 to 64/],
    [
      "the same @id twice",
      `@id("a") ${PERMIT};\n @id("a") ${HOLD}`,
      /@id\("a"\) is also at p\.cedar:1/,
      "2:2",
    ],
    ["an annotation twice", `@id("a") @id("b") ${PERMIT};`, /duplicate annotation/],
    [
      "an unknown annotation",
      `@id("a")\n@qorum("2") ${HOLD}`,
      /@qorum: unknown; expected one of @id/,
      "2:1",
    ],
    [
      "an annotation named like a method",
      `@id("a") @toString("x") ${PERMIT};`,
      /@toString: unknown/,
    ],
    [
      "@quorum on a permit",
      `@id("a") @quorum("2") ${PERMIT};`,
      /@quorum: only on a policy that asks/,
    ],
    ["@quorum on a plain forbid", `@id("a") @quorum("2") ${FORBID};`, /@quorum: only on a policy/],
    [
      "@approvers on a plain forbid",
      `@id("a") @approvers("corp/dba") ${FORBID};`,
      /@approvers: only on/,
    ],
    ["@max_rows on a forbid", `@id("a") @max_rows("2") ${FORBID};`, /@max_rows: only on a permit/],
    [
      "@quorum of nothing",
      `@id("a") @quorum("0") ${HOLD}`,
      /@quorum: expected a whole number from 1 to 10/,
    ],
    ["@quorum of too many", `@id("a") @quorum("11") ${HOLD}`, /@quorum: expected/],
    ["@quorum that is no number", `@id("a") @quorum("two") ${HOLD}`, /@quorum: expected/],
    [
      "@approvers without provider",
      `@id("a") @approvers("dba") ${HOLD}`,
      /@approvers: expected groups/,
    ],
    [
      "@approvers with an empty place",
      `@id("a") @approvers("corp/dba,") ${HOLD}`,
      /@approvers: expected/,
    ],
    [
      "@approval_ttl without a unit",
      `@id("a") @approval_ttl("15") ${HOLD}`,
      /@approval_ttl: expected a dur/,
    ],
    ["@approval_ttl for ever", `@id("a") @approval_ttl("8d") ${HOLD}`, /@approval_ttl: expected/],
    [
      "@justification of its own",
      `@id("a") @justification("yes") ${HOLD}`,
      /@justification: expected "requ/,
    ],
    [
      "@max_bytes of a foreign unit",
      `@id("a") @max_bytes("10MB") ${PERMIT};`,
      /@max_bytes: expected a size/,
    ],
    ["@timeout with a sign", `@id("a") @timeout("-1s") ${PERMIT};`, /@timeout: expected/],
    ["@filter of its own", `@id("a") @filter("rows") ${PERMIT};`, /@filter: expected "items"/],
    ["@mask of no class", `@id("a") @mask("pii.card,") ${PERMIT};`, /@mask: expected classes/],
    [
      "@record of its own",
      `@id("a") @record("some") ${PERMIT};`,
      /@record: expected "full", "commands" or "digest"/,
    ],
    [
      "@record_mode of its own",
      `@id("a") @record_mode("loose") ${PERMIT};`,
      /@record_mode: expected "strict", or "bounded"/,
    ],
    ["@record_mode without a bound", `@id("a") @record_mode("bounded") ${PERMIT};`, /@record_mode/],
    [
      "@record_mode with more than is ever on its way",
      `@id("a") @record_mode("bounded 2MiB") ${PERMIT};`,
      /@record_mode/,
    ],
    [
      "@record_mode with less time than a flush takes",
      `@id("a") @record_mode("bounded 9ms") ${PERMIT};`,
      /@record_mode/,
    ],
    [
      "@message with a line break",
      `@id("a") @message("x\\ny") ${PERMIT};`,
      /@message: expected a sentence/,
    ],
    [
      "a permit that reads approved",
      `@id("a") ${PERMIT} when { context.approved };`,
      /a permit may not read/,
      "1:1",
    ],
    [
      "a permit unless approved",
      `@id("a") ${PERMIT} unless { context.approved };`,
      /a permit may not read/,
    ],
    [
      "a permit that hides it",
      `@id("a") ${PERMIT} when { if context.approved then true else false };`,
      /a permit may not/,
    ],
    [
      "a forbid when approved",
      `@id("a") ${FORBID} when { context.approved };`,
      /may only be read as/,
    ],
    [
      "a forbid when not approved",
      `@id("a") ${FORBID} when { !context.approved };`,
      /may only be read as/,
    ],
    [
      "approved beside something",
      `@id("a") ${FORBID} unless { context.approved || context.depth == 0 };`,
      /only be read as/,
    ],
    [
      "approved twice",
      `@id("a") ${FORBID} unless { context.approved } when { context.approved };`,
      /only be read as/,
    ],
    ["has approved", `@id("a") ${FORBID} unless { context has approved };`, /only be read as/],
    ["the whole context", `@id("a") ${PERMIT} when { context == context };`, /member by member/],
    [
      "the context in a record",
      `@id("a") ${PERMIT} when { {"Var": context}.Var == context };`,
      /member by member/,
    ],
    ["a template", `@id("a") permit (principal == ?principal, action, resource);`, /template/],
    [
      "an unknown attribute, once",
      `@id("a") permit (principal, action, resource) when { context.dpth == 0 };`,
      /dpth.*did you mean `depth`/,
      "1:54",
    ],
    [
      "an unknown entity type",
      `@id("a") permit (principal in Custody::Groop::"x", action, resource);`,
      /Groop.*did you mean/,
    ],
    [
      "an unknown action",
      `@id("a") permit (principal, action == SQL::Action::"selec", resource);`,
      /did you mean/,
    ],
    [
      "sql:unknown, which nothing permits",
      `@id("a") permit (principal, action == SQL::Action::"unknown", resource);`,
      /unrecognized action/,
    ],
    [
      "a column, which is no resource",
      `@id("a") permit (principal, action, resource is SQL::Column);`,
      /SQL::Column/,
    ],
    [
      "an action on what it never meets",
      `@id("a") forbid (principal, action == SQL::Action::"truncate", resource is SQL::Function);`,
      /applicable action/,
    ],
    [
      "what is always false",
      `@id("a") forbid (principal, action, resource) when { false };`,
      /impossible/,
    ],
    [
      "a group where a member is meant",
      `@id("a") permit (principal, action == SQL::Action::"read", resource);`,
      /applicable action|impossible/,
    ],
    [
      "an agent that approves",
      `@id("a") permit (principal is Custody::Agent, action == Custody::Action::"approve", resource);`,
      /applicable action/,
    ],
    [
      "an optional member read unasked",
      `@id("a") ${PERMIT} when { context.justification == "x" };`,
      /optional|justification/,
    ],
    [
      "actions of two namespaces",
      `@id("a") permit (principal, action in [SQL::Action::"read", Custody::Action::"connect"], resource);`,
      /a policy for each/,
    ],
  ];
  for (const [name, text, message, place] of cases) {
    it(name, () => {
      const problems = problemsOf(text);
      assert.equal(problems.length, 1, JSON.stringify(problems));
      const [found] = problems;
      assert.match(found?.message ?? "", message);
      assert.equal(found?.file, "p.cedar");
      if (place !== undefined) assert.equal(`${found?.line}:${found?.column}`, place);
    });
  }

  it("the whole set for one policy, and tells every problem in its order", () => {
    const loaded = parsePolicies([
      { name: "b.cedar", text: `@id("ok") ${PERMIT};\n@id("x") @foo("1") ${PERMIT};` },
      { name: "a.cedar", text: `@id("ok") ${PERMIT};` },
    ]);
    assert.deepEqual(loaded.ok || loaded.problems.map(({ file, line }) => `${file}:${line}`), [
      "b.cedar:2",
      "a.cedar:1",
    ]);
  });
});

describe("parsePolicies reads", () => {
  it("all annotations, typed", () => {
    const hold = loadOne(`@id("h") @message("why") @quorum("2") @approvers("corp/dba, corp/leads")
      @approval_ttl("1h") @justification("required") ${HOLD}`);
    assert.equal(hold.asksApproval, true);
    assert.deepEqual(hold.terms, {
      message: "why",
      quorum: 2,
      approvers: ["corp/dba", "corp/leads"],
      approvalTtlMs: 3_600_000,
      justificationRequired: true,
      maxRows: undefined,
      maxBytes: undefined,
      timeoutMs: undefined,
      record: undefined,
      recordMode: undefined,
      mask: [],
      filter: false,
    });
    const { terms } = loadOne(
      `@id("p") @max_rows("10") @max_bytes("2MiB") @timeout("500ms") @record("commands") @mask("pii.card, secret.key") ${PERMIT};`,
    );
    assert.deepEqual(
      [terms.maxRows, terms.maxBytes, terms.timeoutMs, terms.record, terms.mask],
      [10, 2_097_152, 500, "commands", ["pii.card", "secret.key"]],
    );
    const modes = [
      ["strict", { mode: "strict" }],
      ["bounded 200ms", { mode: "bounded", aheadMs: 200, aheadBytes: 1 << 20 }],
      ["bounded 64KiB", { mode: "bounded", aheadMs: 1000, aheadBytes: 65_536 }],
      ["bounded 2s 4096B", { mode: "bounded", aheadMs: 2000, aheadBytes: 4096 }],
    ] as const;
    for (const [written, mode] of modes)
      assert.deepEqual(
        loadOne(`@id("m") @record_mode("${written}") ${PERMIT};`).terms.recordMode,
        mode,
      );
  });

  it("strings, comments and marks inside them", () => {
    const text = `\uFEFF// ; not here
      @id("a") @message("semicolon ; slash // and \\" quote")
      permit (principal, action == SQL::Action::"select", resource) // ; nor here
      when { resource.path like "a;*\\"//" };
      // end ;`;
    const loaded = parsePolicies([{ name: "p.cedar", text }]);
    assert.ok(loaded.ok);
    assert.equal(loaded.policies.policies.length, 1);
  });

  it("which clock a policy reads", () => {
    const clockOf = (condition: string) =>
      loadOne(`@id("a") ${PERMIT} when { ${condition} };`).clock;
    assert.equal(clockOf("context.depth == 0"), "none");
    assert.equal(clockOf("context.time.hour > 8"), "hour");
    assert.equal(clockOf('["monday"].contains(context.time.weekday)'), "hour");
    assert.equal(clockOf('context.time.now < datetime("2027-01-01")'), "minute");
    assert.equal(
      clockOf('context.time == {hour: 1, weekday: "monday", now: datetime("2027-01-01")}'),
      "minute",
    );
  });

  it("a version that follows the texts and not the files", () => {
    const one = `@id("a") ${PERMIT};`;
    const two = `@id("b") ${HOLD}`;
    const version = (...texts: string[]) => {
      const loaded = parsePolicies(texts.map((text, index) => ({ name: `${index}`, text })));
      return loaded.ok ? loaded.policies.version : "";
    };
    assert.equal(version(one, two), version(`${two}\n${one}`));
    assert.notEqual(version(one), version(one, two));
    assert.notEqual(version(one), version(one.replace("select", "insert")));
  });
});

describe("loadPolicies", () => {
  it("reads a folder, and refuses one that is empty, missing or has folders in it", async () => {
    const folder = await mkdtemp(join(tmpdir(), "custody-policies-"));
    try {
      const problemOf = async (path: string) => {
        const loaded = await loadPolicies(path);
        return loaded.ok ? "" : loaded.problems.map((problem) => problem.message).join();
      };
      assert.match(await problemOf(folder), /at least one \.cedar file/);
      assert.match(await problemOf(join(folder, "none")), /ENOENT/);
      for (const { name, text } of starterPolicies()) await writeFile(join(folder, name), text);
      await writeFile(join(folder, "README.md"), "not a policy");
      const loaded = await loadPolicies(folder);
      assert.ok(loaded.ok);
      assert.ok(loaded.policies.policies.length > 5);
      await mkdir(join(folder, "more"));
      assert.match(await problemOf(folder), /not from folders in it/);
    } finally {
      await rm(folder, { recursive: true });
    }
  });

  it("reads many in a thread, where it keeps nobody waiting, as it reads few", async () => {
    const folder = await mkdtemp(join(tmpdir(), "custody-policies-"));
    try {
      const one = (at: number, action: string) =>
        `@id("p${at}") permit (principal in Custody::Group::"corp/team-${at}", action == ${action}, resource);\n`;
      const text = Array.from({ length: 400 }, (_, at) => one(at, 'SQL::Action::"select"')).join(
        "",
      );
      const name = join(folder, "many.cedar");
      await writeFile(name, text);
      let threads = 0;
      const count = (): void => {
        threads += 1;
      };
      process.on("worker", count);
      const loaded = await loadPolicies(folder);
      process.off("worker", count);
      assert.equal(threads, 1);
      const direct = parsePolicies([{ name, text }]);
      assert.ok(loaded.ok && direct.ok);
      assert.equal(loaded.policies.digest, direct.policies.digest);
      assert.deepEqual(loaded.policies.policies, direct.policies.policies);
      await writeFile(name, text + one(400, "SQL::Action::sel"));
      const refused = await loadPolicies(folder);
      assert.deepEqual(refused.ok || refused.problems.map(({ file, line }) => [file, line]), [
        [name, 401],
      ]);
    } finally {
      await rm(folder, { recursive: true });
    }
  });
});
