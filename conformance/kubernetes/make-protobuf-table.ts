// Makes packages/wire/kubernetes/protobuf-table.json from the .proto files Kubernetes publishes with its
// API types, as build-apiserver.ts has fetched them:
//
//   node conformance/kubernetes/make-protobuf-table.ts
//
// One entry a message: field number → [name, type]. A type is s (string), y (bytes), i (varint), b (bool),
// d (double), f (float), a message's index, or one of these with "*" (repeated) or "%" (map of strings to
// it) before it.

import { execFileSync } from "node:child_process";
import { readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { kubernetesVersion } from "./build-apiserver.ts";

const GROUPS = [
  ...["core", "apps", "batch", "rbac", "authentication", "authorization", "autoscaling", "policy"],
  ...["networking", "coordination", "storage", "certificates", "scheduling", "discovery", "events"],
  ...["node", "admissionregistration"],
].map((group) => [`k8s.io/api`, `${group}/v1`] as const);

const SOURCES = [
  ...GROUPS,
  ["k8s.io/api", "autoscaling/v2"],
  ["k8s.io/apimachinery", "pkg/apis/meta/v1"],
  ["k8s.io/apimachinery", "pkg/runtime"],
  ["k8s.io/apimachinery", "pkg/util/intstr"],
  ["k8s.io/apimachinery", "pkg/api/resource"],
  ["k8s.io/apiextensions-apiserver", "pkg/apis/apiextensions/v1"],
] as const;

const SCALARS: Readonly<Record<string, string>> = {
  string: "s",
  bytes: "y",
  int32: "i",
  int64: "i",
  uint32: "i",
  uint64: "i",
  bool: "b",
  double: "d",
  float: "f",
};

type Fields = Record<string, readonly [string, string]>;

const version = `v0.${kubernetesVersion.split(".").slice(1).join(".")}`;
const cache = execFileSync("go", ["env", "GOMODCACHE"], { encoding: "utf8" }).trim();
const messages = new Map<string, Fields>();
for (const [module, folder] of SOURCES) {
  const file = join(cache, `${module}@${version}`, folder, "generated.proto");
  readProto(readFileSync(file, "utf8"));
}
const names = [...messages.keys()].sort();
const numbered = names.map((name) => {
  const fields = Object.entries(messages.get(name) ?? {}).map(([number, [field, type]]) => [
    number,
    [field, type.replace(/@(.*)$/, (_, of: string) => String(indexOf(of, name)))],
  ]);
  return `${JSON.stringify(name)}:${JSON.stringify(Object.fromEntries(fields))}`;
});
const target = join(import.meta.dirname, "../../packages/wire/kubernetes/protobuf-table.json");
writeFileSync(target, `{\n${numbered.join(",\n")}\n}\n`);

function readProto(text: string): void {
  const home = /^package (.*);$/m.exec(text)?.[1] ?? "";
  for (const [, name = "", body = ""] of text.matchAll(/^message (\w+) \{\n([\s\S]*?)^\}$/gm)) {
    const fields: Fields = {};
    for (const line of body.matchAll(
      /^ {2}(optional |repeated )?(map<string, ?([\w.]+)>|[\w.]+) (\w+) = (\d+);$/gm,
    )) {
      const [, label = "", type = "", ofMap, field = "", number = ""] = line;
      const prefix = ofMap !== undefined ? "%" : label === "repeated " ? "*" : "";
      const plain = ofMap ?? type;
      fields[number] = [field, prefix + (SCALARS[plain] ?? `@${qualified(plain, home)}`)];
    }
    messages.set(`${home}.${name}`, fields);
  }
}

function qualified(type: string, home: string): string {
  return type.includes(".") ? type.replace(/^\./, "") : `${home}.${type}`;
}

function indexOf(name: string, within: string): number {
  const index = names.indexOf(name);
  if (index < 0) throw new Error(`${within} names ${name}, which is in no file that is read`);
  return index;
}
