// Attempts to get past the gateway, every one of which must fail: `npm run attack:postgres`; with words
// as arguments only those whose ids contain one of them. The last line is `N passed, N failed, N skipped`.

import { attack } from "./attack.ts";
import { ATTACHED } from "./attempts-attached.ts";
import { AUTHORITY } from "./attempts-authority.ts";
import { FORMS } from "./attempts-forms.ts";
import { FRAMING } from "./attempts-framing.ts";
import { LEAKS } from "./attempts-leaks.ts";
import { NAMES } from "./attempts-names.ts";
import { WRITES } from "./attempts-writes.ts";
import { openAttackStage } from "./stage.ts";

const words = process.argv.slice(2);
const attempts = [
  ...LEAKS,
  ...WRITES,
  ...FORMS,
  ...ATTACHED,
  ...AUTHORITY,
  ...NAMES,
  ...FRAMING,
].filter(({ id }) => words.length === 0 || words.some((word) => id.includes(word)));

await using stage = await openAttackStage();
console.log(`PostgreSQL ${stage.server.version}, gateway at ${stage.gateway.url}\n`);
let failed = 0;
for (const attempt of attempts) {
  const wrong = await attack(stage, attempt).catch((error: Error) => [error.message]);
  if (wrong.length === 0) {
    console.log(`passed   ${attempt.must.padEnd(8)} ${attempt.id}`);
    continue;
  }
  failed++;
  console.log(`FAILED   ${attempt.id}: ${attempt.tries} (${attempt.threat})`);
  for (const sentence of wrong) console.log(`           ${sentence}`);
}
console.log(`\n${attempts.length - failed} passed, ${failed} failed, 0 skipped`);
process.exitCode = failed === 0 && attempts.length > 0 ? 0 : 1;
