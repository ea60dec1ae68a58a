// Kubernetes' own test/cmd suites, against an API server and against another through the gateway, where
// everything is permitted that policies can permit: `npm run conformance:kubernetes:suites` runs all of them, with
// words as arguments those whose name contains one. What comes out through the gateway is what comes out direct, but
// where expected.json says otherwise and why.
// `--keep <folder>` writes there all that they said. The last line is `N passed, N failed, N skipped`.

import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { parseArgs } from "node:util";
import { clusterProblem, startCluster } from "../../support/kubernetes-server.ts";
import { builtPrograms } from "../build-apiserver.ts";
import { openKubernetesStage } from "../stage.ts";
import { copySuites, runSuite, type SuiteResult, suiteNames } from "./run-suites.ts";

interface Expected {
  /** Suites that count on a namespace of their own, where one before them in the whole makes it. */
  readonly inNamespace: readonly string[];
  /** Suites that do not get through here, whatever they are pointed at, and why. */
  readonly direct: Readonly<Record<string, string>>;
  /** Suites that must come out otherwise through the gateway, and why. */
  readonly gateway: Readonly<Record<string, string>>;
}

const { values, positionals: words } = parseArgs({
  options: { keep: { type: "string" } },
  allowPositionals: true,
});
const built = builtPrograms();
const missing =
  clusterProblem() ??
  ([built?.controllerManager, built?.kubectl, built?.convert].includes(null)
    ? "kubectl, its convert or the controller manager is not built: node conformance/kubernetes/build-apiserver.ts"
    : undefined);
if (missing !== undefined) {
  console.log(`${missing}\n\n0 passed, 0 failed, 1 skipped`);
  process.exit(0);
}
const expected = JSON.parse(
  readFileSync(new URL("expected.json", import.meta.url), "utf8"),
) as Expected;

// As hack/make-rules/test-cmd.sh starts it.
const CLUSTER = {
  controllers: true,
  authorization: "RBAC,AlwaysAllow",
  flags: [
    "--enable-admission-plugins=LimitRanger,ResourceQuota",
    "--disable-admission-plugins=ServiceAccount,DefaultStorageClass,DefaultTolerationSeconds,MutatingAdmissionWebhook,ValidatingAdmissionWebhook,StorageObjectInUseProtection",
  ],
};
const EVERYTHING = `
@id("suites-do-everything")
permit (principal, action, resource);
`;
const folder = mkdtempSync(join(tmpdir(), "custody-suites-"));
try {
  process.exitCode = await main();
} finally {
  rmSync(folder, { recursive: true, force: true });
}

async function main(): Promise<number> {
  await using cluster = await startCluster(CLUSTER);
  const none = {
    "agents.cedar": "",
    "guards.cedar": "",
    "people.cedar": "",
    "operators.cedar": "",
  };
  await using stage = await openKubernetesStage({
    ...{ cluster: CLUSTER, isBare: true },
    policies: { ...none, "catalogue.cedar": "", "suites.cedar": EVERYTHING },
  });
  await Promise.all([cluster, stage.cluster].map(addNode));
  const unmasked = ["--unmask", "secret.k8s", "secret.k8s.env"];
  const token = await stage.delegate("engineer", "suites", "k8s:*", "*", unmasked);
  const address = new URL(stage.address);
  const port = new URL(cluster.server).port;
  const direct = { portAndPath: port, token: cluster.adminToken, ca: cluster.ca };
  const gateway = {
    ...{ portAndPath: `${address.port}${address.pathname}`, token },
    ca: readFileSync(stage.gateway.caFile, "utf8"),
  };
  const folders = { direct: join(folder, "direct"), gateway: join(folder, "gateway") };
  copySuites(folders.direct, direct);
  copySuites(folders.gateway, gateway);
  const chosen = suiteNames(folders.direct).filter(
    (name) => words.length === 0 || words.some((word) => name.includes(word)),
  );
  const count = { passed: 0, failed: 0 };
  const held = { direct: 0, gateway: 0 };
  for (const suite of chosen) {
    const place = { isInNamespace: expected.inNamespace.includes(suite) };
    const [one, other] = await Promise.all([
      runSuite(folders.direct, suite, { ...direct, ...place }),
      runSuite(folders.gateway, suite, { ...gateway, ...place }),
    ]);
    if (values.keep !== undefined) keep(values.keep, suite, { direct: one, gateway: other });
    held.direct += one.assertions.length;
    held.gateway += other.assertions.length;
    const { outcome, said } = compared(suite, one, other);
    count[outcome]++;
    console.log(said);
  }
  console.log(`\nassertions that held: ${held.direct} direct, ${held.gateway} through Custody`);
  console.log(`\n${count.passed} passed, ${count.failed} failed, 0 skipped`);
  return count.failed === 0 && count.passed > 0 ? 0 : 1;
}

function keep(to: string, suite: string, results: Record<string, SuiteResult>): void {
  mkdirSync(to, { recursive: true });
  for (const [how, { output }] of Object.entries(results))
    writeFileSync(join(to, `${suite}.${how}.txt`), output);
}

function compared(
  name: string,
  one: SuiteResult,
  other: SuiteResult,
): { readonly outcome: "passed" | "failed"; readonly said: string } {
  const reason = expected.gateway[name];
  const isSame = one.passed === other.passed && `${one.assertions}` === `${other.assertions}`;
  const counts = `${other.assertions.length} of ${one.assertions.length} assertions`;
  const stops = one.passed ? undefined : expected.direct[name];
  if ((one.passed || stops !== undefined) && (isSame || reason !== undefined)) {
    const reasons = [stops, isSame ? undefined : reason].flatMap((text) =>
      text === undefined ? [] : [`; ${text}`],
    );
    return { outcome: "passed", said: `passed   ${name}: ${counts}${reasons.join("")}` };
  }
  const why = `  direct: ${one.passed ? "passed" : one.last}\n  gateway: ${other.passed ? "passed" : other.last}`;
  return { outcome: "failed", said: `FAILED   ${name}: ${counts}\n${why}` };
}

/** The node the suites expect, as test-cmd.sh makes it. */
async function addNode({ call }: { call(...args: [string, string, unknown]): Promise<unknown> }) {
  const capacity = { memory: "1Gi" };
  const metadata = { name: "127.0.0.1", annotations: { "save-managers": "true" } };
  await call("POST", "/api/v1/nodes", { metadata, status: { capacity } });
}
