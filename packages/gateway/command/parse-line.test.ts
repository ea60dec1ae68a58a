// Lines against real shells: what was decided is what every shell starts, byte by byte.

import assert from "node:assert/strict";
import { test } from "node:test";
import fc from "fast-check";
import { byWords, openPlayground, type Seen, shells } from "../../../conformance/support/shells.ts";
import { emit, quote, readable } from "./canonical.ts";
import { parseLine } from "./parse-line.ts";
import { redirectionRefusal } from "./redirections.ts";
import type { AndOr, Redirect, Script, SimpleCommand } from "./script.ts";
import { checkText } from "./text.ts";

const NAMES = [
  "p0",
  "p1",
  "if",
  "time",
  "a b",
  "X=1",
  "$(p1)",
  "it's",
  "{",
  "!",
  "]]",
  "*",
  "#",
  "é",
];

/** What makes shells differ, more often than chance would have it. */
const hostile = fc.constantFrom(
  ..."' \" \\ $ ` * ? [ ] { } ( ) < > | & ; # ~ ! = % ^ - @ : , . / 0 1 2 9 a b é ü 漢 🙂 ｓ ＇".split(
    " ",
  ),
  ..." \t\n".split(""),
  ...[
    "$(p1)",
    "`p1`",
    "$" + "{IFS}",
    "$'\\n'",
    "&&",
    "||",
    ";;",
    "<<",
    "<(",
    "2>&1",
    "\\\n",
    "p1",
    "{a,b}",
  ],
  ...[
    "''",
    "'\\''",
    '"',
    "\\'",
    "-",
    "--",
    "=p1",
    "~",
    "~root",
    "!!",
    "!$",
    "\\",
    "\\\\",
    "[!a]",
    "NULL",
  ],
);
const word = fc
  .array(hostile, { minLength: 0, maxLength: 6 })
  .map((parts) => parts.join(""))
  .filter((text) => checkText(text).ok);
const file = fc.constantFrom("out", "a b", "it's", "$HOME", "*", "~", "-x", "&1", "é", ">", "#");
const redirect: fc.Arbitrary<Redirect> = fc.oneof(
  fc.record({
    kind: fc.constant("file" as const),
    fd: fc.constantFrom(1, 2, 3, 9),
    operator: fc.constantFrom(">" as const, ">>" as const, ">|" as const, "<>" as const),
    path: file,
  }),
  fc.constant({ kind: "file" as const, fd: 0, operator: "<" as const, path: "/dev/null" }),
  fc.constantFrom<Redirect>(
    { kind: "descriptor", fd: 2, operator: ">&", from: 1 },
    { kind: "descriptor", fd: 4, operator: "<&", from: 0 },
    { kind: "descriptor", fd: 5, operator: ">&", from: undefined },
  ),
);
const simple: fc.Arbitrary<SimpleCommand> = fc.record({
  assignments: fc.array(fc.record({ name: fc.constantFrom("A", "_b2"), value: word }), {
    maxLength: 1,
  }),
  words: fc
    .tuple(fc.constantFrom(...NAMES), fc.array(word, { maxLength: 5 }))
    .map(([name, rest]) => [name, ...rest]),
  redirects: fc.array(redirect, { maxLength: 2 }),
});
const list: fc.Arbitrary<AndOr> = fc
  .record({
    pipelines: fc.array(fc.record({ commands: fc.array(simple, { minLength: 1, maxLength: 3 }) }), {
      minLength: 1,
      maxLength: 3,
    }),
    choices: fc.array(fc.constantFrom("&&" as const, "||" as const), {
      minLength: 2,
      maxLength: 2,
    }),
    background: fc.boolean(),
  })
  .map(({ pipelines, choices, background }) => ({
    pipelines,
    operators: choices.slice(0, pipelines.length - 1),
    background,
  }));
const script: fc.Arbitrary<Script> = fc
  .record({ lists: fc.array(list, { minLength: 1, maxLength: 2 }) })
  .filter((one) => redirectionRefusal(one) === undefined);

/** What a script does when every program succeeds. */
function predict(decided: Script): Seen {
  const calls: string[][] = [];
  const files = new Set<string>();
  for (const { pipelines, operators } of decided.lists)
    pipelines.forEach(({ commands }, index) => {
      if (operators[index - 1] === "||") return;
      for (const { words, redirects } of commands) {
        calls.push([...words]);
        for (const one of redirects) if (one.kind === "file") files.add(one.path);
      }
    });
  files.delete("/dev/null");
  return { calls: calls.sort(byWords), files: [...files].sort() };
}

function agree(scripts: readonly Script[]): void {
  using playground = openPlayground(NAMES);
  const lines = scripts.map(emit);
  for (const shell of shells()) {
    const seen = playground.runAll(shell, lines);
    scripts.forEach((decided, index) => {
      assert.deepEqual(seen[index], predict(decided), `${shell.name}: ${lines[index]}`);
    });
  }
}

test("every shell reads the text that is sent as it was decided", () => {
  const scripts = fc.sample(script, { numRuns: 250, seed: 20261122 });
  agree(scripts);
});

test("every shell gives a word of any characters to the program as it is", () => {
  const words = fc.sample(word, { numRuns: 3000, seed: 7 });
  const scripts: Script[] = [];
  for (let at = 0; at < words.length; at += 30)
    scripts.push(
      ...[
        {
          lists: [
            {
              pipelines: [
                {
                  commands: [
                    { assignments: [], words: ["p0", ...words.slice(at, at + 30)], redirects: [] },
                  ],
                },
              ],
              operators: [],
              background: false,
            },
          ],
        },
      ],
    );
  agree(scripts);
});

test("lines of hostile parts: what is accepted runs as it was decided", () => {
  const part = fc.oneof(
    { weight: 3, arbitrary: hostile },
    {
      weight: 2,
      arbitrary: fc.constantFrom("p0 ", "p1 ", " ", "'a b'", '"c d"', "x", " && ", " | ", "; "),
    },
  );
  const lines = fc
    .sample(fc.array(part, { minLength: 1, maxLength: 10 }), { numRuns: 20_000, seed: 3 })
    .map((parts) => `p0 ${parts.join("")}`);
  const read = lines.map((line) => parseLine(Buffer.from(line)));
  const accepted = read.flatMap((one) => (one.ok ? [one.value] : []));
  assert.ok(accepted.length > 1000, `only ${accepted.length} were accepted`);
  for (const one of read)
    if (!one.ok) assert.notEqual(one.refusal.code, "disagreement", JSON.stringify(one.refusal));
  const runnable = accepted.filter(({ lists }) =>
    lists.every(({ pipelines }) =>
      pipelines.every(({ commands }) =>
        commands.every(
          ({ words, redirects }) => NAMES.includes(words[0] ?? "") && redirects.length === 0,
        ),
      ),
    ),
  );
  assert.ok(runnable.length > 300, `only ${runnable.length} could be run`);
  agree(runnable.slice(0, 400));
});

test("a word in quotes is read back as it was", () => {
  fc.assert(
    fc.property(word, (text) => {
      const read = parseLine(Buffer.from(`p0 ${quote(text)}`));
      assert.ok(read.ok);
      assert.deepEqual(read.value.lists[0]?.pipelines[0]?.commands[0]?.words, ["p0", text]);
    }),
  );
});

test("different words never look the same to people", () => {
  const seen = new Map<string, string>();
  for (const words of fc.sample(fc.array(word, { maxLength: 3 }), { numRuns: 20_000, seed: 5 })) {
    const text = readable(words);
    assert.doesNotMatch(text, /\p{Cc}/u);
    const before = seen.get(text);
    const now = JSON.stringify(words);
    if (before !== undefined) assert.equal(now, before, text);
    seen.set(text, now);
  }
});
