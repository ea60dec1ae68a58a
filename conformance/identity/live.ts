// What a provider's word does to a session that is open on a real PostgreSQL.

import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { TOKEN_TYPE } from "@custody/contract/oauth.ts";
import pg from "pg";
import { fetch } from "undici";
import type { Cases } from "./cases.ts";
import { DATABASE, type Stage } from "./stage.ts";

export async function liveCases({ check }: Cases, stage: Stage): Promise<void> {
  const { corp } = stage;
  corp.setGroups("engineer", ["engineers"]);
  const { body } = await stage.exchange(await corp.idToken("engineer"), {
    requested_token_type: TOKEN_TYPE.handle,
  });
  const handle = String(body.access_token);
  const client = new pg.Client({
    ...stage.gateway.postgres,
    user: "shop",
    password: handle,
    database: DATABASE,
    ssl: { ca: readFileSync(stage.gateway.caFile, "utf8") },
  });
  client.on("error", () => undefined);
  await client.connect();
  const read = { name: "read", text: "select count(*)::int as n from items" };
  const refresh = async (groups: readonly string[]) => {
    corp.setGroups("engineer", groups);
    const answer = await fetch(
      `${stage.gateway.url}/v1/delegations/${String(body.delegation_id)}/refresh`,
      {
        method: "POST",
        dispatcher: stage.agent,
        headers: { authorization: `Bearer ${handle}`, "content-type": "application/json" },
        body: JSON.stringify({ token: await corp.idToken("engineer") }),
      },
    );
    assert.equal(answer.status, 200, await answer.text());
  };
  await check("a live session reads while its root is in the group", async () => {
    assert.equal((await client.query(read)).rows[0].n, 2);
  });
  await check(
    "a group taken away takes its rights at the next command, prepared ones too",
    async () => {
      await refresh(["interns"]);
      await assert.rejects(client.query(read), { code: "42501" });
      await assert.rejects(client.query("select 1 from items"), { code: "42501" });
    },
  );
  await check("a group given back gives them back, in the same session", async () => {
    await refresh(["engineers"]);
    assert.equal((await client.query(read)).rows[0].n, 2);
  });
  await check("signing out at the provider ends a running statement at once", async () => {
    const ended = new Promise((resolve) => client.once("end", resolve));
    const running = client.query("select id from items, generate_series(1, 100000000) order by 1");
    const failed = assert.rejects(running);
    const before = performance.now();
    const told = corp.endSession("engineer").then(() => performance.now());
    await Promise.all([ended, failed]);
    const took = performance.now() - before;
    await told;
    // From the person's click on: the provider's own pages are in it.
    assert.ok(took < 500, `${took} ms`);
  });
}
