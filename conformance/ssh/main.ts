// Real SSH clients through the real gateway to a real sshd: `npm run conformance:ssh`; with words as
// arguments only the cases whose names contain one of them. The last line is
// `N passed, N failed, N skipped`.

import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { checkEvidence } from "../support/evidence-checker.ts";
import { hasSshServer } from "../support/ssh-server.ts";
import { runCases, type SshCase, type Tally } from "./checks.ts";
import { DOOR } from "./door.ts";
import { deployer, HELD } from "./held.ts";
import { OPENSSH } from "./openssh.ts";
import { OTHERS } from "./others.ts";
import { PEERS } from "./peers.ts";
import { SFTP_ATTACKS } from "./sftp-attacks.ts";
import { SHELLS } from "./shells.ts";
import { openSshStage } from "./stage.ts";

const words = process.argv.slice(2);
const all = [...OPENSSH, ...OTHERS, ...PEERS, ...SHELLS, ...DOOR, ...HELD, ...SFTP_ATTACKS];
const chosen = (cases: readonly SshCase[]) =>
  cases.filter(({ name }) => words.length === 0 || words.some((word) => name.includes(word)));
const wanted = chosen(all);
/** Where the session is in one process and who joins it, or what changes, comes from another. */
const shared = chosen(
  [...SHELLS, ...HELD].map((one) => ({ ...one, name: `two processes: ${one.name}` })),
);
/** The gateway has to have stopped for it: always the last. */
const EVIDENCE: SshCase = {
  name: "the whole log verifies, with an end for everything, and every recording opens",
  async run(stage) {
    await stage.gateway.process.stop();
    const { leaves, problems } = await checkEvidence(stage.gateway.dataFolder);
    assert.deepEqual(problems, []);
    assert.ok(leaves.length > 0);
  },
};
const tally: Tally = { passed: 0, failed: 0, skipped: 0 };
if (hasSshServer()) {
  const policies = readFileSync(new URL("policies.cedar", import.meta.url), "utf8");
  const options = { policies, sshd: ["X11Forwarding yes"], grammars: deployer("text") };
  for (const [cases, more] of [
    [wanted, {}],
    [shared, { workers: 2 }],
  ] as const) {
    if (cases.length === 0) continue;
    await using stage = await openSshStage({ ...options, ...more });
    await runCases([...cases, EVIDENCE], stage, tally);
  }
} else {
  console.log("skipped  everything: there is no sshd with an sftp-server on this machine");
  tally.skipped = wanted.length + shared.length;
}
console.log(`\n${tally.passed} passed, ${tally.failed} failed, ${tally.skipped} skipped`);
process.exitCode = tally.failed === 0 ? 0 : 1;
