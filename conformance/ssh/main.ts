// Real SSH clients through the real gateway to a real sshd: `npm run conformance:ssh`; with words as
// arguments only the cases whose names contain one of them. The last line is
// `N passed, N failed, N skipped`.

import { readFileSync } from "node:fs";
import { hasSshServer } from "../support/ssh-server.ts";
import { runCases, type Tally } from "./checks.ts";
import { OPENSSH } from "./openssh.ts";
import { OTHERS } from "./others.ts";
import { openSshStage } from "./stage.ts";

const words = process.argv.slice(2);
const wanted = [...OPENSSH, ...OTHERS].filter(
  ({ name }) => words.length === 0 || words.some((word) => name.includes(word)),
);
const tally: Tally = { passed: 0, failed: 0, skipped: 0 };
if (hasSshServer()) {
  const policies = readFileSync(new URL("policies.cedar", import.meta.url), "utf8");
  await using stage = await openSshStage({ policies });
  await runCases(wanted, stage, tally);
} else {
  console.log("skipped  everything: there is no sshd with an sftp-server on this machine");
  tally.skipped = wanted.length;
}
console.log(`\n${tally.passed} passed, ${tally.failed} failed, ${tally.skipped} skipped`);
process.exitCode = tally.failed === 0 ? 0 : 1;
