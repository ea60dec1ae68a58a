/**
 * Builds a real API server, its controllers, etcd, kubectl and helm from the Go module proxy, into a cache outside the repository:
 *   node conformance/kubernetes/build-apiserver.ts [version]
 * The module that is built has the requirements of k8s.io/kubernetes itself, with its staging folders replaced
 * by the modules they are published as; Go's checksum database verifies what is fetched. Needs `go` ≥ 1.24 on
 * the path, about ten minutes of one core and 3 GB. What exists is kept.
 */
import { spawnSync } from "node:child_process";
import { existsSync, mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { homedir } from "node:os";
import { dirname, join } from "node:path";

export const kubernetesVersion = "1.34.1";
const helmVersion = "3.19.0";

const programs = [
  { name: "kube-apiserver", package: "k8s.io/kubernetes/cmd/kube-apiserver" },
  { name: "etcd", package: "go.etcd.io/etcd/server/v3" },
  { name: "kubectl", package: "k8s.io/kubernetes/cmd/kubectl" },
  { name: "kubectl-convert", package: "k8s.io/kubernetes/cmd/kubectl-convert" },
  { name: "kube-controller-manager", package: "k8s.io/kubernetes/cmd/kube-controller-manager" },
] as const;

/** Where the programs of a version are kept; `CUSTODY_CACHE` moves it. */
export function cacheFolder(version: string = kubernetesVersion): string {
  const cache = process.env.CUSTODY_CACHE ?? join(homedir(), ".cache", "custody");
  return join(cache, "kubernetes", version);
}

export interface BuiltPrograms {
  readonly apiServer: string;
  readonly etcd: string;
  readonly kubectl: string | null;
  /** kubectl's plugin for older versions of kinds. */
  readonly convert: string | null;
  readonly controllerManager: string | null;
  readonly helm: string | null;
}

/** The programs that are there already, by name; null when the API server or etcd is missing. */
export function builtPrograms(version: string = kubernetesVersion): BuiltPrograms | null {
  const folder = cacheFolder(version);
  const at = (name: string) => join(folder, name);
  if (!existsSync(at("kube-apiserver")) || !existsSync(at("etcd"))) {
    return null;
  }
  const orNull = (path: string) => (existsSync(path) ? path : null);
  return {
    ...{ apiServer: at("kube-apiserver"), etcd: at("etcd"), kubectl: orNull(at("kubectl")) },
    ...{ convert: orNull(at("kubectl-convert")) },
    controllerManager: orNull(at("kube-controller-manager")),
    helm: orNull(join(helmFolder(), "helm")),
  };
}

/** The folder of Kubernetes' own module, with its test suites; fetched when it is not there. */
export function kubernetesSource(version: string = kubernetesVersion): string {
  const at = cacheFolder(version);
  mkdirSync(at, { recursive: true });
  const download = go(at, ["mod", "download", "-json", `k8s.io/kubernetes@v${version}`], "pipe");
  return (JSON.parse(download) as { Dir: string }).Dir;
}

function helmFolder(): string {
  return join(dirname(cacheFolder()), `helm-${helmVersion}`);
}

export function buildPrograms(version: string = kubernetesVersion): void {
  const folder = cacheFolder(version);
  const source = join(folder, "source");
  mkdirSync(source, { recursive: true });
  const download = go(
    source,
    ["mod", "download", "-json", `k8s.io/kubernetes@v${version}`],
    "pipe",
  );
  const { GoMod: modFile } = JSON.parse(download) as { GoMod: string };
  writeFileSync(join(source, "go.mod"), moduleFile(readFileSync(modFile, "utf8"), version));
  writeFileSync(join(source, "programs.go"), `package programs\n`);
  for (const program of programs) {
    const output = join(folder, program.name);
    if (!existsSync(output)) {
      process.stdout.write(`building ${program.name} ${version}\n`);
      const stamp = `-X k8s.io/component-base/version.gitVersion=v${version}`;
      go(source, [
        "build",
        "-mod=mod",
        "-p",
        "1",
        "-trimpath",
        "-ldflags",
        `-s -w ${stamp}`,
        "-o",
        output,
        program.package,
      ]);
    }
  }
  buildHelm();
}

/** Helm is a module that can be installed as it is. */
function buildHelm(): void {
  const folder = helmFolder();
  if (existsSync(join(folder, "helm"))) return;
  mkdirSync(folder, { recursive: true });
  process.stdout.write(`building helm ${helmVersion}\n`);
  const module = `helm.sh/helm/v3/cmd/helm@v${helmVersion}`;
  go(folder, ["install", "-p", "1", "-trimpath", "-ldflags", "-s -w", module], "inherit", folder);
}

/** The requirements of Kubernetes as those of a module of ours, its staging folders by their published versions. */
function moduleFile(original: string, version: string): string {
  const staging = `v0.${version.split(".").slice(1).join(".")}`;
  return original
    .replace(/^module .*$/m, "module custody.invalid/programs")
    .replace(/^(\t\S+ => )\.\/staging\/src\/(\S+)$/gm, `$1$2 ${staging}`)
    .concat(`\nrequire k8s.io/kubernetes v${version}\n`);
}

function go(
  folder: string,
  args: string[],
  output: "pipe" | "inherit" = "inherit",
  binaries?: string,
): string {
  const result = spawnSync("go", args, {
    cwd: folder,
    env: {
      ...process.env,
      CGO_ENABLED: "0",
      GOFLAGS: "",
      ...(binaries === undefined ? {} : { GOBIN: binaries }),
    },
    stdio: ["ignore", output, "inherit"],
    encoding: "utf8",
  });
  if (result.status !== 0) {
    throw new Error(
      `go ${args.slice(0, 2).join(" ")} failed: ${result.error?.message ?? `exit ${result.status}`}`,
    );
  }
  return result.stdout ?? "";
}

if (import.meta.main) {
  buildPrograms(process.argv[2]);
  process.stdout.write(`${cacheFolder(process.argv[2])}\n`);
}
