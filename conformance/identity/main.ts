// Who asks, proved: people signing in by the real command line at the real gateway with the real
// oidc-provider, workloads with tokens of their platforms, providers that end sessions, and all of it
// forged. `npm run conformance:identity`; with words as arguments only the parts named so. The last line
// is `N passed, N failed, N skipped`.

import { createCases } from "./cases.ts";
import { chainCases } from "./chain.ts";
import { joseCases } from "./jose.ts";
import { liveCases } from "./live.ts";
import { providerCases } from "./providers.ts";
import { samlCases } from "./saml.ts";
import { signInCases } from "./sign-in.ts";
import { signalCases } from "./signals.ts";
import { openStage } from "./stage.ts";
import { tokenCases } from "./tokens.ts";
import { workloadCases } from "./workloads.ts";

const parts = {
  jose: joseCases,
  tokens: tokenCases,
  workloads: workloadCases,
  signals: signalCases,
  live: liveCases,
  chain: chainCases,
  providers: providerCases,
  saml: samlCases,
  "sign-in": signInCases,
};

const words = process.argv.slice(2);
await using stage = await openStage();
console.log(`gateway at ${stage.gateway.url}, oidc-provider at ${stage.corp.issuer}`);
const cases = createCases((line) => console.log(line));
for (const [name, run] of Object.entries(parts)) {
  if (words.length > 0 && !words.includes(name)) continue;
  console.log(`\n${name}`);
  await run(cases, stage);
}
const { line, isGood } = cases.summary();
console.log(`\n${line}`);
process.exitCode = isGood ? 0 : 1;
