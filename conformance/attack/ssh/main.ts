// Attempts to have a host run something else than what was decided: every hostile line through a real
// gateway to a real sshd, read there by each shell of this machine. `npm run attack:ssh`; with words as
// arguments only lines whose ids contain one of them. The last line is `N passed, N failed, N skipped`.
//
// Before that the same lines are read without a server, and those that are refused are given to shells as
// they are, to show how many of them are tricks that work. After that what surrounds lines: early input,
// files, and the time people take (session-attacks.ts), and the door (door-attacks.ts).

import { runCases } from "../../ssh/checks.ts";
import { openSshStage } from "../../ssh/stage.ts";
import { hasSshServer } from "../../support/ssh-server.ts";
import { openAttackedHost } from "./attacked-host.ts";
import { CERTIFICATE_ATTACKS } from "./certificate-attacks.ts";
import { DOOR_ATTACKS, DOOR_POLICIES } from "./door-attacks.ts";
import { EXPLANATIONS } from "./explanations.ts";
import { openLineJudge } from "./judge-lines.ts";
import { LITERAL } from "./lines-literal.ts";
import { PROGRAMS } from "./lines-programs.ts";
import { MASK_ATTACKS, MASK_POLICIES } from "./mask-attacks.ts";
import { SESSION_ATTACKS, SESSION_POLICIES } from "./session-attacks.ts";

/** What every peer takes in one packet (RFC 4253, section 6.1); longer lines are read alone. */
const MAX_SENT_BYTES = 32_000;

/** Each with a session, or several, of its own. */
const SESSIONS = [
  ...SESSION_ATTACKS,
  ...MASK_ATTACKS,
  ...CERTIFICATE_ATTACKS,
  ...DOOR_ATTACKS,
  ...EXPLANATIONS,
];

const words = process.argv.slice(2);
const attempts = [...LITERAL, ...PROGRAMS].filter(
  ({ id }) => words.length === 0 || words.some((word) => id.includes(word)),
);
let [passed, failed, skipped] = [0, 0, 0];

using judge = openLineJudge();
for (const attempt of attempts) {
  const wrong = judge.judge(attempt);
  if (wrong.length === 0) passed += 1;
  else failed += 1;
  for (const sentence of wrong) console.log(`FAILED   read ${attempt.id}: ${sentence}`);
}
console.log(`read alone, ${judge.shellNames.join(", ")}: ${passed} of ${attempts.length}`);
const live = attempts.filter((attempt) => attempt.must === "refused" && judge.isLive(attempt));
console.log(`${live.length} of the refused run what they hide when a shell gets them as they are`);

if (hasSshServer()) {
  await using host = await openAttackedHost();
  for (const shell of host.shells) {
    const before = passed;
    for (const attempt of attempts) {
      if (Buffer.byteLength(attempt.line) > MAX_SENT_BYTES) {
        skipped += 1;
        continue;
      }
      const wrong = await host.attack(shell, attempt);
      if (wrong.length === 0) passed += 1;
      else failed += 1;
      for (const sentence of wrong)
        console.log(`FAILED   ${shell.name} ${attempt.id}: ${sentence}`);
    }
    console.log(`through the gateway, ${shell.name}: ${passed - before} of ${attempts.length}`);
  }
  await using stage = await openSshStage({
    policies: SESSION_POLICIES + MASK_POLICIES + DOOR_POLICIES,
  });
  const tally = { passed: 0, failed: 0, skipped: 0 };
  const cases = SESSIONS.filter(
    ({ name }) => words.length === 0 || words.some((word) => name.includes(word)),
  );
  await runCases(cases, stage, tally);
  passed += tally.passed;
  failed += tally.failed;
} else {
  skipped = attempts.length + SESSIONS.length;
  console.log("skipped  the way through a host: there is no sshd on this machine");
}
console.log(`\n${passed} passed, ${failed} failed, ${skipped} skipped`);
process.exitCode = failed === 0 && passed > 0 ? 0 : 1;
