// Answers that go on, through the API as it is served.

import assert from "node:assert/strict";
import { after, beforeEach, test } from "node:test";
import { fetch } from "undici";
import { at, startControlApi } from "../../../conformance/support/control-api.ts";

const api = await startControlApi();
after(() => api[Symbol.asyncDispose]());
beforeEach(() => api.side.clock.advance(10_000));

const open = (token: string, signal?: AbortSignal) =>
  fetch(`${api.side.url}/v1/events`, {
    dispatcher: api.agent,
    headers: { authorization: `Bearer ${token}` },
    ...(signal === undefined ? {} : { signal }),
  });

test("a person has so many at once, and others have theirs", async () => {
  const admin = await api.signIn("admin");
  const abort = new AbortController();
  const answers = await Promise.all(Array.from({ length: 33 }, () => open(admin, abort.signal)));
  const statuses = answers.map(({ status }) => status).sort();
  assert.deepEqual([statuses[0], statuses[31], statuses[32]], [200, 200, 429]);
  assert.equal((await api.get("/v1/whoami", admin)).status, 200);
  abort.abort();
  // Once the gateway has heard that they are gone there is room again.
  const again = new AbortController();
  let answer = await open(admin, again.signal);
  while (answer.status === 429) {
    await answer.text();
    await new Promise((resolve) => setTimeout(resolve, 20));
    api.side.clock.advance(1000);
    answer = await open(admin, again.signal);
  }
  assert.equal(answer.status, 200);
  again.abort();
});

test("events end for who was revoked, however long they go on reading, and they are told", async () => {
  const admin = await api.signIn("admin");
  const id = String(at(await api.get("/v1/whoami", admin), "delegation.id"));
  const answer = await open(admin);
  assert.equal(answer.status, 200);
  const told = answer.text();
  const other = await api.signIn("admin");
  assert.equal((await api.post(`/v1/delegations/${id}/revoke`, other)).status, 200);
  const lines = (await told).trimEnd().split("\n");
  assert.deepEqual(JSON.parse(lines.at(-1) ?? ""), {
    error: { code: "revoked", message: "your sign-in has ended" },
  });
});
