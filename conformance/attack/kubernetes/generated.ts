// Every way of asking for an object that holds something classified: each kind × each path to it × each
// form of answer, and each change whose answer shows the object.

import type { Attempt } from "./attempt.ts";

interface Kind {
  readonly name: string;
  readonly base: string;
  readonly plural: string;
  readonly object: string;
}

const KINDS: readonly Kind[] = [
  { name: "secret", base: "/api/v1", plural: "secrets", object: "s1" },
  { name: "pod", base: "/api/v1", plural: "pods", object: "leaky" },
  { name: "deployment", base: "/apis/apps/v1", plural: "deployments", object: "leaky" },
  { name: "configmap", base: "/api/v1", plural: "configmaps", object: "c1" },
  { name: "widget", base: "/apis/example.com/v1", plural: "widgets", object: "w1" },
];

const TABLE = "application/json;as=Table;v=v1;g=meta.k8s.io";
const ACCEPTS: Readonly<Record<string, string | undefined>> = {
  nothing: undefined,
  anything: "*/*",
  json: "application/json",
  yaml: "application/yaml",
  protobuf: "application/vnd.kubernetes.protobuf",
  cbor: "application/cbor",
  "protobuf before json": "application/vnd.kubernetes.protobuf,application/json",
  "protobuf in a table": "application/vnd.kubernetes.protobuf;as=Table;v=v1;g=meta.k8s.io",
  table: TABLE,
  "an old table": "application/json;as=Table;v=v1beta1;g=meta.k8s.io",
  "metadata alone": "application/json;as=PartialObjectMetadata;v=v1;g=meta.k8s.io",
  "a list of metadata": "application/json;as=PartialObjectMetadataList;v=v1;g=meta.k8s.io",
  "pretty yaml": "application/yaml;pretty=1, */*;q=0.1",
};

function paths({ base, plural, object }: Kind): Readonly<Record<string, string>> {
  const inNamespace = `${base}/namespaces/shop/${plural}`;
  return {
    named: `${inNamespace}/${object}`,
    "named, pretty": `${inNamespace}/${object}?pretty=true`,
    listed: inNamespace,
    "listed with its objects": `${inNamespace}?includeObject=Object`,
    "listed over all namespaces": `${base}/${plural}`,
    "selected by name": `${inNamespace}?fieldSelector=metadata.name%3D${object}`,
    "a page of one": `${inNamespace}?limit=1`,
    watched: `${inNamespace}?watch=true`,
    "watched with its objects": `${inNamespace}?watch=1&includeObject=Object`,
    "watched from the first": `${inNamespace}?watch=1&sendInitialEvents=true&resourceVersionMatch=NotOlderThan&allowWatchBookmarks=true`,
    "watched the old way": `${base}/watch/namespaces/shop/${plural}`,
    "watched by name the old way": `${base}/watch/namespaces/shop/${plural}/${object}`,
  };
}

const PATCHES: Readonly<Record<string, string>> = {
  "application/merge-patch+json": `{"metadata":{"labels":{"touched":"yes"}}}`,
  "application/json-patch+json": `[{"op":"add","path":"/metadata/labels","value":{"touched":"yes"}}]`,
  "application/apply-patch+yaml": "",
};

const THREAT = "Leaks past a mask";

export function generatedAttempts(): Attempt[] {
  return KINDS.flatMap((kind) => [...reads(kind), ...changes(kind)]);
}

function reads(kind: Kind): Attempt[] {
  return Object.entries(paths(kind)).flatMap(([how, path]) =>
    Object.entries(ACCEPTS).map(([form, accept]): Attempt => {
      const isWatch = how.startsWith("watched");
      return {
        id: `${kind.name}: ${how}, asked for ${form}`,
        // The server gives the metadata of one to who asks for one, of a list to who asks for a list.
        must: form.includes("metadata") ? "quiet" : "masked",
        ...{ threat: THREAT, method: "GET", path },
        ...(accept === undefined ? {} : { headers: [["accept", accept]] }),
        ...(isWatch ? { readMs: 500 } : {}),
      };
    }),
  );
}

function changes(kind: Kind): Attempt[] {
  const { base, plural, object, name } = kind;
  const path = `${base}/namespaces/shop/${plural}/${object}`;
  const attempts: Attempt[] = [];
  for (const [type, body] of Object.entries(PATCHES))
    for (const dry of ["", "?dryRun=All"])
      for (const form of ["application/json", TABLE, "application/yaml"])
        attempts.push({
          id: `${name}: ${type}${dry}, asked for ${form}`,
          ...{ threat: THREAT, must: "quiet", method: "PATCH" },
          path: `${path}${dry}${body === "" ? `${dry === "" ? "?" : "&"}fieldManager=x` : ""}`,
          headers: [
            ["content-type", type],
            ["accept", form],
          ],
          body:
            body === ""
              ? `{"apiVersion":"${base.replace(/^\/apis?\//, "")}","kind":"${kindOf(name)}","metadata":{"name":"${object}","labels":{"touched":"yes"}}}`
              : body,
        });
  for (const [what, at] of [
    ["one", path],
    ["all", path.replace(`/${object}`, "")],
  ] as const)
    for (const form of ["application/json", "application/yaml"])
      attempts.push({
        id: `${name}: delete ${what} in a dry run, asked for ${form}`,
        ...{ threat: THREAT, must: "quiet", method: "DELETE", path: `${at}?dryRun=All` },
        headers: [["accept", form]],
      });
  return attempts;
}

function kindOf(name: string): string {
  const kinds: Readonly<Record<string, string>> = { configmap: "ConfigMap" };
  return kinds[name] ?? name.replace(/^./, (first) => first.toUpperCase());
}
