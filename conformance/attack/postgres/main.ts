// Attempts to get past the gateway, every one of which must fail: `npm run attack:postgres`; with words
// as arguments only those whose ids contain one of them. The last line is `N passed, N failed, N skipped`.

import { attack } from "./attack.ts";
import { ATTACHED } from "./attempts-attached.ts";
import { AUTHORITY } from "./attempts-authority.ts";
import { FORMS } from "./attempts-forms.ts";
import { FRAMING } from "./attempts-framing.ts";
import { LEAKS } from "./attempts-leaks.ts";
import { NAMES } from "./attempts-names.ts";
import { REPLICATION } from "./attempts-replication.ts";
import { WRITES } from "./attempts-writes.ts";
import { openAttackStage } from "./stage.ts";

/** What the attackers' grants do not name: slots of the server and of another database. */
const OF_OTHERS = [
  "create table kept (id int); create publication kept for table kept",
  "select pg_create_logical_replication_slot('others', 'pgoutput')",
  "select pg_create_physical_replication_slot('standby')",
];

const words = process.argv.slice(2);
const attempts = [
  ...LEAKS,
  ...WRITES,
  ...FORMS,
  ...ATTACHED,
  ...AUTHORITY,
  ...NAMES,
  ...REPLICATION,
  ...FRAMING,
].filter(({ id }) => words.length === 0 || words.some((word) => id.includes(word)));

await using stage = await openAttackStage();
for (const sql of OF_OTHERS) await stage.server.query("vault", sql);
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
