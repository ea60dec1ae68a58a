import assert from "node:assert/strict";
import { after, before, describe, it } from "node:test";
import { openTestDoor, type TestDoor } from "../../../../conformance/support/kubernetes-door.ts";
import { agent, engineer, entry, policy } from "../../access/access.fixture.ts";

// Names, namespaces and labels that nobody may see hold this.
const HIDDEN = "h1dden";

interface Item {
  readonly namespace: string;
  readonly name: string;
  readonly labels?: Readonly<Record<string, string>>;
}

const ITEMS: readonly Item[] = [
  { namespace: "shop", name: "web-1" },
  { namespace: HIDDEN, name: "a" },
  { namespace: "shop", name: `${HIDDEN}-2`, labels: { team: "other" } },
  { namespace: "else", name: "labelled", labels: { team: "ours" } },
  { namespace: "shop", name: "held" },
];

const metadata = (item: Item) => ({ ...item, uid: `uid-${item.name}`, resourceVersion: "7" });
const object = (item: Item) => ({ metadata: metadata(item), spec: { of: item.name } });
const event = (type: string, item: Item) =>
  JSON.stringify({ type, object: { kind: "Pod", apiVersion: "v1", ...object(item) } });
const row = (item: Item) => ({
  cells: [item.name],
  object: { kind: "PartialObjectMetadata", apiVersion: "meta.k8s.io/v1", metadata: metadata(item) },
});

/** By the word in the path. */
const ANSWERS: Readonly<Record<string, (asked: URL) => string>> = {
  pods: (asked) =>
    JSON.stringify({
      ...{ kind: "PodList", apiVersion: "v1" },
      metadata: asked.searchParams.has("limit")
        ? { resourceVersion: "9", continue: HIDDEN, remainingItemCount: 77 }
        : { resourceVersion: "9" },
      items: ITEMS.map(object),
    }),
  tables: () =>
    JSON.stringify({
      ...{ kind: "Table", apiVersion: "meta.k8s.io/v1", metadata: { resourceVersion: "9" } },
      columnDefinitions: [{ name: "Name" }],
      rows: ITEMS.map(row),
    }),
  pages: () =>
    JSON.stringify({
      ...{ kind: "PodList", apiVersion: "v1" },
      metadata: { resourceVersion: "9", remainingItemCount: 3 },
      items: [],
    }),
  odd: () => JSON.stringify({ kind: "PodList", apiVersion: "v1", [HIDDEN]: 1, items: [] }),
  strings: () => `{"kind":"PodList","apiVersion":"v1","metadata":{},"items":["${HIDDEN}"]}`,
  empty: () => `{"kind":"PodList","apiVersion":"v1","metadata":{},"items":null}`,
  // In a namespace all of whose objects may be seen, and yet nobody's by name.
  nameless: () =>
    JSON.stringify({
      ...{ kind: "PodList", apiVersion: "v1", metadata: { resourceVersion: "9" } },
      items: NAMELESS.map((one) => ({ metadata: one, spec: { of: HIDDEN } })),
    }),
  endless: () => JSON.stringify({ items: [object({ namespace: "shop", name: "a".repeat(513) })] }),
  namelessrows: () =>
    JSON.stringify({
      ...{ kind: "Table", apiVersion: "meta.k8s.io/v1", metadata: { resourceVersion: "9" } },
      columnDefinitions: [{ name: "Name" }],
      rows: [
        ...NAMELESS.map((one) => ({ cells: [HIDDEN], object: { metadata: one } })),
        ROWS,
      ].flat(),
    }),
  namespaces: () =>
    JSON.stringify({
      ...{ kind: "NamespaceList", apiVersion: "v1", metadata: { resourceVersion: "9" } },
      items: ["shop", HIDDEN].map((name) => ({ metadata: { name, uid: "u" } })),
    }),
};

const NAMELESS = [
  { namespace: "shop" },
  { namespace: "shop", name: "" },
  { namespace: "shop", name: 7 },
];
/** Rows that say nothing of what they are of. */
const ROWS = [
  { cells: [HIDDEN] },
  { cells: [HIDDEN], object: null },
  { cells: [HIDDEN], object: {} },
];

const CHANGES: readonly string[] = [
  event("ADDED", { namespace: "shop", name: "web-2" }),
  event("ADDED", { namespace: HIDDEN, name: "b" }),
  event("MODIFIED", { namespace: "shop", name: "web-2", labels: { team: "other", x: HIDDEN } }),
  event("MODIFIED", { namespace: "shop", name: `${HIDDEN}-2`, labels: { team: "other" } }),
  event("DELETED", { namespace: "shop", name: `${HIDDEN}-2`, labels: { team: "other" } }),
  event("DELETED", { namespace: "shop", name: "web-1" }),
  JSON.stringify({
    type: "BOOKMARK",
    object: {
      ...{ kind: "Pod", apiVersion: "v1" },
      metadata: {
        ...{ resourceVersion: "12", name: HIDDEN },
        annotations: { "k8s.io/initial-events-end": "true", other: HIDDEN },
      },
    },
  }),
  JSON.stringify({ type: "ERROR", object: { kind: "Status", status: "Failure", code: 410 } }),
];
const TABLE_CHANGES: readonly string[] = [
  [{ namespace: HIDDEN, name: "b" }, true],
  [{ namespace: "shop", name: "web-3" }, false],
  [{ namespace: "shop", name: "web-3", labels: { team: "other", x: HIDDEN } }, false],
].map(([item, isFirst]) =>
  JSON.stringify({
    type: "MODIFIED",
    object: {
      ...{ kind: "Table", apiVersion: "meta.k8s.io/v1", metadata: { resourceVersion: "9" } },
      columnDefinitions: isFirst === true ? [{ name: "Name" }] : null,
      rows: [row(item as Item)],
    },
  }),
);

let door: TestDoor;

before(async () => {
  door = await openTestDoor({
    answer: (request, answer) => {
      const asked = new URL(request.url ?? "", "https://cluster");
      answer.writeHead(200, { "content-type": "application/json" });
      const word = asked.pathname.split("/").at(-1) ?? "";
      if (!asked.searchParams.has("watch")) answer.end(ANSWERS[word]?.(asked) ?? "");
      else answer.end(`${(word === "tables" ? TABLE_CHANGES : CHANGES).join("\n")}\n`);
    },
    policies: policy(`
      @id("connect") permit (principal, action == Custody::Action::"connect", resource);
      @id("lists") @filter("items")
      permit (principal, action in [K8s::Action::"list", K8s::Action::"watch"], resource);
      @id("shop") permit (principal, action == K8s::Action::"get", resource is K8s::Resource)
      when { resource.namespace == "shop" };
      @id("ours") permit (principal, action == K8s::Action::"get", resource is K8s::Resource)
      when { resource.labels.contains("team=ours") };
      @id("others") forbid (principal, action == K8s::Action::"get", resource is K8s::Resource)
      when { resource.labels.contains("team=other") };
      @id("asks") forbid (principal, action == K8s::Action::"get", resource is K8s::Resource)
      when { resource.name == "held" } unless { context.approved };
    `),
    hops: [
      engineer,
      agent("job", [
        entry({ targets: ["*"], actions: ["k8s:list", "k8s:watch"], resources: ["*"] }),
        entry({ targets: ["*"], actions: ["k8s:get"], resources: ["shop/*", "else/*"] }),
      ]),
    ],
  });
});

after(() => door[Symbol.asyncDispose]());

async function whole(path: string): Promise<string> {
  const answer = await door.ask(path);
  const text = await answer.text();
  assert.equal(answer.status, 200, text);
  assert.ok(!text.includes(HIDDEN), text);
  return text;
}

describe("a list that is filtered", () => {
  it("shows what may be read by name, whole, and does not tell of the rest", async () => {
    const text = await whole("/api/v1/pods?limit=2&labelSelector=a%3Db");
    const list = JSON.parse(text) as { metadata: unknown; items: { metadata: Item }[] };
    assert.deepEqual(
      list.items.map((one) => one.metadata.name),
      ["web-1", "labelled"],
    );
    assert.deepEqual(list.metadata, { resourceVersion: "9" });
    assert.equal(door.seen.at(-1), "GET /api/v1/pods?labelSelector=a%3Db");
    const end = door.leaves.findLast(({ event: name }) => name === "command.outcome");
    assert.deepEqual([end?.rows, end?.detail], [2, { withheld: 3 }]);
  });

  it("as a table shows the rows of what may be read", async () => {
    const table = JSON.parse(await whole("/api/v1/tables")) as { rows: { cells: string[] }[] };
    assert.deepEqual(
      table.rows.map(({ cells }) => cells[0]),
      ["web-1", "labelled"],
    );
  });

  for (const path of ["nameless", "endless", "namelessrows"])
    it(`withholds ${path}, whom no get by name would show`, async () => {
      for (const at of ["/api/v1", "/api/v1/namespaces/shop"]) {
        const text = await whole(`${at}/${path}`);
        assert.match(text, /"(items|rows)":\[\]/);
        const end = door.leaves.findLast(({ event: name }) => name === "command.outcome");
        assert.equal(end?.rows, 0);
      }
    });

  it("of namespaces shows those that may be read, each being in itself", async () => {
    const list = JSON.parse(await whole("/api/v1/namespaces")) as { items: { metadata: Item }[] };
    assert.deepEqual(
      list.items.map((one) => one.metadata.name),
      ["shop"],
    );
  });

  it("may be empty", async () => {
    assert.match(await whole("/api/v1/empty"), /"items":null/);
  });

  it("follows the policies of the moment", async () => {
    const files = policy(`
      @id("connect") permit (principal, action == Custody::Action::"connect", resource);
      @id("lists") @filter("items") permit (principal, action == K8s::Action::"list", resource);
    `);
    const other = await openTestDoor({
      answer: (_request, answer) => {
        answer.writeHead(200, { "content-type": "application/json" });
        answer.end(ANSWERS.pods?.(new URL("https://cluster/")));
      },
      policies: files,
      hops: [engineer],
    });
    try {
      const count = async () => {
        const answer = await other.ask("/api/v1/pods");
        return ((await answer.json()) as { items: unknown[] }).items.length;
      };
      assert.equal(await count(), 0);
      other.test.use([
        ...files,
        ...policy(`@id("g") permit (principal, action == K8s::Action::"get", resource);`).map(
          (file) => ({ ...file, name: "more.cedar" }),
        ),
      ]);
      assert.equal(await count(), ITEMS.length);
    } finally {
      await other[Symbol.asyncDispose]();
    }
  });

  for (const [what, path, code] of [
    ["a page token, which names an object", "/api/v1/pods?continue=x", 403],
    ["rows without objects", "/api/v1/tables?includeObject=None", 403],
    ["an answer that counts what is left", "/api/v1/pages", 503],
    ["an answer that is no list", "/api/v1/odd", 503],
    ["elements that are no objects", "/api/v1/strings", 503],
  ] as const)
    it(`is refused with ${what}`, async () => {
      const answer = await door.ask(path);
      const text = await answer.text();
      assert.equal(answer.status, code, text);
      assert.ok(!text.includes(HIDDEN));
    });
});

describe("a watch that is filtered", () => {
  const events = async (path: string) => {
    const lines = (await whole(path)).trim().split("\n");
    return lines.map((line) => JSON.parse(line) as { type: string; object: unknown });
  };

  it("shows what may be read, takes back what no longer may be, and never names the rest", async () => {
    await whole("/api/v1/pods");
    const seen = await events("/api/v1/pods?watch=1");
    const told = seen.map(({ type, object: one }) => {
      const { metadata: about } = one as { metadata?: Partial<Item> };
      return `${type} ${about?.name ?? ""}`;
    });
    assert.deepEqual(told, [
      "ADDED web-2",
      "DELETED web-2",
      "DELETED web-1",
      "BOOKMARK ",
      "ERROR ",
    ]);
    const back = { uid: "uid-web-2", resourceVersion: "7" };
    assert.deepEqual(seen[1]?.object, {
      ...{ kind: "Pod", apiVersion: "v1" },
      metadata: { ...back, namespace: "shop", name: "web-2" },
    });
    assert.deepEqual(seen[3]?.object, {
      ...{ kind: "Pod", apiVersion: "v1" },
      metadata: {
        resourceVersion: "12",
        annotations: { "k8s.io/initial-events-end": "true" },
      },
    });
  });

  it("of a table keeps its columns, whichever row comes first", async () => {
    const seen = await events("/api/v1/tables?watch=1");
    const told = seen.map(({ type, object: one }) => {
      const table = one as { columnDefinitions?: unknown[]; rows: { cells: string[] }[] };
      return [type, table.columnDefinitions?.length ?? 0, table.rows[0]?.cells[0]];
    });
    assert.deepEqual(told, [
      ["MODIFIED", 1, "web-3"],
      ["DELETED", 0, ""],
    ]);
  });
});
