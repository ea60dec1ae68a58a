// What controllers do, by client-go's own informers (informers/main.go): events heard through watches that end
// and begin anew, versions that are gone, initial events and bookmarks, tokens that are exchanged while a watch
// goes on, and an end when the delegation ends.

import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { randomBytes } from "node:crypto";
import { chmodSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { createInterface } from "node:readline";
import { setTimeout as delay } from "node:timers/promises";
import type { KubernetesStage } from "./stage.ts";

export interface OtherCase {
  readonly name: string;
  readonly run: (stage: KubernetesStage) => Promise<void>;
}

interface Heard {
  readonly event: string;
  readonly name?: string;
  readonly mark?: string;
  readonly message?: string;
}

interface Informer extends AsyncDisposable {
  readonly heard: readonly Heard[];
  until(condition: (heard: readonly Heard[]) => boolean, what: string): Promise<void>;
}

interface Kind {
  readonly group: string;
  readonly version: string;
  readonly resource: string;
}

type Start = (
  kubeconfig: string,
  args?: readonly string[],
  env?: NodeJS.ProcessEnv,
  kind?: Kind,
) => Promise<Informer>;

const CONFIG_MAPS: Kind = { group: "", version: "v1", resource: "configmaps" };
const KIND: Kind = { group: "late.example.com", version: "v1", resource: "lates" };
const WAIT_MS = 30_000;
const MARKS = 8;

export function watchingCases(program: string): OtherCase[] {
  const start: Start = (kubeconfig, args = [], env = {}, kind = CONFIG_MAPS) =>
    startInformer(program, kubeconfig, { args, env, kind });
  return [
    {
      name: "an informer hears everything while the server ends each of its watches",
      async run(stage) {
        const handle = await stage.delegate("engineer", "watches", "k8s:data", "*");
        await using informer = await start(stage.kubeconfig(handle), ["-timeout", "1"]);
        await hearsAll(stage, informer, () => count(informer, "watch") >= 3);
      },
    },
    {
      name: "an informer whose version is gone (410) lists anew and goes on",
      async run(stage) {
        const handle = await stage.delegate("engineer", "forgets", "k8s:data", "*");
        // A kind that is new: of it nothing is kept from before it was there.
        await addKind(stage);
        await using informer = await start(stage.kubeconfig(handle), ["-forget"], {}, KIND);
        await informer.until(
          (heard) =>
            heard.some(({ message }) => /too old resource version|Expired/.test(message ?? "")),
          "the server did not say that the version is gone",
        );
        await informer.until(() => count(informer, "list") >= 2, "it did not list anew");
        await hearsAll(stage, informer, () => true, KIND);
      },
    },
    {
      name: "an informer that is given the list by a watch, up to its bookmark",
      async run(stage) {
        const handle = await stage.delegate("engineer", "bookmarks", "k8s:data", "*");
        const env = { KUBE_FEATURE_WatchListClient: "true" };
        await using informer = await start(stage.kubeconfig(handle), [], env);
        await hearsAll(stage, informer);
        assert.equal(count(informer, "list"), 0, "it fell back to a list");
      },
    },
    { name: "a token that is exchanged breaks no watch", run: (stage) => exchanged(stage, start) },
    {
      name: "a revocation ends an informer's watch, and it hears nothing more",
      async run(stage) {
        const handle = await stage.delegate("engineer", "ended", "k8s:data", "*");
        await using informer = await start(stage.kubeconfig(handle));
        await hearsAll(stage, informer);
        await stage.as("engineer", ["revoke", `d-${/^cst_([a-z0-9]+)_/.exec(handle)?.[1]}`]);
        await informer.until(
          (heard) => heard.some(({ message }) => /was revoked/.test(message ?? "")),
          "its watch went on",
        );
        const before = informer.heard.length;
        const name = `late-${randomBytes(4).toString("hex")}`;
        await change(stage, CONFIG_MAPS, "POST", "", { metadata: { name } });
        await informer.until(() => informer.heard.length > before, "it does not even try again");
        assert.ok(!informer.heard.some((one) => one.name === name));
      },
    },
  ];
}

/** An ExecCredential that is over in seconds, and of another delegation each time. */
async function exchanged(stage: KubernetesStage, start: Start): Promise<void> {
  const handles = [
    await stage.delegate("engineer", "first-token", "k8s:data", "*"),
    await stage.delegate("engineer", "second-token", "k8s:data", "*"),
  ];
  const asked = join(stage.folder, "asked-for-a-token");
  writeFileSync(asked, "");
  const plugin = join(stage.folder, "two-tokens");
  const [one, other] = handles.map((token) => `printf '%s' '${token}'`);
  writeFileSync(
    plugin,
    `#!/bin/sh
echo asked >> '${asked}'
if [ $(($(wc -l < '${asked}') % 2)) = 1 ]; then token=$(${one}); else token=$(${other}); fi
end=$(date -u -d '+2 seconds' +%Y-%m-%dT%H:%M:%SZ)
printf '{"apiVersion":"client.authentication.k8s.io/v1","kind":"ExecCredential","status":{"token":"%s","expirationTimestamp":"%s"}}' "$token" "$end"
`,
  );
  chmodSync(plugin, 0o700);
  const config = JSON.parse(readFileSync(stage.kubeconfig("none"), "utf8"));
  const exec = { apiVersion: "client.authentication.k8s.io/v1", command: plugin };
  config.users = [{ name: "me", user: { exec: { ...exec, interactiveMode: "Never" } } }];
  const kubeconfig = join(stage.folder, "two-tokens.json");
  writeFileSync(kubeconfig, JSON.stringify(config));
  await using informer = await start(kubeconfig, ["-timeout", "1"]);
  const tokens = () => readFileSync(asked, "utf8").split("\n").length - 1;
  await hearsAll(stage, informer, () => tokens() >= 3);
  const broken = informer.heard.filter(({ message }) => /nauthorized|orbidden/.test(message ?? ""));
  assert.deepEqual(broken, []);
}

/** Changes an object again and again, until enough has happened: each change is heard, in order. */
async function hearsAll(
  stage: KubernetesStage,
  informer: Informer,
  isEnough: () => boolean = () => true,
  kind: Kind = CONFIG_MAPS,
): Promise<void> {
  await informer.until((heard) => heard.some(({ event }) => event === "synced"), "it never synced");
  const name = `heard-${randomBytes(4).toString("hex")}`;
  const marks: string[] = [];
  const untilMs = Date.now() + WAIT_MS;
  await change(stage, kind, "POST", "", { metadata: { name }, data: { mark: "first" } });
  while (marks.length < MARKS || !isEnough()) {
    assert.ok(
      Date.now() < untilMs,
      `it did not come to that: ${JSON.stringify(informer.heard.slice(-5))}`,
    );
    const mark = `m${marks.length}`;
    marks.push(mark);
    await change(stage, kind, "PATCH", `/${name}`, { data: { mark } });
    await delay(250);
  }
  await change(stage, kind, "DELETE", `/${name}`);
  const own = () => informer.heard.filter((one) => one.name === name);
  await informer.until(() => own().at(-1)?.event === "delete", "it did not hear of the removal");
  const changes = own().flatMap(({ event, mark }) => (event === "update" ? [mark] : []));
  assert.deepEqual(changes, marks);
}

async function change(
  { cluster }: KubernetesStage,
  { group, resource, version }: Kind,
  method: string,
  at: string,
  body?: Readonly<Record<string, unknown>>,
): Promise<void> {
  const base = group === "" ? `/api/${version}` : `/apis/${group}/${version}`;
  const type = group === "" ? {} : { apiVersion: `${group}/${version}`, kind: "Late" };
  const sent = body === undefined ? undefined : { ...type, ...body };
  await cluster.call(method, `${base}/namespaces/shop/${resource}${at}`, sent);
}

async function addKind({ cluster }: KubernetesStage): Promise<void> {
  const { group, resource, version } = KIND;
  const anything = { type: "object", "x-kubernetes-preserve-unknown-fields": true };
  await cluster.call("POST", "/apis/apiextensions.k8s.io/v1/customresourcedefinitions", {
    metadata: { name: `${resource}.${group}` },
    spec: {
      ...{
        group,
        scope: "Namespaced",
        names: { plural: resource, singular: "late", kind: "Late" },
      },
      versions: [
        { name: version, served: true, storage: true, schema: { openAPIV3Schema: anything } },
      ],
    },
  });
  const path = `/apis/${group}/${version}/namespaces/shop/${resource}`;
  for (const untilMs = Date.now() + WAIT_MS; ; await delay(200))
    try {
      await cluster.call("GET", path);
      return;
    } catch (error) {
      if (Date.now() > untilMs) throw error;
    }
}

function count({ heard }: Informer, event: string): number {
  return heard.filter((one) => one.event === event).length;
}

async function startInformer(
  program: string,
  kubeconfig: string,
  options: {
    readonly args: readonly string[];
    readonly env: NodeJS.ProcessEnv;
    readonly kind: Kind;
  },
): Promise<Informer> {
  const { args, env, kind } = options;
  const where = ["shop", kind.group, kind.version, kind.resource];
  const child = spawn(program, [...args, kubeconfig, ...where], {
    env: { PATH: "/usr/bin:/bin", HOME: "/nonexistent", ...env },
    stdio: ["pipe", "pipe", "pipe"],
  });
  const closed = new Promise<void>((resolve) => child.once("close", () => resolve()));
  child.stdin.on("error", () => undefined);
  child.stderr.resume();
  const heard: Heard[] = [];
  createInterface({ input: child.stdout }).on("line", (line) => {
    heard.push(JSON.parse(line) as Heard);
  });
  return {
    heard,
    async until(condition, what) {
      for (const untilMs = Date.now() + WAIT_MS; !condition(heard); await delay(50))
        assert.ok(Date.now() < untilMs, `${what}: ${JSON.stringify(heard.slice(-5))}`);
    },
    async [Symbol.asyncDispose]() {
      child.stdin.end();
      const timer = setTimeout(() => child.kill("SIGKILL"), 5000);
      await closed;
      clearTimeout(timer);
    },
  };
}
