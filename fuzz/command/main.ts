// What commands are decided to do against what real programs do: launchers of GNU's and busybox's, and
// programs on files.
//
//   node fuzz/command/main.ts --runs N --seed S
//
// Deterministic by seed. The last line is `N passed, N failed, N skipped`.

import { existsSync } from "node:fs";
import { parseArgs } from "node:util";
import { seededRandom } from "../postgres/random.ts";
import { fuzzFiles } from "./files.ts";
import { fuzzLaunchers, type Outcome } from "./launchers.ts";

const { values } = parseArgs({
  options: {
    runs: { type: "string", default: "10000" },
    seed: { type: "string", default: "1" },
  },
});
const runs = Number(values.runs);
const seed = Number(values.seed);
const tally = { passed: 0, failed: 0, skipped: 0 };

function count(name: string, outcome: Outcome): void {
  for (const problem of outcome.problems) console.log(`FAILED   ${name}: ${problem}`);
  console.log(`${name}: ${outcome.accepted} of ${runs} were literal and run`);
  tally.failed += outcome.problems.length;
  tally.passed += outcome.accepted - Math.min(outcome.accepted, outcome.problems.length);
}

count("launchers", fuzzLaunchers("gnu", seededRandom(seed), runs));
if (existsSync("/usr/bin/busybox"))
  count("launchers of busybox", fuzzLaunchers("busybox", seededRandom(seed), runs));
else tally.skipped += runs;
count("files", fuzzFiles(seededRandom(seed), runs));
console.log(`\n${tally.passed} passed, ${tally.failed} failed, ${tally.skipped} skipped`);
process.exitCode = tally.failed === 0 && tally.passed > 0 ? 0 : 1;
