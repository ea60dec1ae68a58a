// Requests for what was planted: any verb on it, asked for in any form, by any of the ways an API server has
// to give an object back.

import { type Attempt, JSON_BODY } from "./attempt.ts";
import type { Dice, Planted } from "./random-objects.ts";

const META = "g=meta.k8s.io";
const ACCEPTS: readonly (string | undefined)[] = [
  ...[undefined, "*/*", "application/json", "application/json;charset=utf-8", "text/plain"],
  ...["application/yaml", "application/vnd.kubernetes.protobuf", "application/cbor"],
  ...["application/cbor-seq", "application/json;stream=watch"],
  `application/vnd.kubernetes.protobuf;as=Table;v=v1;${META}`,
  ...["Table", "PartialObjectMetadata", "PartialObjectMetadataList"].flatMap((form) =>
    ["v1", "v1beta1"].map((version) => `application/json;as=${form};v=${version};${META}`),
  ),
  `application/json;as=Table;v=v1;${META},application/json`,
  "application/yaml;q=0.9,application/json;q=0.8,*/*;q=0.1",
];
const ENCODINGS = [undefined, undefined, "gzip", "deflate", "br", "gzip, deflate, br", "identity"];
const PATCHES = [
  "application/json-patch+json",
  "application/merge-patch+json",
  "application/strategic-merge-patch+json",
  "application/apply-patch+yaml",
] as const;
const WATCH_MS = 400;

/** One of them; whatever comes back, nothing classified is in it. */
export function randomRequest(dice: Dice, planted: readonly Planted[], index: number): Attempt {
  const object = dice.of(planted);
  const asked = dice.of([read, read, listed, listed, watched, patched, replaced, made, removed])(
    dice,
    object,
  );
  const accept = dice.of(ACCEPTS);
  const encoding = dice.of(ENCODINGS);
  const headers = [
    ...(asked.headers ?? []),
    ...(accept === undefined ? [] : [["accept", accept] as const]),
    ...(encoding === undefined ? [] : [["accept-encoding", encoding] as const]),
  ];
  const id = `${index}: ${asked.method} ${asked.path}, asked for ${accept ?? "nothing"}`;
  return { ...asked, headers, id, threat: "Leaks past a mask", must: "quiet" };
}

type Asked = Pick<Attempt, "method" | "path" | "headers" | "body" | "readMs">;

function read(dice: Dice, { path, template }: Planted): Asked {
  const part = template === undefined ? "" : dice.of(["", "", "", "/status", "/scale"]);
  return {
    method: dice.of(["GET", "GET", "GET", "HEAD"]),
    path: `${path}${part}${queryOf(dice, READ)}`,
  };
}

const READ = ["pretty=true", "resourceVersion=0", "includeObject=Object", "includeObject=None"];
const LIST = [
  ...["limit=2", "limit=500&resourceVersion=0", "labelSelector=hunt%3Da", "includeObject=Object"],
  ...["pretty=1", "includeObject=Metadata", "timeoutSeconds=5", "labelSelector=hunt+in+(a%2Cb)"],
];

function listed(dice: Dice, planted: Planted): Asked {
  return { method: "GET", path: `${placeOf(dice, planted)}${queryOf(dice, LIST)}` };
}

function watched(dice: Dice, planted: Planted): Asked {
  const place = placeOf(dice, planted);
  const old = place.replace(/^(\/api\/v1|\/apis\/[^/]+\/[^/]+)\//, "$1/watch/");
  const path = dice.of([
    `${place}?watch=true&resourceVersion=0`,
    `${place}?watch=1&timeoutSeconds=3&allowWatchBookmarks=true`,
    `${place}?watch&includeObject=Object`,
    `${place}?watch=1&sendInitialEvents=true&resourceVersionMatch=NotOlderThan&allowWatchBookmarks=true`,
    `${place}?watch=1&fieldSelector=metadata.name%3D${planted.name}`,
    old,
    planted.path.replace(/^(\/api\/v1|\/apis\/[^/]+\/[^/]+)\//, "$1/watch/"),
  ]);
  return { method: "GET", path, readMs: WATCH_MS };
}

function patched(dice: Dice, { apiVersion, kind, name, path }: Planted): Asked {
  const type = dice.of(PATCHES);
  const labels = { touched: dice.of(["yes", "no"]) };
  const body = type.startsWith("application/json-patch")
    ? dice.of<unknown>([
        [{ op: "add", path: "/metadata/labels/touched", value: "x" }],
        [{ op: "remove", path: "/metadata/annotations/note" }],
        [],
      ])
    : type.startsWith("application/apply")
      ? { apiVersion, kind, metadata: { name, labels } }
      : dice.of<unknown>([{}, { metadata: { labels } }, { metadata: { annotations: null } }]);
  const query = [...(type.includes("apply") ? ["fieldManager=hunter"] : []), ...dry(dice)];
  return {
    ...{ method: "PATCH", headers: [["content-type", type]], body: JSON.stringify(body) },
    path: `${path}${query.length === 0 ? "" : `?${query.join("&")}`}`,
  };
}

function replaced(dice: Dice, { apiVersion, kind, name, path }: Planted): Asked {
  const body = JSON.stringify({ apiVersion, kind, metadata: { name } });
  return {
    method: "PUT",
    path: `${path}${dice.of(["?dryRun=All", "?dryRun=All&pretty=1"])}`,
    headers: [JSON_BODY],
    body,
  };
}

function made(dice: Dice, { apiVersion, collection, kind, name }: Planted): Asked {
  const metadata = dice.of<unknown>([{ name }, { generateName: "made-" }]);
  const body = JSON.stringify({ apiVersion, kind, metadata });
  return { method: "POST", path: `${collection}?dryRun=All`, headers: [JSON_BODY], body };
}

function removed(dice: Dice, planted: Planted): Asked {
  const path = dice.of([planted.path, planted.collection]);
  const body = JSON.stringify({ kind: "DeleteOptions", apiVersion: "v1", dryRun: ["All"] });
  return dice.roll(2) === 0
    ? { method: "DELETE", path: `${path}?dryRun=All` }
    : { method: "DELETE", path: `${path}?dryRun=All`, headers: [JSON_BODY], body };
}

/** Of its namespace, or of all. */
function placeOf(dice: Dice, { collection }: Planted): string {
  return dice.of([collection, collection, collection.replace(/\/namespaces\/[^/]+/, "")]);
}

function queryOf(dice: Dice, choices: readonly string[]): string {
  const chosen = choices.filter(() => dice.roll(4) === 0);
  return chosen.length === 0 ? "" : `?${chosen.join("&")}`;
}

function dry(dice: Dice): string[] {
  return dice.roll(2) === 0 ? ["dryRun=All"] : [];
}
