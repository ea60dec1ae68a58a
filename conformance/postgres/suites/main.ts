// PostgreSQL 15's own regression and isolation suites and libpq_pipeline, through Custody:
//
//   npm run conformance:postgres:suites -- [direct] [transparent] [permissive]
//     [enforcing] [regress] [isolation] [libpq_pipeline]
//
// Transparent must come out as direct does, test by test. Permissive, with everything permitted that policies
// can permit, and enforcing, under the policies as shipped, both with a class on a column, must differ where
// expected-<profile>.json says so and for the kind of reason it says (reasons.ts), and no more. `--write` writes
// what the suites that are run come to anew; one of which nothing is written is skipped. `--keep` leaves what
// the programs wrote, their differences too. Builds the programs first (build.ts). The last line is `N passed,
// N failed, N skipped`.

import { existsSync, readFileSync, writeFileSync } from "node:fs";
import { buildSuites, missingForSuites } from "./build.ts";
import { reasonFor } from "./reasons.ts";
import { runSuites, SUITES, type Suite, type SuiteResult } from "./run-suites.ts";
import { openSuiteStage, PROFILES, type Profile } from "./stage.ts";

const words = process.argv.slice(2).filter((word) => !word.startsWith("--"));
const chosen = PROFILES.filter((profile) => words.includes(profile));
const suites = SUITES.filter(
  (suite) => words.includes(suite) || !SUITES.some((one) => words.includes(one)),
);
const isWriting = process.argv.includes("--write");
const keepsOutput = process.argv.includes("--keep");
const expectedFile = (profile: Profile) => new URL(`expected-${profile}.json`, import.meta.url);

const missing = missingForSuites();
if (missing !== undefined) {
  console.log(`skipped: ${missing}\n\n0 passed, 0 failed, 1 skipped`);
  process.exit(0);
}
const build = buildSuites();
console.log(`PostgreSQL ${build.version}, programs in ${build.source}`);

async function through(profile: Profile, chosen: readonly string[]): Promise<SuiteResult> {
  await using stage = await openSuiteStage(profile, build.installation);
  const result = await runSuites(build, stage.door, chosen, keepsOutput);
  const ok = [...result.tests.values()].filter((said) => said === "ok").length;
  console.log(`${profile}: ${ok} of ${result.tests.size} as expected, ${result.seconds} s`);
  return result;
}

let passed = 0;
let failed = 0;
/** Under the policies as shipped a difference without a reason that is known fails, whatever is expected. */
function judge(
  profile: Profile,
  name: string,
  said: string,
  reason: string | undefined,
  wanted: string,
): void {
  const isDifferent = said !== "ok";
  const isExplained = profile !== "enforcing" || !isDifferent || reason !== undefined;
  const holds = isDifferent === (wanted !== "ok") && isExplained;
  if (holds) passed++;
  else failed++;
  if (!holds) console.log(`FAILED   ${profile} ${name}: ${said}`);
}

/** What differs without Custody too, since the suites were written for connections in plain text. */
const OVER_TLS: Readonly<Record<string, string>> = {
  "isolation/temp-schema-cleanup": "libpq words the end of a TLS connection otherwise",
};

type Expected = Readonly<Record<string, string>>;

/** `ok`, or why the profile differs: one of reasons.ts. */
function expectedOf(profile: Profile): Expected {
  if (!JUDGED.includes(profile) || !existsSync(expectedFile(profile))) return {};
  return JSON.parse(readFileSync(expectedFile(profile), "utf8")) as Expected;
}

/** Where the gateway decides: differences have reasons. */
const JUDGED: readonly Profile[] = ["permissive", "enforcing"];

/** `isolation` of `isolation/deadlock-hard`. */
function suiteOf(name: string): Suite {
  return SUITES.find((suite) => name.startsWith(`${suite}/`)) ?? "regress";
}

let skipped = 0;
for (const profile of chosen.length === 0 ? PROFILES : chosen) {
  const isJudged = JUDGED.includes(profile);
  const written = isJudged ? expectedOf(profile) : OVER_TLS;
  const known = suites.filter(
    (suite) =>
      !isJudged || isWriting || Object.keys(written).some((name) => suiteOf(name) === suite),
  );
  for (const suite of suites.filter((one) => !known.includes(one))) {
    console.log(`skipped: ${profile} ${suite}: what it must come to is not written down (--write)`);
    skipped++;
  }
  if (known.length === 0) continue;
  const { tests } = await through(profile, known);
  const came = new Map(
    [...tests].map(([name, said]) => [
      name,
      said === "ok" || !isJudged ? said : (OVER_TLS[name] ?? reasonFor(said)),
    ]),
  );
  const others = Object.entries(written).filter(([name]) => !known.includes(suiteOf(name)));
  if (isJudged && isWriting)
    writeFileSync(
      expectedFile(profile),
      `${JSON.stringify(Object.fromEntries([...others, ...came].sort()), null, 2)}\n`,
    );
  const expected = isJudged ? expectedOf(profile) : OVER_TLS;
  for (const [name, reason] of came)
    judge(profile, name, tests.get(name) ?? "", reason, expected[name] ?? "ok");
}
console.log(`\n${passed} passed, ${failed} failed, ${skipped} skipped`);
process.exitCode = failed === 0 && passed > 0 ? 0 : 1;
