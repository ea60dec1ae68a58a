// Clients that are no kubectl: @kubernetes/client-node, fetched by npm as client-node/package-lock.json pins
// it, helm, and client-go's informers. Each is left out, with the reason, where it cannot be had.

import assert from "node:assert/strict";
import { execFile, spawnSync } from "node:child_process";
import { copyFileSync, existsSync, mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { builtPrograms, cacheFolder } from "./build-apiserver.ts";
import { approveNext } from "./cases.ts";
import type { KubernetesStage } from "./stage.ts";
import { type OtherCase, watchingCases } from "./watching.ts";

export interface ProgramCases {
  readonly cases: readonly OtherCase[];
  /** What is left out, and why. */
  readonly missing: readonly string[];
}

const here = (path: string) => fileURLToPath(new URL(path, import.meta.url));
const INSTALL_MS = 300_000;
const RUN_MS = 120_000;

export function programCases(): ProgramCases {
  const cases: OtherCase[] = [];
  const missing: string[] = [];
  const helm = builtPrograms()?.helm ?? null;
  if (helm === null) missing.push("helm: conformance/kubernetes/build-apiserver.ts builds it");
  else cases.push(...helmCases(helm));
  const informers = buildInformers();
  if (informers === undefined) missing.push("informers: they cannot be built here, which takes go");
  else cases.push(...watchingCases(informers));
  cases.push({ name: "@kubernetes/client-node", run: clientNode });
  return { cases, missing };
}

/** Into the cache, when the source is newer. */
function buildInformers(): string | undefined {
  const program = join(cacheFolder(), "informers");
  const args = ["build", "-trimpath", "-ldflags", "-s -w", "-p", "1", "-o", program, "."];
  const env = { ...process.env, CGO_ENABLED: "0", GOFLAGS: "" };
  const built = spawnSync("go", args, { cwd: here("informers"), env, stdio: "inherit" });
  return built.status === 0 && existsSync(program) ? program : undefined;
}

async function clientNode(stage: KubernetesStage): Promise<void> {
  const folder = mkdtempSync(join(tmpdir(), "custody-client-node-"));
  try {
    for (const name of ["package.json", "package-lock.json", "cases.mjs"])
      copyFileSync(here(`client-node/${name}`), join(folder, name));
    const fetched = await run("npm", ["ci", "--ignore-scripts", "--no-audit", "--no-fund"], {
      ...{ cwd: folder, timeoutMs: INSTALL_MS, env: process.env },
    });
    assert.equal(fetched.code, 0, `npm ci: ${fetched.output}`);
    await stage.cluster.call("POST", "/api/v1/namespaces/shop/secrets", {
      metadata: { name: "for-programs" },
      stringData: { key: "of nobody's business" },
    });
    const handle = await stage.delegate("engineer", "javascript", "k8s:data", "*");
    const kubeconfig = stage.kubeconfig(handle);
    const { output } = await run(process.execPath, ["cases.mjs", kubeconfig], { cwd: folder });
    const lines = output.split("\n").filter((line) => /^(not )?ok /.test(line));
    console.log(lines.map((line) => `           ${line}`).join("\n"));
    assert.ok(lines.length >= 7, `it broke off: ${output.slice(-600)}`);
    assert.ok(!lines.some((line) => line.startsWith("not ok")), "not all of it is as direct");
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
}

function helmCases(program: string): OtherCase[] {
  return [
    {
      name: "helm installs, lists, upgrades, rolls back",
      run: (stage) => helmLife(program, stage),
    },
    {
      name: "helm's own records in Secrets do not come back unmasked",
      async run(stage) {
        const { helm, chart } = await openHelm(program, stage, "secret");
        const installed = await helm(["install", "sealed", chart, "--set", "note=first"]);
        assert.equal(installed.code, 0, installed.output);
        const read = await helm(["get", "values", "sealed"]);
        assert.ok(!read.output.includes("first"), read.output);
        assert.notEqual(read.code, 0);
      },
    },
  ];
}

async function helmLife(program: string, stage: KubernetesStage): Promise<void> {
  const { helm, chart } = await openHelm(program, stage, "configmap");
  const ok = async (args: readonly string[]) => {
    const ran = await helm(args);
    assert.equal(ran.code, 0, `helm ${args.join(" ")}: ${ran.output}`);
    return ran.output;
  };
  await ok(["install", "noted", chart, "--set", "note=first"]);
  assert.match(await ok(["list"]), /noted\s+shop\s+1\s/);
  await ok(["upgrade", "noted", chart, "--set", "note=second"]);
  assert.match(await ok(["get", "values", "noted"]), /note: second/);
  const note = async () => {
    const path = "/api/v1/namespaces/shop/configmaps/noted";
    return ((await stage.cluster.call("GET", path)) as { data: { note: string } }).data.note;
  };
  assert.equal(await note(), "second");
  await ok(["rollback", "noted", "1"]);
  assert.equal(await note(), "first");
  assert.equal((await ok(["history", "noted"])).trim().split("\n").length, 4);
  // Its one object, then the records of three revisions: each removal is held on its own.
  const removing = helm(["uninstall", "noted"]);
  for (const named of ["configmaps/noted", ...[1, 2, 3].map((one) => `noted.v${one}`)])
    await approveNext(stage, named);
  const removed = await removing;
  assert.equal(removed.code, 0, removed.output);
  await assert.rejects(note(), /404/);
}

async function openHelm(program: string, stage: KubernetesStage, driver: "secret" | "configmap") {
  const folder = join(stage.folder, `helm-${driver}`);
  const chart = join(folder, "chart");
  mkdirSync(join(chart, "templates"), { recursive: true });
  writeFileSync(join(chart, "Chart.yaml"), "apiVersion: v2\nname: note\nversion: 1.0.0\n");
  writeFileSync(join(chart, "values.yaml"), "note: none\n");
  writeFileSync(
    join(chart, "templates", "note.yaml"),
    "apiVersion: v1\nkind: ConfigMap\nmetadata: { name: {{ .Release.Name }} }\ndata: { note: {{ .Values.note }} }\n",
  );
  const kubeconfig = stage.kubeconfig(
    await stage.delegate("engineer", `helm-${driver}`, "k8s:data", "*"),
  );
  const env = { HOME: folder, PATH: "/usr/bin:/bin", HELM_DRIVER: driver };
  const helm = (args: readonly string[]) =>
    run(program, ["--kubeconfig", kubeconfig, "--namespace", "shop", ...args], {
      env,
      cwd: folder,
    });
  return { helm, chart };
}

interface RunOptions {
  readonly cwd: string;
  readonly env?: NodeJS.ProcessEnv;
  readonly timeoutMs?: number;
}

/** Never rejects. */
function run(
  program: string,
  args: readonly string[],
  { cwd, env = { PATH: "/usr/bin:/bin", HOME: cwd }, timeoutMs = RUN_MS }: RunOptions,
): Promise<{ code: number; output: string }> {
  return new Promise((resolve) => {
    const options = { cwd, env, timeout: timeoutMs, maxBuffer: 16 << 20 };
    const child = execFile(program, [...args], options, (error, stdout, stderr) => {
      const code = child.exitCode ?? (error === null ? 0 : -1);
      resolve({ code, output: `${stdout}${stderr}` });
    });
  });
}
