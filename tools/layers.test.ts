import assert from "node:assert/strict";
import test from "node:test";
import { importsOf, ownCode, resolveOwn } from "./imports.ts";
import { type Declared, lint } from "./layers.ts";

const declared: Declared = new Map([
  ["wire", new Set<string>()],
  ["evidence", new Set(["age-encryption"])],
  ["contract", new Set(["zod"])],
  ["gateway", new Set(["jose", "yaml"])],
  ["cli", new Set(["commander"])],
]);

/** The rules a set of planted files breaks. */
function broken(files: Record<string, string>): string[] {
  const sources = Object.entries(files).map(([path, text]) => ({ path, text }));
  return lint(sources, declared).map(({ path, rule }) => `${rule} ${path}`);
}

const forbidden: [what: string, path: string, specifier: string][] = [
  ["wire does no I/O", "packages/wire/postgres/a.ts", "node:net"],
  ["wire has no dependencies", "packages/wire/a.ts", "zod"],
  ["wire knows no gateway", "packages/wire/a.ts", "@custody/gateway/base/ids.ts"],
  ["evidence/core has no Node", "packages/evidence/core/a.ts", "node:crypto"],
  ["evidence/core knows no evidence/node", "packages/evidence/core/a.ts", "../node/verify.ts"],
  ["evidence/node knows no gateway", "packages/evidence/node/a.ts", "@custody/gateway/base/ids.ts"],
  ["evidence/node has one dependency", "packages/evidence/node/a.ts", "yaml"],
  ["contract is browser-safe", "packages/contract/a.ts", "node:fs"],
  ["base knows nothing of ours", "packages/gateway/base/a.ts", "../audit/journal.ts"],
  ["a domain knows no protocol", "packages/gateway/audit/a.ts", "../proxy/postgres/plan.ts"],
  ["a domain knows no store", "packages/gateway/delegation/a.ts", "../store/tree.ts"],
  ["a domain knows no wire", "packages/gateway/policy/a.ts", "@custody/wire/postgres/frames.ts"],
  ["only the API knows the contract", "packages/gateway/session/a.ts", "@custody/contract/api.ts"],
  ["a protocol knows no other", "packages/gateway/proxy/ssh/a.ts", "../postgres/plan.ts"],
  ["a protocol knows no store", "packages/gateway/proxy/postgres/a.ts", "../../store/a.ts"],
  ["the API knows no store", "packages/gateway/api/a.ts", "../store/a.ts"],
  ["only main imports compose", "packages/gateway/api/a.ts", "../compose.ts"],
  ["the CLI is not the gateway", "packages/cli/a.ts", "@custody/gateway/main.ts"],
  ["the console is no gateway", "packages/console/a.ts", "@custody/evidence/node/verify.ts"],
  ["packages know no demo", "packages/gateway/audit/a.ts", "../../../demo/main.ts"],
  ["nothing imports a test", "packages/gateway/base/a.ts", "./ids.test.ts"],
  ["nothing but tests imports a harness", "packages/gateway/base/a.ts", "./ids-harness.ts"],
];

for (const [what, path, specifier] of forbidden)
  test(`layer: ${what}`, () => {
    assert.deepEqual(broken({ [path]: `import { x } from "${specifier}";\n` }), [`layer ${path}`]);
    assert.deepEqual(broken({ [path]: `export type { X } from "${specifier}";\nconst y = 1;\n` }), [
      `layer ${path}`,
    ]);
  });

const permitted: [path: string, specifier: string][] = [
  ["packages/wire/postgres/a.ts", "node:crypto"],
  ["packages/evidence/node/a.ts", "../core/leaf.ts"],
  ["packages/evidence/node/a.ts", "age-encryption"],
  ["packages/gateway/audit/a.ts", "@custody/evidence/core/leaf.ts"],
  ["packages/gateway/session/a.ts", "../delegation/chain.ts"],
  ["packages/gateway/proxy/postgres/a.ts", "@custody/wire/postgres/frames.ts"],
  ["packages/gateway/api/a.ts", "@custody/contract/api.ts"],
  ["packages/gateway/main.ts", "./compose.ts"],
  ["packages/gateway/compose.ts", "./store/a.ts"],
  ["packages/cli/a.ts", "@custody/wire/postgres/backend.ts"],
  ["packages/gateway/audit/a.test.ts", "../../../conformance/support/postgres-server.ts"],
  ["packages/gateway/audit/a-harness.ts", "../../../conformance/support/postgres-server.ts"],
];

for (const [path, specifier] of permitted)
  test(`layer: ${path} may import ${specifier}`, () => {
    assert.deepEqual(broken({ [path]: `import { x } from "${specifier}";\n` }), []);
  });

test("layer: the CLI loads the gateway when it runs one, and only so", () => {
  const load = `const { serve } = await import("@custody/gateway/main.ts");\n`;
  assert.deepEqual(broken({ "packages/cli/serve.ts": load }), []);
  const proxy = `await import("@custody/gateway/proxy/postgres/session.ts");\n`;
  assert.deepEqual(broken({ "packages/cli/serve.ts": proxy }), ["layer packages/cli/serve.ts"]);
  const computed = "await import(name);\n";
  assert.deepEqual(broken({ "packages/cli/serve.ts": computed }), ["layer packages/cli/serve.ts"]);
});

test("layer: evidence/core does not use Node's globals", () => {
  const path = "packages/evidence/core/a.ts";
  assert.deepEqual(broken({ [path]: "const a = Buffer.from([1]);\n" }), [`layer ${path}`]);
  assert.deepEqual(broken({ [path]: "// a Buffer.from of Node\n" }), []);
});

test("dependency: what is imported is declared by its package", () => {
  const path = "packages/gateway/config/a.ts";
  assert.deepEqual(broken({ [path]: 'import { parse } from "yaml";\n' }), []);
  assert.deepEqual(broken({ [path]: 'import x from "left-pad/sub";\n' }), [`dependency ${path}`]);
});

test("circle: of two, of three, through types", () => {
  const a = "packages/gateway/audit/a.ts";
  const b = "packages/gateway/audit/b.ts";
  const c = "packages/gateway/session/c.ts";
  const two = broken({
    [a]: 'import { y } from "./b.ts";\nexport const x = 1;\n',
    [b]: 'import type { x } from "./a.ts";\nexport const y = 1;\n',
  });
  assert.deepEqual(two, [`circle ${b}`]);
  const three = broken({
    [a]: 'import { y } from "./b.ts";\n',
    [b]: 'import { z } from "../session/c.ts";\n',
    [c]: 'import { x } from "@custody/gateway/audit/a.ts";\n',
  });
  assert.deepEqual(three, [`circle ${c}`]);
  const straight = broken({
    [a]: 'import { y } from "./b.ts";\nimport { z } from "../session/c.ts";\n',
    [b]: 'import { z } from "../session/c.ts";\n',
    [c]: "export const z = 1;\n",
  });
  assert.deepEqual(straight, []);
});

test("barrel: a file that only re-exports", () => {
  const path = "packages/gateway/audit/a.ts";
  const barrel = '// All of it.\nexport { x } from "./b.ts";\nexport type { Y } from "./c.ts";\n';
  assert.deepEqual(broken({ [path]: barrel }), [`barrel ${path}`]);
  assert.deepEqual(broken({ [path]: `${barrel}export const z = 1;\n` }), []);
});

test("name: kebab-case and telling", () => {
  for (const path of [
    "packages/gateway/audit/journalWriter.ts",
    "packages/gateway/audit/Journal.ts",
    "packages/gateway/audit/journal_writer.ts",
    "packages/gateway/audit/string-utils.ts",
    "packages/gateway/audit/helpers.ts",
    "packages/gateway/session/session-manager.ts",
  ])
    assert.deepEqual(broken({ [path]: "export const x = 1;\n" }), [`name ${path}`]);
  assert.deepEqual(broken({ "packages/gateway/audit/journal-writer.test.ts": "" }), []);
});

test("length: six hundred lines at most", () => {
  const path = "packages/gateway/audit/a.ts";
  assert.deepEqual(broken({ [path]: "x;\n".repeat(600) }), []);
  assert.deepEqual(broken({ [path]: "x;\n".repeat(601) }), [`length ${path}`]);
});

test("silenced: no check is switched off and nothing is put off", () => {
  const path = "packages/gateway/audit/a.ts";
  for (const line of ["// @ts-expect-error", "// biome-ignore lint: no", "// TODO later"])
    assert.deepEqual(broken({ [path]: `${line}\n` }), [`silenced ${path}`]);
});

test("imports are read from one line, many lines and import()", () => {
  const text = [
    'import "node:fs";',
    'import type { A } from "./a.ts";',
    "import {",
    "  b,",
    "  type C,",
    '} from "./b.ts";',
    'import data from "./d.json" with { type: "json" };',
    'export { e } from "./e.ts";',
    "// import(nothing)",
    'const f = await import("./f.ts");',
    "const g = await import(name);",
    'const text = "import from";',
    "",
  ].join("\n");
  assert.deepEqual(
    importsOf(text).map((one) => [one.specifier, one.line, one.typeOnly, one.dynamic]),
    [
      ["node:fs", 1, false, false],
      ["./a.ts", 2, true, false],
      ["./b.ts", 3, false, false],
      ["./d.json", 7, false, false],
      ["./e.ts", 8, false, false],
      ["./f.ts", 10, false, true],
      ["?", 11, false, true],
    ],
  );
  assert.match(ownCode(text), /^const f/);
  assert.equal(resolveOwn("packages/cli/a/b.ts", "../c.ts"), "packages/cli/c.ts");
  assert.equal(resolveOwn("packages/cli/a.ts", "@custody/wire/x/y.ts"), "packages/wire/x/y.ts");
  assert.equal(resolveOwn("packages/cli/a.ts", "node:fs"), undefined);
});
