import assert from "node:assert/strict";
import { it } from "node:test";
import { Agent, fetch } from "undici";
import { askAll, readRecordings } from "./kubernetes-recordings.ts";
import { startLightApiServer } from "./light-api-server.ts";

it("answers as the real API server answered when it was recorded", async () => {
  await using light = await startLightApiServer();
  const { server: base, ca, token } = light;
  const answers = await askAll({ base, ca, token });
  const recordings = readRecordings();
  // Of the core group's resources it has some, each as it was recorded.
  const core = recordings.core as { resources: { name: string }[] };
  const own = answers.core as { resources: { name: string }[] };
  assert.deepEqual(
    own.resources,
    core.resources.filter(({ name }) => own.resources.some((one) => one.name === name)),
  );
  assert.ok(own.resources.length >= 4);
  assert.deepEqual({ ...answers, core }, { ...recordings });
});

it("takes its own token alone, and remembers for whom was asked", async () => {
  await using light = await startLightApiServer();
  const agent = new Agent({ connect: { ca: light.ca } });
  const path = "/api/v1/namespaces/shop/pods";
  const ask = (token: string) =>
    fetch(light.server + path, {
      dispatcher: agent,
      headers: { authorization: `Bearer ${token}`, "impersonate-user": "custody:corp/ann" },
    });
  assert.equal((await ask("another")).status, 401);
  assert.equal((await ask(light.token)).status, 200);
  assert.deepEqual(light.requests, [
    { method: "GET", path, impersonated: "custody:corp/ann", chain: undefined },
  ]);
  await agent.destroy();
});

it("tells a watch of what comes and goes", async () => {
  await using light = await startLightApiServer();
  const agent = new Agent({ connect: { ca: light.ca } });
  const at = `${light.server}/api/v1/namespaces/shop/secrets`;
  const headers = { authorization: `Bearer ${light.token}` };
  const watched = await fetch(`${at}?watch=1&timeoutSeconds=60`, { dispatcher: agent, headers });
  light.put("secrets", "late", { key: "value" });
  await (await fetch(`${at}/late`, { dispatcher: agent, headers, method: "DELETE" })).text();
  assert.equal(light.has("secrets", "late"), false);
  let text = "";
  for await (const chunk of watched.body ?? []) {
    text += Buffer.from(chunk as Uint8Array).toString();
    if (text.includes("DELETED")) break;
  }
  const events = text.trim().split("\n");
  assert.deepEqual(
    events.map((line) => {
      const { type, object } = JSON.parse(line);
      return `${type} ${object.metadata.name}`;
    }),
    ["ADDED database", "ADDED late", "DELETED late"],
  );
  await agent.destroy();
});
