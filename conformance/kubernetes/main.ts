// kubectl of several versions through the gateway to a real API server: what it prints is what it prints
// direct, but for what is masked. `npm run conformance:kubernetes`; with words as arguments only the cases
// whose names contain one. The last line is `N passed, N failed, N skipped`.

import { clusterProblem } from "../support/kubernetes-server.ts";
import { CASES } from "./cases.ts";
import { kubectls } from "./clients.ts";
import { openKubernetesStage } from "./stage.ts";

const words = process.argv.slice(2);
const problem = clusterProblem();
if (problem !== undefined) {
  console.log(`${problem}\n\n0 passed, 0 failed, 1 skipped`);
  process.exit(0);
}
const chosen = CASES.filter(
  ({ name }) => words.length === 0 || words.some((word) => name.includes(word)),
);
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
for (const kubectl of kubectls())
  for (const { name, run } of chosen) {
    const what = `kubectl ${kubectl.version}: ${name}`;
    const wrong = await run({ stage, kubectl, gateway, direct }).then(
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
console.log(`\n${passed} passed, ${failed} failed, 0 skipped`);
process.exitCode = failed === 0 && passed > 0 ? 0 : 1;

function policies(): string {
  return `
@id("conformance-forwards")
permit (principal, action in [K8s::Action::"portforward", K8s::Action::"attach"], resource);
`;
}
