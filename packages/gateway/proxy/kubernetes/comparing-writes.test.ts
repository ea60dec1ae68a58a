import assert from "node:assert/strict";
import { after, before, describe, it } from "node:test";
import { openTestDoor, type TestDoor } from "../../../../conformance/support/kubernetes-door.ts";
import { engineer, policy } from "../../access/access.fixture.ts";

// What there is: each object by the last segment of its path.
const owned = (fields: unknown) => [
  { manager: "owner", operation: "Update", fieldsV1: fields },
  { manager: "mine", operation: "Apply", fieldsV1: { "f:metadata": { "f:labels": {} } } },
];
const ENV = { "f:spec": { "f:template": { "f:spec": { "f:containers": { "f:env": {} } } } } };
const KEPT: Readonly<Record<string, object>> = {
  owned: { managedFields: owned({ "f:data": { "f:key": {} } }) },
  fixed: { managedFields: [] },
  workload: { managedFields: owned(ENV), generation: 4, resourceVersion: "40" },
  widget: { managedFields: owned({ "f:spec": { "f:apiKey": {} } }) },
};
const APPLY = "application/apply-patch+yaml";
const MERGE = "application/merge-patch+json";
const core = (kind: string, name: string) => `/api/v1/namespaces/shop/${kind}/${name}`;
const secret = { data: { key: "Z3Vlc3M=" } };
const env = [{ name: "A", value: "guess" }];
const workload = { spec: { template: { spec: { containers: [{ name: "c", env }] } } } };
const DEPLOYMENT = "/apis/apps/v1/namespaces/shop/deployments/workload";
const WIDGET = "/apis/example.com/v1/namespaces/shop/widgets/widget";

let door: TestDoor;

before(async () => {
  door = await openTestDoor({
    answer: (request, answer) => {
      const url = new URL(request.url ?? "", "https://cluster");
      const name = url.pathname.split("/").at(-1) ?? "";
      const metadata = KEPT[name];
      const isRead = request.method === "GET";
      answer.writeHead(metadata === undefined && isRead ? 404 : 200, {
        "content-type": "application/json",
      });
      const counted = { generation: 5, resourceVersion: "50", managedFields: owned(ENV) };
      answer.end(
        JSON.stringify({
          ...{ kind: "Thing", apiVersion: "v1" },
          metadata: { name, ...metadata, ...(isRead ? {} : counted) },
          ...(name === "fixed" ? { immutable: true } : {}),
        }),
      );
    },
    policies: policy(`
      @id("connect") permit (principal, action == Custody::Action::"connect", resource);
      @id("all") permit (principal, action in K8s::Action::"data", resource);
      @id("tokens") permit (principal, action == Custody::Action::"unmask", resource == Custody::Class::"seen");
    `),
    hops: [engineer],
    target: {
      fields: [
        { group: "example.com", resource: "widgets", field: ["spec", "apiKey"], class: "a.key" },
        { group: "example.com", resource: "others", field: ["spec", "apiKey"], class: "seen" },
        { group: "", resource: "configmaps", field: ["data", "token"], class: "a.key" },
        {
          ...{ group: "", resource: "persistentvolumes", class: "a.key" },
          field: ["spec", "csi", "volumeAttributes", "password"],
        },
      ],
    },
  });
});

after(() => door[Symbol.asyncDispose]());

async function write(path: string, body: unknown, type: string) {
  const sent = door.seen.length;
  const headers = { "content-type": type };
  const answer = await door.ask(path, { method: "PATCH", headers, body: JSON.stringify(body) });
  const text = await answer.text();
  const isSent = door.seen.slice(sent).some((line) => line.startsWith("PATCH"));
  return { status: answer.status, text, isSent };
}

describe("a write that would tell whether a guess is right", () => {
  const cases: readonly (readonly [string, string, unknown, string, boolean])[] = [
    ["applies another's secret", core("secrets", "owned"), secret, APPLY, false],
    ["applies it with force", `${core("secrets", "owned")}?force=true`, secret, APPLY, true],
    [
      "applies with a force that is none",
      `${core("secrets", "owned")}?force=0`,
      secret,
      APPLY,
      false,
    ],
    ["applies another key", core("secrets", "owned"), { data: { other: "eA==" } }, APPLY, true],
    [
      "applies a note on it",
      core("secrets", "owned"),
      { metadata: { labels: { a: "b" } } },
      APPLY,
      true,
    ],
    ["makes it", core("secrets", "new"), secret, APPLY, true],
    ["merges, and so overwrites", core("secrets", "owned"), secret, MERGE, true],
    ["changes what is immutable", core("secrets", "fixed"), secret, MERGE, false],
    [
      "changes a pod's environment",
      core("pods", "workload"),
      { spec: { containers: [{ env }] } },
      MERGE,
      false,
    ],
    [
      "changes a revision, which is never changed",
      "/apis/apps/v1/namespaces/shop/controllerrevisions/workload",
      { data: workload },
      MERGE,
      false,
    ],
    [
      "changes a configuration that is immutable",
      core("configmaps", "fixed"),
      { data: { token: "guess" } },
      MERGE,
      false,
    ],
    ["changes one that is not", core("configmaps", "owned"), { data: { token: "x" } }, MERGE, true],
    [
      "changes a volume's source",
      "/api/v1/persistentvolumes/widget",
      { spec: { csi: { volumeAttributes: { password: "guess" } } } },
      MERGE,
      false,
    ],
    [
      "changes a volume's label",
      "/api/v1/persistentvolumes/widget",
      { metadata: { labels: { a: "b" } } },
      MERGE,
      true,
    ],
    ["applies another's environment", DEPLOYMENT, workload, APPLY, false],
    ["tries another's environment", `${DEPLOYMENT}?dryRun=All`, workload, APPLY, false],
    ["applies without environment", DEPLOYMENT, { spec: { replicas: 2 } }, APPLY, true],
    ["applies another's field", WIDGET, { spec: { apiKey: "guess" } }, APPLY, false],
    ["applies another field", WIDGET, { spec: { size: 2 } }, APPLY, true],
    [
      "applies a field it may see",
      WIDGET.replace("widgets", "others"),
      { spec: { apiKey: "guess" } },
      APPLY,
      true,
    ],
  ];
  for (const [what, path, body, type, isSent] of cases)
    it(`${isSent ? "is none" : "is denied"} where it ${what}`, async () => {
      const one = await write(path, body, type);
      assert.equal(one.status, isSent ? 200 : 403, one.text);
      assert.equal(one.isSent, isSent);
      if (isSent) return;
      assert.match(one.text, /it would tell whether the value it brings is the one there/);
      const denied = door.leaves.findLast(({ event }) => event === "command.denied");
      assert.deepEqual(denied?.detail, { kind: "classified" });
    });

  it("is looked for by a read that is in the log, and asked of nobody where nothing is classified", async () => {
    const begun = door.leaves.length;
    await write(core("secrets", "owned"), secret, MERGE);
    const [look] = door.leaves.slice(begun).filter(({ event }) => event === "command.intent");
    assert.deepEqual(look?.effects, ["k8s:get prod/shop/secrets/owned"]);
    assert.deepEqual(Object.keys(Object(look?.detail)), ["comparison"]);
    const seen = door.seen.length;
    await write(core("configmaps", "owned"), { data: { key: "x" } }, MERGE);
    assert.equal(door.seen.length, seen + 1);
  });

  it("in a dry run gets the counts there were, in every form of answer", async () => {
    for (const accept of ["application/json", "application/json;as=Table;v=v1;g=meta.k8s.io"]) {
      const answer = await door.ask(`${DEPLOYMENT}?dryRun=All`, {
        ...{ method: "PATCH", body: JSON.stringify(workload) },
        headers: { "content-type": MERGE, accept },
      });
      const { metadata } = (await answer.json()) as { metadata: unknown };
      assert.deepEqual(metadata, { name: "workload", generation: 4, resourceVersion: "40" });
    }
    const real = JSON.parse((await write(DEPLOYMENT, workload, MERGE)).text) as {
      metadata: { generation: number };
    };
    assert.equal(real.metadata.generation, 5);
  });
});
