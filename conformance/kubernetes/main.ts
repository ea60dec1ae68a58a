// kubectl of several versions through the gateway to a real API server: what it prints is what it prints
// direct, but for what is masked; then helm, client libraries and informers; and whether the answers that the
// light API server is made of are still what the real one gives. `npm run conformance:kubernetes`; with words as arguments only the cases
// whose names contain one. The last line is `N passed, N failed, N skipped`.

import assert from "node:assert/strict";
import { askCluster, readRecordings } from "../support/kubernetes-recordings.ts";
import { clusterProblem, startCluster } from "../support/kubernetes-server.ts";
import { boundTokens } from "./bound-tokens.ts";
import { CASES } from "./cases.ts";
import { kubectls } from "./clients.ts";
import { doctorOfClusters } from "./doctor.ts";
import { programCases } from "./programs.ts";
import { openKubernetesStage } from "./stage.ts";

const words = process.argv.slice(2);
const problem = clusterProblem();
if (problem !== undefined) {
  console.log(`${problem}\n\n0 passed, 0 failed, 1 skipped`);
  process.exit(0);
}
await using stage = await openKubernetesStage({ policies: { "conformance.cedar": policies() } });
const wide = await stage.delegate(
  "engineer",
  "conformance",
  "k8s:data,k8s:portforward,k8s:attach",
  "*",
);
const gateway = stage.kubeconfig(wide);
const direct = stage.kubeconfig(stage.cluster.adminToken, true);
let passed = 0;
let failed = 0;
async function tried(what: string, run: () => Promise<void>): Promise<void> {
  const wrong = await run().then(
    () => undefined,
    (error: Error) => error.message,
  );
  if (wrong === undefined) {
    passed++;
    console.log(`passed   ${what}`);
  } else {
    failed++;
    console.log(
      `FAILED   ${what}\n           ${wrong.split("\n").slice(0, 12).join("\n           ")}`,
    );
  }
}
const isChosen = (name: string) => words.length === 0 || words.some((word) => name.includes(word));
for (const kubectl of kubectls())
  for (const { name, run } of CASES.filter((one) => isChosen(one.name)))
    await tried(`kubectl ${kubectl.version}: ${name}`, () =>
      run({ stage, kubectl, gateway, direct }),
    );
const { cases, missing } = programCases();
for (const { name, run } of cases.filter((one) => isChosen(one.name)))
  await tried(name, () => run(stage));
const newest = kubectls().at(-1);
const BOUND = "a session's token dies with it, on the API server too";
if (newest !== undefined && isChosen(BOUND)) await tried(BOUND, () => boundTokens(newest));
const DOCTOR = "custody doctor says what is missing and what is too much";
if (newest !== undefined && isChosen(DOCTOR)) await tried(DOCTOR, () => doctorOfClusters(newest));
for (const what of missing) console.log(`skipped  ${what}`);
if (isChosen("recordings"))
  await tried("the light API server's recordings are what the real one answers", async () => {
    await using another = await startCluster();
    assert.deepEqual(await askCluster(another), readRecordings());
  });
console.log(`\n${passed} passed, ${failed} failed, ${missing.length} skipped`);
process.exitCode = failed === 0 && passed > 0 ? 0 : 1;

function policies(): string {
  return `
@id("conformance-forwards")
permit (principal, action in [K8s::Action::"portforward", K8s::Action::"attach"], resource);
@id("conformance-agents-debug-where-they-carry-it")
permit (principal is Custody::Agent, action == K8s::Action::"exec_code", resource);
`;
}
