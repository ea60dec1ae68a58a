// What programs in JavaScript do with @kubernetes/client-node: `node cases.mjs <kubeconfig>` in a folder that
// has the package; prints `ok <what>` or `not ok <what>: <why>`, a line each.

import assert from "node:assert/strict";
import { randomBytes } from "node:crypto";
import { PassThrough } from "node:stream";
import * as k8s from "@kubernetes/client-node";

const [kubeconfig = ""] = process.argv.slice(2);
const config = new k8s.KubeConfig();
config.loadFromFile(kubeconfig);
const core = config.makeApiClient(k8s.CoreV1Api);
const objects = k8s.KubernetesObjectApi.makeApiClient(config);
const namespace = "shop";
const WAIT_MS = 30_000;

async function until(condition, what) {
  for (const deadline = Date.now() + WAIT_MS; !condition(); ) {
    assert.ok(Date.now() < deadline, what);
    await new Promise((resolve) => setTimeout(resolve, 50));
  }
}

// A stream of logs that is aborted says so on a body nobody else has.
process.on("uncaughtException", (error) => {
  if (error.name !== "AbortError") throw error;
});

const CASES = {
  async "objects are made, read, listed, patched and applied"() {
    const name = `js-${randomBytes(4).toString("hex")}`;
    await core.createNamespacedConfigMap({
      namespace,
      body: { metadata: { name, labels: { by: name } }, data: { a: "1" } },
    });
    await core.patchNamespacedConfigMap(
      { name, namespace, body: { data: { a: "2" } } },
      k8s.setHeaderOptions("Content-Type", k8s.PatchStrategy.MergePatch),
    );
    const spec = { apiVersion: "v1", kind: "ConfigMap", metadata: { name, namespace } };
    await objects.patch(
      { ...spec, data: { b: "3" } },
      undefined,
      undefined,
      "client-node",
      true,
      k8s.PatchStrategy.ServerSideApply,
    );
    const { items } = await core.listNamespacedConfigMap({
      namespace,
      labelSelector: `by=${name}`,
    });
    assert.deepEqual(
      items.map(({ data }) => data),
      [{ a: "2", b: "3" }],
    );
  },
  async "a Secret comes masked and is what it was"() {
    const { data } = await core.readNamespacedSecret({ name: "for-programs", namespace });
    assert.equal(Buffer.from(data.key, "base64").toString(), "[masked secret.k8s]");
  },
  async "what is not there and what is denied are errors with their Status"() {
    await assert.rejects(core.readNamespacedPod({ name: "nobody", namespace }), { code: 404 });
    await assert.rejects(
      core.createNamespacedServiceAccountToken({
        ...{ name: "default", namespace },
        body: { spec: { audiences: [] } },
      }),
      (error) => error.code === 403 && /Custody denied/.test(String(error.body)),
    );
  },
  async "an informer hears what is made and removed"() {
    const heard = [];
    const list = () => core.listNamespacedConfigMap({ namespace });
    const path = `/api/v1/namespaces/${namespace}/configmaps`;
    const informer = k8s.makeInformer(config, path, list);
    informer.on("add", ({ metadata }) => heard.push(metadata.name));
    await informer.start();
    const name = `js-${randomBytes(4).toString("hex")}`;
    await core.createNamespacedConfigMap({ namespace, body: { metadata: { name } } });
    await until(() => heard.includes(name), "it was not heard of");
    await informer.stop();
  },
  async "logs are read and followed"() {
    const text = await core.readNamespacedPodLog({ name: "web-1", namespace });
    assert.match(text, /first line[\s\S]*last line/);
    const stream = new PassThrough();
    let followed = "";
    stream.on("data", (chunk) => {
      followed += chunk;
    });
    const controller = await new k8s.Log(config).log(namespace, "web-1", "web", stream, {
      follow: true,
    });
    await until(() => followed.includes("line 2 of the log"), `it is not followed: ${followed}`);
    controller.abort();
  },
  async "exec carries input and output, and says how it ended"() {
    const sent = randomBytes(100_000).toString("hex");
    const input = new PassThrough();
    const output = new PassThrough();
    let came = "";
    output.on("data", (chunk) => {
      came += chunk;
    });
    const words = ["head", "-c", String(sent.length)];
    const ended = new Promise((resolve, reject) => {
      new k8s.Exec(config)
        .exec(namespace, "web-1", "web", words, output, new PassThrough(), input, false, resolve)
        .catch(reject);
    });
    input.write(sent);
    const status = await ended;
    assert.equal(status.status, "Success");
    await until(() => came.length === sent.length, `${came.length} of ${sent.length} bytes`);
    assert.ok(came === sent);
  },
  async "a shell is refused with its reason"() {
    const status = await new Promise((resolve, reject) => {
      new k8s.Exec(config)
        .exec(
          ...[namespace, "web-1", "web", ["sh", "-c", "id; $(id)"]],
          ...[new PassThrough(), new PassThrough(), null, false, resolve],
        )
        .catch(reject);
    });
    assert.equal(status.status, "Failure");
    assert.match(status.message, /Custody denied/);
  },
};

for (const [name, run] of Object.entries(CASES))
  try {
    await run();
    console.log(`ok ${name}`);
  } catch (error) {
    console.log(
      `not ok ${name}: ${String(error?.message ?? error)
        .slice(0, 600)
        .replaceAll("\n", " ")}`,
    );
  }
process.exit(0);
