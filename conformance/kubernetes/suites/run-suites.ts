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
}

const DRIVE = fileURLToPath(new URL("drive.sh", import.meta.url));
const PARTS = ["hack", "test/cmd", "test/fixtures", "test/e2e/testing-manifests"];
const SHELL_REPORTS = "third_party/forked/shell2junit";
const SUITE_MS = 900_000;

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
    const own = text.replaceAll("admin-token", token).replaceAll("/tmp/", `${temporary}/`);
    // What kubectl's own proxy takes from a server with a path before the API's, as the gateway has.
    writeFileSync(to, own.replaceAll("kubectl proxy ", "kubectl proxy --append-server-path "));
  };
  for (const name of readdirSync(scripts))
    if (name.endsWith(".sh")) rewrite(join(scripts, name), join(scripts, name));
  rewrite(DRIVE, join(folder, "drive.sh"));
  const programs = join(folder, "_output/bin");
  mkdirSync(programs, { recursive: true });
  const kubectl = builtPrograms()?.kubectl ?? "kubectl";
  symlinkSync(kubectl, join(programs, "kubectl"));
  for (const name of readdirSync(join(folder, "test/fixtures/pkg/kubectl/plugins")))
    chmodSync(join(folder, "test/fixtures/pkg/kubectl/plugins", name), 0o755);
}

/** The functions that the script of the whole calls, in its order. */
export function suiteNames(folder: string): string[] {
  const text = readFileSync(join(folder, "test/cmd/legacy-script.sh"), "utf8");
  const names = [...text.matchAll(/^\s+record_command (run_\w+)$/gm)].map(([, name = ""]) => name);
  return [...new Set(names)];
}

/** Never rejects; a suite that takes too long has failed. */
export function runSuite(folder: string, suite: string, door: SuiteDoor): Promise<SuiteResult> {
  return new Promise((resolve) => {
    const child = spawn("bash", [join(folder, "drive.sh"), folder, suite], {
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

function readOutput(text: string): Pick<SuiteResult, "assertions" | "last"> {
  const assertions = [...text.matchAll(/^([a-z_-]+\.sh:\d+): Successful/gm)].map(
    ([, place = ""]) => place,
  );
  const lines = text.split("\n").filter((line) => line.trim() !== "");
  const end = lines.findLastIndex((line) => line.startsWith("Error when running"));
  return {
    assertions,
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
