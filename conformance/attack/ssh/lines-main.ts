// The hostile lines alone, without a server: every line is read as the gateway reads it, and what it would
// send is run in each shell of this machine. Words as arguments: only lines whose ids contain one of them.
// The last line is `N passed, N failed, N skipped`.

import { openLineJudge } from "./judge-lines.ts";
import { LITERAL } from "./lines-literal.ts";
import { PROGRAMS } from "./lines-programs.ts";

const words = process.argv.slice(2);
const attempts = [...LITERAL, ...PROGRAMS].filter(
  ({ id }) => words.length === 0 || words.some((word) => id.includes(word)),
);

using judge = openLineJudge();
console.log(`shells: ${judge.shellNames.join(", ")}\n`);
let failed = 0;
let live = 0;
for (const attempt of attempts) {
  const wrong = judge.judge(attempt);
  // What is refused is shown to be a trick where a shell falls for it.
  const isLive = attempt.must === "refused" && judge.isLive(attempt);
  if (isLive) live++;
  if (wrong.length > 0) failed++;
  const mark = wrong.length > 0 ? "FAILED  " : "passed  ";
  console.log(
    `${mark} ${attempt.must.padEnd(8)} ${attempt.id}${isLive ? " (a shell runs it)" : ""}`,
  );
  for (const sentence of wrong) console.log(`           ${sentence}`);
}
console.log(`\n${live} of the refused lines do run their trick when a shell gets them as they are`);
console.log(`${attempts.length - failed} passed, ${failed} failed, 0 skipped`);
process.exitCode = failed === 0 && attempts.length > 0 ? 0 : 1;
