// PostgreSQL 15's own regression and isolation suites and libpq_pipeline, through Custody:
//
//   npm run conformance:postgres:suites -- [direct] [transparent] [enforcing] [regress] [isolation] [libpq_pipeline]
//
// Transparent must come out as direct does, test by test. Enforcing, with everything permitted that policies
// can permit and a class elsewhere in the server, must differ where expected-enforcing.json says so, and no
// more. `--write` writes that file anew. Builds the programs first (build.ts). The last line is
// `N passed, N failed, N skipped`.

import { readFileSync, writeFileSync } from "node:fs";
import { buildSuites, missingForSuites } from "./build.ts";
import { runSuites, type SuiteResult } from "./run-suites.ts";
import { openSuiteStage, PROFILES, type Profile } from "./stage.ts";

const words = process.argv.slice(2).filter((word) => !word.startsWith("--"));
const chosen = PROFILES.filter((profile) => words.includes(profile));
const suites = words.filter((word) => !(PROFILES as readonly string[]).includes(word));
const EXPECTED = new URL("expected-enforcing.json", import.meta.url);

const missing = missingForSuites();
if (missing !== undefined) {
  console.log(`skipped: ${missing}\n\n0 passed, 0 failed, 1 skipped`);
  process.exit(0);
}
const build = buildSuites();
console.log(`PostgreSQL ${build.version}, programs in ${build.source}`);

async function through(profile: Profile): Promise<SuiteResult> {
  await using stage = await openSuiteStage(profile, build.installation);
  const result = await runSuites(build, stage.door, suites);
  const ok = [...result.tests.values()].filter((said) => said === "ok").length;
  console.log(`${profile}: ${ok} of ${result.tests.size} as expected, ${result.seconds} s`);
  return result;
}

let passed = 0;
let failed = 0;
function judge(profile: Profile, name: string, said: string, wanted: string): void {
  const holds = (said === "ok") === (wanted === "ok");
  if (holds) passed++;
  else failed++;
  if (!holds) console.log(`FAILED   ${profile} ${name}: ${said}`);
}

/** What differs without Custody too, since the suites were written for connections in plain text. */
const OVER_TLS: Readonly<Record<string, string>> = {
  "isolation/temp-schema-cleanup": "libpq words the end of a TLS connection otherwise",
};

/** `ok`, or why the enforcing profile differs. */
function expectedEnforcing(): Readonly<Record<string, string>> {
  return JSON.parse(readFileSync(EXPECTED, "utf8")) as Record<string, string>;
}

for (const profile of chosen.length === 0 ? PROFILES : chosen) {
  const { tests } = await through(profile);
  if (profile === "enforcing" && process.argv.includes("--write"))
    writeFileSync(EXPECTED, `${JSON.stringify(Object.fromEntries([...tests].sort()), null, 2)}\n`);
  const expected = { ...OVER_TLS, ...(profile === "enforcing" ? expectedEnforcing() : {}) };
  for (const [name, said] of tests) judge(profile, name, said, expected[name] ?? "ok");
}
console.log(`\n${passed} passed, ${failed} failed, 0 skipped`);
process.exitCode = failed === 0 && passed > 0 ? 0 : 1;
