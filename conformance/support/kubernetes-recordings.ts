// What a real API server answers to a few requests, kept in vectors/kubernetes/answers.json without what is
// new each time. The light API server is made of these answers and its test holds it against them;
// `npm run conformance:kubernetes` holds them against the real server.
//   node conformance/support/kubernetes-recordings.ts   records them anew.

import { readFileSync, writeFileSync } from "node:fs";
import { Agent, fetch } from "undici";
import { startCluster, type TestCluster } from "./kubernetes-server.ts";

/** `name` → the JSON that was answered; a watch's events as a list. */
export type Recordings = Readonly<Record<string, unknown>>;

export interface RecordedRequest {
  readonly name: string;
  readonly method: "GET" | "DELETE";
  readonly path: string;
  readonly accept?: string;
}

export const TABLE_FORM = "application/json;as=Table;v=v1;g=meta.k8s.io,application/json";
const SHOP = "/api/v1/namespaces/shop";

/** In this order: the last ones change something. */
export const RECORDED: readonly RecordedRequest[] = [
  { name: "version", method: "GET", path: "/version" },
  { name: "api", method: "GET", path: "/api" },
  { name: "core", method: "GET", path: "/api/v1" },
  { name: "namespace", method: "GET", path: "/api/v1/namespaces/shop" },
  ...(["pods/web-1", "secrets/database", "configmaps/flags"] as const).flatMap((path) => {
    const [plural = ""] = path.split("/");
    const at = `${SHOP}/${plural}`;
    return [
      { name: `${plural}: one`, method: "GET" as const, path: `${SHOP}/${path}` },
      { name: `${plural}: list`, method: "GET" as const, path: at },
      { name: `${plural}: table`, method: "GET" as const, path: at, accept: TABLE_FORM },
      {
        ...{ name: `${plural}: table of one`, method: "GET" as const, accept: TABLE_FORM },
        path: `${SHOP}/${path}`,
      },
      {
        ...{ name: `${plural}: chosen by name`, method: "GET" as const },
        path: `${at}?fieldSelector=metadata.name%3Dnobody`,
      },
      { name: `${plural}: none of the name`, method: "GET" as const, path: `${at}/nobody` },
    ];
  }),
  {
    ...{ name: "configmaps: watched", method: "GET" },
    path: `${SHOP}/configmaps?watch=1&resourceVersion=0&timeoutSeconds=1`,
  },
  { name: "configmaps: deleted", method: "DELETE", path: `${SHOP}/configmaps/flags` },
];

const FILE = new URL("../../vectors/kubernetes/answers.json", import.meta.url);

export function readRecordings(): Recordings {
  return JSON.parse(readFileSync(FILE, "utf8")) as Recordings;
}

/** Puts into a cluster what the recordings show, and asks for all of it. */
export async function askCluster(cluster: TestCluster): Promise<Recordings> {
  await seed(cluster);
  return await askAll({ base: cluster.server, ca: cluster.ca, token: cluster.adminToken });
}

export async function askAll(at: {
  readonly base: string;
  readonly ca: string;
  readonly token: string;
}): Promise<Recordings> {
  const agent = new Agent({ connect: { ca: at.ca } });
  const answers: Record<string, unknown> = {};
  try {
    for (const { name, method, path, accept = "application/json" } of RECORDED) {
      const answer = await fetch(at.base + path, {
        ...{ method, dispatcher: agent },
        headers: { accept, authorization: `Bearer ${at.token}` },
      });
      const text = (await answer.text()).trim();
      answers[name] = settled(
        name.endsWith("watched")
          ? text.split("\n").map((event) => JSON.parse(event))
          : JSON.parse(text),
      );
    }
  } finally {
    await agent.destroy();
  }
  return answers;
}

const TIME = "2026-01-01T00:00:00Z";
const NEW_EACH_TIME: Readonly<Record<string, string>> = {
  ...{ uid: "00000000-0000-4000-8000-000000000000", resourceVersion: "1" },
  ...{ creationTimestamp: TIME, startTime: TIME, startedAt: TIME, lastTransitionTime: TIME },
  ...{ time: TIME, serverAddress: "127.0.0.1:6443", goVersion: "go", buildDate: TIME },
  ...{ gitCommit: "", gitTreeState: "", platform: "linux/amd64", compiler: "gc" },
};

/** Without what differs from one server, or one second, to the next. */
export function settled(value: unknown, key = ""): unknown {
  const fixed = NEW_EACH_TIME[key];
  if (typeof value === "string" && fixed !== undefined && value !== "") return fixed;
  if (typeof value === "string") return /^\d+[smhd](\d+[smh])?$/.test(value) ? "1m" : value;
  if (Array.isArray(value)) return value.map((one) => settled(one));
  if (typeof value !== "object" || value === null) return value;
  return Object.fromEntries(Object.entries(value).map(([name, one]) => [name, settled(one, name)]));
}

async function seed({ call }: TestCluster): Promise<void> {
  await call("POST", "/api/v1/namespaces", { metadata: { name: "shop" } });
  await call("POST", `${SHOP}/pods`, {
    metadata: { name: "web-1", labels: { app: "web" } },
    spec: {
      containers: [
        { name: "web", image: "shop:1", env: [{ name: "PASSWORD", value: "a password" }] },
      ],
    },
  });
  await call("PATCH", `${SHOP}/pods/web-1/status`, {
    status: {
      phase: "Running",
      conditions: [{ type: "Ready", status: "True" }],
      containerStatuses: [
        {
          ...{ name: "web", image: "shop:1", imageID: "", ready: true, restartCount: 0 },
          ...{ containerID: "test://web", state: { running: { startedAt: TIME } } },
        },
      ],
    },
  });
  await call("POST", `${SHOP}/secrets`, {
    metadata: { name: "database" },
    stringData: { password: "a password", user: "shop" },
  });
  await call("POST", `${SHOP}/configmaps`, { metadata: { name: "flags" }, data: { sale: "on" } });
}

if (import.meta.main) {
  await using cluster = await startCluster();
  writeFileSync(FILE, `${JSON.stringify(await askCluster(cluster), null, 1)}\n`);
}
