// The rules of the house, as a lint: who may import whom (ARCHITECTURE.md, "Layers"), no circles, no
// barrels, file names and file lengths, nothing silenced. Part of `npm run check`; alone:
//
//   npm run layers

import { readFileSync } from "node:fs";
import { join } from "node:path";
import { type Import, importsOf, ownCode, resolveOwn } from "./imports.ts";
import { ROOT, type SourceFile, sourceFiles } from "./source-tree.ts";

export interface Problem {
  readonly path: string;
  readonly line: number;
  readonly rule: "layer" | "circle" | "barrel" | "name" | "length" | "silenced" | "dependency";
  readonly message: string;
}

/** The dependencies each of our packages declares: name of the package's folder → npm names. */
export type Declared = ReadonlyMap<string, ReadonlySet<string>>;

const MAX_LINES = 600;

/** The gateway's domain folders: they know the base and each other, and nothing that uses them. */
const DOMAINS = new Set([
  ...["config", "identity", "delegation", "policy", "approval", "masking", "command"],
  ...["credential", "recording", "audit", "siem", "session", "target"],
]);

/** What the command line may load when it runs a gateway or prepares one; never statically. */
const FOR_CLI = [
  /^packages\/gateway\/main\.ts$/,
  /^packages\/gateway\/config\//,
  /^packages\/gateway\/credential\//,
  /^packages\/gateway\/audit\/log-key\.ts$/,
];

/** Every violation of the house's rules in these files. */
export function lint(files: readonly SourceFile[], declared: Declared): Problem[] {
  const parsed = files.map((file) => ({ ...file, imports: importsOf(file.text) }));
  return [
    ...parsed.flatMap((file) => file.imports.flatMap((one) => importProblems(file, one, declared))),
    ...circles(parsed),
    ...files.flatMap(fileProblems),
  ].sort((a, b) => (a.path === b.path ? a.line - b.line : a.path < b.path ? -1 : 1));
}

interface Parsed extends SourceFile {
  readonly imports: readonly Import[];
}

function importProblems(file: SourceFile, one: Import, declared: Declared): Problem[] {
  const problem = (rule: Problem["rule"], message: string): Problem[] => [
    { path: file.path, line: one.line, rule, message },
  ];
  const from = layerOf(file.path);
  const target = resolveOwn(file.path, one.specifier);
  if (isTest(file.path)) return [];
  if (one.specifier === "?")
    return from.kind === "tool" ? [] : problem("layer", "import() of something that is computed");
  if (target !== undefined) {
    const to = layerOf(target);
    if (isTest(target)) return problem("layer", "nothing imports a test");
    const allowed = mayImport(from, to, file.path, target, one);
    return allowed ? [] : problem("layer", `${from.name} must not import ${to.name} (${target})`);
  }
  if (!mayUse(from, one.specifier))
    return problem("layer", `${from.name} must not import ${one.specifier}`);
  const name = packageName(one.specifier);
  const owner = /^packages\/([a-z]+)\//.exec(file.path)?.[1];
  if (name !== undefined && owner !== undefined && declared.get(owner)?.has(name) !== true)
    return problem("dependency", `${name} is not among the dependencies of packages/${owner}`);
  return [];
}

interface Layer {
  readonly kind:
    | "wire"
    | "evidence-core"
    | "evidence-node"
    | "contract"
    | "base"
    | "domain"
    | "access"
    | "proxy"
    | "store"
    | "api"
    | "compose"
    | "main"
    | "cli"
    | "console"
    | "tool";
  /** As messages name it: `gateway/proxy/postgres`. */
  readonly name: string;
}

function layerOf(path: string): Layer {
  const [top = "", name = "", folder = "", sub = ""] = path.split("/");
  if (top !== "packages") return { kind: "tool", name: top };
  if (name === "wire" || name === "contract" || name === "cli" || name === "console")
    return { kind: name, name };
  if (name === "evidence" && folder === "core")
    return { kind: "evidence-core", name: "evidence/core" };
  if (name === "evidence") return { kind: "evidence-node", name: "evidence/node" };
  if (folder === "main.ts") return { kind: "main", name: "gateway/main.ts" };
  if (folder === "compose.ts" || folder === "compose")
    return { kind: "compose", name: "gateway/compose" };
  if (folder === "base" || folder === "access" || folder === "store" || folder === "api")
    return { kind: folder, name: `gateway/${folder}` };
  if (folder === "proxy") return { kind: "proxy", name: `gateway/proxy/${sub}` };
  if (DOMAINS.has(folder)) return { kind: "domain", name: `gateway/${folder}` };
  return { kind: "domain", name: `gateway/${folder} (not a known layer)` };
}

function mayImport(from: Layer, to: Layer, path: string, target: string, one: Import): boolean {
  if (from.name === to.name) return true;
  const among = (...kinds: Layer["kind"][]) => kinds.includes(to.kind);
  const evidence = among("evidence-core", "evidence-node");
  switch (from.kind) {
    case "wire":
    case "evidence-core":
    case "contract":
    case "base":
      return false;
    case "evidence-node":
      return among("evidence-core");
    case "domain":
    case "access":
      return evidence || among("base", "domain", "access");
    case "proxy":
      return evidence || among("wire", "access", "domain", "base");
    case "store":
      return evidence || among("base", "domain", "access");
    case "api":
      return among("access", "domain", "base", "contract", "evidence-core");
    case "compose":
      return !among("tool", "cli", "console", "main");
    case "main":
      return !among("tool", "cli", "console");
    case "cli":
      if (one.dynamic && FOR_CLI.some((pattern) => pattern.test(target))) return true;
      return evidence || among("contract", "wire") || isReference(path);
    case "console":
      return among("contract", "evidence-core");
    case "tool":
      return true;
  }
}

/** Scripts that generate the reference pages read what they document. */
function isReference(path: string): boolean {
  return path.endsWith("/reference.ts");
}

/** What from outside the project a layer may use. */
function mayUse(from: Layer, specifier: string): boolean {
  const isNode = specifier.startsWith("node:");
  switch (from.kind) {
    case "wire":
      return specifier === "node:crypto" || specifier === "node:zlib";
    case "evidence-core":
      return false;
    case "evidence-node":
      return isNode || packageName(specifier) === "age-encryption";
    case "contract":
      return packageName(specifier) === "zod";
    case "console":
      return !isNode;
    default:
      return true;
  }
}

function packageName(specifier: string): string | undefined {
  if (specifier.startsWith("node:") || specifier.startsWith(".")) return undefined;
  const parts = specifier.split("/");
  return specifier.startsWith("@") ? parts.slice(0, 2).join("/") : parts[0];
}

/** Circles among files, types included: each reported once, at its first file by name. */
function circles(files: readonly Parsed[]): Problem[] {
  const known = new Map(files.map((file) => [file.path, file]));
  const edges = (path: string) =>
    (known.get(path)?.imports ?? [])
      .filter((one) => !one.dynamic)
      .map((one) => ({ line: one.line, to: resolveOwn(path, one.specifier) ?? "" }))
      .filter(({ to }) => known.has(to));
  const problems: Problem[] = [];
  const done = new Set<string>();
  const open: string[] = [];
  const visit = (path: string) => {
    if (done.has(path)) return;
    open.push(path);
    for (const { to, line } of edges(path)) {
      const start = open.indexOf(to);
      if (start === -1) visit(to);
      else {
        const circle = [...open.slice(start), to].join(" → ");
        problems.push({ path, line, rule: "circle", message: `imports in a circle: ${circle}` });
      }
    }
    open.pop();
    done.add(path);
  };
  for (const path of known.keys()) visit(path);
  return problems;
}

const SILENCED = new RegExp(
  [
    "@ts-(ignore|expect-error|nocheck)",
    "biome-ignore",
    "eslint-disable",
    "\\b(TODO|FIXME|XXX)\\b",
  ].join("|"),
);

function fileProblems({ path, text }: SourceFile): Problem[] {
  const problems: Problem[] = [];
  const add = (rule: Problem["rule"], line: number, message: string) =>
    problems.push({ path, line, rule, message });
  const segments = path.split("/");
  for (const segment of segments)
    if (!/^[a-z0-9]+(-[a-z0-9]+)*(\.[a-z0-9]+)*$/.test(segment))
      add("name", 1, `${segment} is not kebab-case`);
  if (/(^|-)(utils?|helpers?|managers?|misc|common)(-|\.)/.test(segments.at(-1) ?? ""))
    add("name", 1, "the name says nothing about what is in it");
  const lines = text.split("\n");
  if (lines.length - 1 > MAX_LINES)
    add("length", MAX_LINES, `${lines.length - 1} lines; ${MAX_LINES} is the most a file may have`);
  if (importsOf(text).some((one) => one.reExport) && ownCode(text) === "")
    add("barrel", 1, "only re-exports; import from the file that has it");
  if (path.startsWith("packages/evidence/core/") && !isTest(path))
    lines.forEach((line, index) => {
      if (/^(?!\s*(\/\/|\*)).*\b(Buffer|process)\b\s*[.(]/.test(line))
        add("layer", index + 1, "evidence/core runs in a browser: no Buffer, no process");
    });
  if (!path.startsWith("tools/layers"))
    lines.forEach((line, index) => {
      if (SILENCED.test(line)) add("silenced", index + 1, line.trim().slice(0, 80));
    });
  return problems;
}

/** Tests, and what several tests of one folder share. */
function isTest(path: string): boolean {
  return path.endsWith(".test.ts") || path.endsWith("-harness.ts");
}

/** The dependencies of the packages on disk. */
function declaredDependencies(names: readonly string[], root: string = ROOT): Declared {
  return new Map(
    names.map((name) => {
      const file = join(root, "packages", name, "package.json");
      const manifest = JSON.parse(readFileSync(file, "utf8"));
      return [name, new Set(Object.keys(manifest.dependencies ?? {}))] as const;
    }),
  );
}

if (import.meta.main) {
  const files = sourceFiles();
  const names = new Set(files.map(({ path }) => /^packages\/([a-z]+)\//.exec(path)?.[1]));
  names.delete(undefined);
  const problems = lint(files, declaredDependencies([...names] as string[]));
  for (const { path, line, rule, message } of problems)
    console.log(`${path}:${line}: ${rule}: ${message}`);
  console.log(`${files.length} files, ${problems.length} problems`);
  process.exitCode = problems.length === 0 ? 0 : 1;
}
