import assert from "node:assert/strict";
import test from "node:test";
import { readLine } from "./decide-command.ts";
import { createLiveGrammars, type GrammarText } from "./load-grammars.ts";

const grammar = (option: string): readonly GrammarText[] => [
  { name: "deploy.yaml", text: `programs:\n  deployer:\n    options:\n      "${option}": flag\n` },
];

test("commands are read by the grammars that the configuration names at the time", () => {
  let texts = grammar("--check");
  const grammars = createLiveGrammars(() => texts);
  const kindOf = (line: string) => {
    const reading = readLine(Buffer.from(line), grammars);
    return reading.ok ? reading.command.effects[0]?.kind : "refused";
  };
  const [checked, forced] = ["deployer --check", "deployer --force"];
  const before = [kindOf(checked), kindOf(forced)];
  texts = grammar("--force");
  assert.deepEqual([kindOf(forced), kindOf(checked)], before);
  assert.notEqual(before[0], before[1]);
  texts = [];
  // Without a grammar it is code that nobody reads.
  assert.equal(kindOf(checked), "exec_code");
});
