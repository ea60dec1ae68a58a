// Kubernetes' own test/cmd suites, from the source of the version that is built, one after the other against
// one API server: what each of them comes to, assertion by assertion.

import { spawn, spawnSync } from "node:child_process";
import {
  chmodSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  symlinkSync,
  writeFileSync,
} from "node:fs";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { builtPrograms, kubernetesSource } from "../build-apiserver.ts";

/** What the suites are pointed at: everything after `https://127.0.0.1:`, and a token for it. */
export interface SuiteDoor {
  readonly portAndPath: string;
  readonly token: string;
  /** PEM; a suite writes it into a kubeconfig. */
  readonly ca: string;
}

export interface SuiteResult {
  readonly passed: boolean;
  /** `core.sh:41` of each assertion that held, in their order. */
  readonly assertions: readonly string[];
  /** What it said last. */
  readonly last: string;
  /** All it said. */
  readonly output: string;
}

const DRIVE = fileURLToPath(new URL("drive.sh", import.meta.url));
const PARTS = ["hack", "test/cmd", "test/fixtures", "test/e2e/testing-manifests"];
const SHELL_REPORTS = "third_party/forked/shell2junit";
const SUITE_MS = 900_000;
const PUBLISHED = "https://raw.githubusercontent.com/kubernetes/kubernetes/master/";
/** Parts of the script of the whole that are in no function: from one comment to the next. */
const INLINE = {
  run_inline_can_i_tests: ["# kubectl auth can-i\n", "# kubectl auth reconcile\n"],
  run_inline_reconcile_tests: ["# kubectl auth reconcile\n", "#####################\n"],
} as const;

/** A copy of what the suites are made of, with the token in the place of the one they come with. */
export function copySuites(folder: string, { ca, token }: SuiteDoor): void {
  const source = kubernetesSource();
  for (const part of [...PARTS, SHELL_REPORTS]) {
    const to = join(folder, part);
    mkdirSync(join(to, ".."), { recursive: true });
    const copied = spawnSync("cp", ["-r", "--no-preserve=mode", join(source, part), to]);
    if (copied.status !== 0) throw new Error(`cp ${part}: ${copied.stderr}`);
  }
  const temporary = join(folder, "tmp");
  mkdirSync(temporary);
  writeFileSync(join(temporary, "apiserver.crt"), ca);
  const scripts = join(folder, "test/cmd");
  const rewrite = (from: string, to: string) => {
    const text = readFileSync(from, "utf8");
    const own = text
      .replaceAll("admin-token", token)
      .replaceAll("/tmp/", `${temporary}/`)
      // What is published there is in the source as well.
      .replaceAll(PUBLISHED, "");
    // What kubectl's own proxy takes from a server with a path before the API's, as the gateway has.
    writeFileSync(to, own.replaceAll("kubectl proxy ", "kubectl proxy --append-server-path "));
  };
  for (const name of readdirSync(scripts))
    if (name.endsWith(".sh")) rewrite(join(scripts, name), join(scripts, name));
  rewrite(DRIVE, join(folder, "drive.sh"));
  writeFileSync(join(folder, "inline.sh"), inlineSuites(scripts));
  const programs = join(folder, "_output/bin");
  mkdirSync(programs, { recursive: true });
  const kubectl = builtPrograms()?.kubectl ?? "kubectl";
  symlinkSync(kubectl, join(programs, "kubectl"));
  const convert = builtPrograms()?.convert ?? undefined;
  if (convert !== undefined) symlinkSync(convert, join(programs, "kubectl-convert"));
  const plugins = join(folder, "test/fixtures/pkg/kubectl/plugins");
  for (const name of readdirSync(plugins, { recursive: true, encoding: "utf8" }))
    chmodSync(join(plugins, name), 0o755);
}

/** Functions of what the script of the whole does by itself. */
function inlineSuites(scripts: string): string {
  const text = readFileSync(join(scripts, "legacy-script.sh"), "utf8");
  return Object.entries(INLINE)
    .map(([name, [begin, end]]) => {
      const from = text.indexOf(begin);
      const part = text.slice(from, text.indexOf(end, from));
      return `${name}() {\n  set -o nounset\n  set -o errexit\n  ${part}\n}\n`;
    })
    .join("\n");
}

/** The functions that the script of the whole calls, in its order; behind them what it does in none. */
export function suiteNames(folder: string): string[] {
  const text = readFileSync(join(folder, "test/cmd/legacy-script.sh"), "utf8");
  const names = [...text.matchAll(/^\s+record_command (run_\w+)$/gm)].map(([, name = ""]) => name);
  return [...new Set([...names, ...Object.keys(INLINE)])];
}

/** Never rejects; a suite that takes too long has failed. */
export function runSuite(
  folder: string,
  suite: string,
  door: SuiteDoor & { readonly isInNamespace: boolean },
): Promise<SuiteResult> {
  return new Promise((resolve) => {
    const place = door.isInNamespace ? "namespace" : "default";
    const child = spawn("bash", [join(folder, "drive.sh"), folder, suite, place], {
      cwd: folder,
      env: {
        ...{ PATH: process.env.PATH ?? "/usr/bin:/bin", HOME: folder, USER: "suite" },
        ...{ SECURE_API_PORT: door.portAndPath, TMPDIR: join(folder, "tmp") },
        KUBE_JUNIT_REPORT_DIR: join(folder, "tmp", "reports"),
      },
      stdio: ["ignore", "pipe", "pipe"],
      detached: true,
    });
    const parts: Buffer[] = [];
    child.stdout.on("data", (part: Buffer) => parts.push(part));
    child.stderr.on("data", (part: Buffer) => parts.push(part));
    const timer = setTimeout(() => endGroup(child.pid), SUITE_MS);
    child.on("close", (code) => {
      clearTimeout(timer);
      endGroup(child.pid);
      const text = Buffer.concat(parts).toString("utf8").replace(ESCAPES, "");
      resolve({ passed: code === 0, ...readOutput(text) });
    });
  });
}

/** Colours and the like (ECMA-48). */
const ESCAPES = new RegExp(`${String.fromCharCode(0x1b)}[[(][0-9;]*[A-Za-z]`, "g");

function readOutput(text: string): Omit<SuiteResult, "passed"> {
  const assertions = [...text.matchAll(/^([a-z_-]+\.sh:\d+): Successful/gm)].map(
    ([, place = ""]) => place,
  );
  const lines = text.split("\n").filter((line) => line.trim() !== "");
  const end = lines.findLastIndex((line) => line.startsWith("Error when running"));
  return {
    ...{ assertions, output: text },
    last: lines
      .slice(0, end < 0 ? undefined : end)
      .slice(-8)
      .join("\n"),
  };
}

/** What a suite leaves running, a proxy for one, is in its group. */
function endGroup(pid: number | undefined): void {
  try {
    if (pid !== undefined) process.kill(-pid, "SIGKILL");
  } catch {
    // There is nobody left in it.
  }
}
