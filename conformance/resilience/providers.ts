// An identity provider that is down, hangs, talks nonsense or changes its keys.

import assert from "node:assert/strict";
import type { Group } from "./checks.ts";
import { ask, type HttpAnswer } from "./https-client.ts";
import { assertNoInsides } from "./raw-client.ts";
import { hangUp, type Subject } from "./world.ts";

async function signIn(subject: Subject, idToken: string): Promise<HttpAnswer> {
  const body = new URLSearchParams({
    grant_type: "urn:ietf:params:oauth:grant-type:token-exchange",
    subject_token: idToken,
    subject_token_type: "urn:ietf:params:oauth:token-type:id_token",
  }).toString();
  const headers = { "content-type": "application/x-www-form-urlencoded" };
  return await ask(subject, "/token", { method: "POST", headers, body });
}

export const providers: Group = {
  name: "providers",
  checks: [
    ...(["unavailable", "hang", "garbage"] as const).map((how) => ({
      name: `${how}: nobody signs in, who has a delegation works on`,
      async run(world: Parameters<Group["checks"][number]["run"]>[0]) {
        await using subject = await world.subject();
        const token = await world.provider.idToken("engineer");
        await subject.restart();
        world.provider.fail(how);
        try {
          const started = Date.now();
          const answer = await signIn(subject, token);
          assert.ok(Date.now() - started < 14_000, "it took too long to say so");
          assert.equal(answer.status, 503, answer.text);
          assert.match(answer.text, /temporarily_unavailable/);
          assert.match(answer.text, /corp/);
          assertNoInsides(answer.text);
          const client = await subject.connect();
          assert.equal((await client.query("select 1 as one")).rows[0].one, 1);
          await hangUp(client);
        } finally {
          world.provider.fail(undefined);
        }
        // Keys are asked for again after a pause; a new start does not wait for it.
        await subject.restart();
        assert.equal((await signIn(subject, token)).status, 200);
      },
    })),
    {
      name: "new keys are found, tokens of withdrawn ones are refused",
      async run(world) {
        await using subject = await world.subject();
        const old = await world.provider.idToken("engineer");
        world.provider.rotateKeys({ keepOld: false });
        await subject.restart();
        assert.equal((await signIn(subject, await world.provider.idToken("engineer"))).status, 200);
        const refused = await signIn(subject, old);
        assert.ok(refused.status >= 400, refused.text);
        assertNoInsides(refused.text);
      },
    },
  ],
};
