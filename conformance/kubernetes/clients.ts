// kubectl, as many versions as this machine has: what `custody-conformance` built, and those of the path or
// of a Google Cloud SDK. Each runs with a home of its own and nothing else in its environment.

import { spawn } from "node:child_process";
import { existsSync, mkdtempSync, readdirSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { builtPrograms } from "./build-apiserver.ts";

export interface Kubectl {
  /** `1.33` */
  readonly version: string;
  readonly program: string;
}

export interface Ran {
  readonly code: number;
  readonly stdout: string;
  readonly stderr: string;
}

const SDK = "/usr/lib/google-cloud-sdk/bin";
const MAX_OUTPUT = 64 << 20;

export function kubectls(): readonly Kubectl[] {
  const found: Kubectl[] = [];
  if (existsSync(SDK))
    for (const name of readdirSync(SDK)) {
      const version = /^kubectl\.(\d+\.\d+)$/.exec(name)?.[1];
      if (version !== undefined) found.push({ version, program: join(SDK, name) });
    }
  const built = builtPrograms()?.kubectl;
  if (built !== undefined && built !== null) found.push({ version: "1.34", program: built });
  return found.sort((one, other) => (one.version < other.version ? -1 : 1));
}

const home = mkdtempSync(join(tmpdir(), "custody-kubectl-"));

/** Never rejects; `timeoutMs` ends it with SIGKILL and code -1. */
export function runKubectl(
  { program }: Kubectl,
  kubeconfig: string,
  args: readonly string[],
  options: {
    readonly input?: string | Buffer;
    readonly timeoutMs?: number;
    readonly env?: Record<string, string>;
  } = {},
): Promise<Ran> {
  return new Promise((resolve) => {
    const child = spawn(program, ["--kubeconfig", kubeconfig, ...args], {
      env: { HOME: home, PATH: "/usr/bin:/bin", ...options.env },
      stdio: ["pipe", "pipe", "pipe"],
    });
    let stdout = "";
    let stderr = "";
    child.stdout.setEncoding("utf8").on("data", (text: string) => {
      if (stdout.length < MAX_OUTPUT) stdout += text;
    });
    child.stderr.setEncoding("utf8").on("data", (text: string) => {
      if (stderr.length < MAX_OUTPUT) stderr += text;
    });
    child.stdin.on("error", () => undefined);
    child.stdin.end(options.input ?? "");
    const timer = setTimeout(() => child.kill("SIGKILL"), options.timeoutMs ?? 20_000);
    child.on("close", (code) => {
      clearTimeout(timer);
      resolve({ code: code ?? -1, stdout, stderr });
    });
  });
}
