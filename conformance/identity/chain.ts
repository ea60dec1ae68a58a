// What cannot be done with a chain that is not one's own, or not there: splicing, a neighbour's token, an
// invented chain, a stolen credential, and approving for oneself. THREATS, "Authentication and the chain".

import assert from "node:assert/strict";
import { randomBytes } from "node:crypto";
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { setTimeout as delay } from "node:timers/promises";
import { createClient } from "@custody/cli/client.ts";
import { type HolderKey, makeHolderKey, presented, stateChild } from "@custody/cli/holder-key.ts";
import { GRANT_TYPE_TOKEN_EXCHANGE, TOKEN_TYPE } from "@custody/contract/oauth.ts";
import pg from "pg";
import { fetch } from "undici";
import type { Cases } from "./cases.ts";
import { DATABASE, type Stage } from "./stage.ts";

const DETAILS = [
  {
    type: "custody" as const,
    targets: ["shop"],
    accounts: ["app"],
    actions: ["connect", "sql:read", "sql:write"],
    resources: ["*"],
    unmask: [],
    limits: {},
  },
];
const GRANT = JSON.stringify(DETAILS);

interface Held {
  readonly id: string;
  readonly token: string;
}

export async function chainCases(cases: Cases, stage: Stage): Promise<void> {
  stage.corp.setGroups("engineer", ["engineers", "dba"]);
  await spliceCases(cases, stage);
  await theftCases(cases, stage);
  await approvalCases(cases, stage);
  stage.corp.setGroups("engineer", ["engineers"]);
}

function clientOf(stage: Stage, options: { token?: string; key?: HolderKey; bindTo?: HolderKey }) {
  const ca = readFileSync(stage.gateway.caFile, "utf8");
  return createClient({ url: stage.gateway.url, ca, token: undefined, ...options });
}

async function signIn(stage: Stage, account: string, key?: HolderKey): Promise<Held> {
  const client = clientOf(stage, key === undefined ? {} : { bindTo: key });
  try {
    const made = await client.call("token", {
      body: {
        grant_type: GRANT_TYPE_TOKEN_EXCHANGE,
        subject_token: await stage.corp.idToken(account),
        subject_token_type: TOKEN_TYPE.idToken,
        requested_token_type: TOKEN_TYPE.handle,
      },
    });
    return { id: made.delegation_id, token: made.access_token };
  } finally {
    await client.close();
  }
}

async function delegate(
  stage: Stage,
  parent: string,
  name: string,
  more: { readonly bindTo?: HolderKey; readonly statement?: string } = {},
): Promise<Held> {
  const { bindTo, statement } = more;
  const client = clientOf(stage, bindTo === undefined ? {} : { bindTo });
  try {
    const made = await client.call("token", {
      body: {
        grant_type: GRANT_TYPE_TOKEN_EXCHANGE,
        subject_token: parent,
        subject_token_type: TOKEN_TYPE.handle,
        actor_token: name,
        actor_token_type: TOKEN_TYPE.agentName,
        requested_token_type: TOKEN_TYPE.handle,
        authorization_details: GRANT,
        ...(statement !== undefined && { hop_statement: statement }),
      },
    });
    return { id: made.delegation_id, token: made.access_token };
  } finally {
    await client.close();
  }
}

const expiresAt = () => Math.floor(Date.now() / 1000) + 3000;

function stated(stage: Stage, key: HolderKey, parent: string, root = parent): string {
  const above = { id: parent, root, depth: 0, statement: null, expiresAt: expiresAt() };
  const child = { actor: { name: "job" }, grant: DETAILS, key, ttlSeconds: 600 };
  return stateChild(key, stage.gateway.url, above, child, Date.now());
}

async function spliceCases({ check }: Cases, stage: Stage): Promise<void> {
  const key = makeHolderKey(join(stage.folder, "splice.pem"));
  const [one, other] = [await signIn(stage, "engineer", key), await signIn(stage, "engineer", key)];
  await check("a hop that was signed for one parent is not taken below another", async () => {
    const statement = stated(stage, key, one.id);
    await assert.rejects(
      delegate(stage, other.token, "job", { bindTo: key, statement }),
      /another parent/,
    );
    const made = await delegate(stage, one.token, "job", { bindTo: key, statement });
    assert.notEqual(made.id, "");
    await assert.rejects(
      delegate(stage, one.token, "job", { bindTo: key, statement }),
      /used before/,
    );
  });
  await check("a hop of a parent that holds a key is not the gateway's alone to make", async () => {
    await assert.rejects(delegate(stage, one.token, "job"), /hop statement/);
  });
  await check("an invented chain that narrows perfectly is nobody's", async () => {
    const invented = `d-${"0".repeat(12)}`;
    for (const root of [invented, one.id]) {
      const chain = stated(stage, key, invented, root);
      await assert.rejects(clientOf(stage, { token: chain, key }).call("whoami"), {
        code: "unauthenticated",
      });
    }
    const below = stated(stage, makeHolderKey(join(stage.folder, "mine.pem")), one.id);
    await assert.rejects(clientOf(stage, { token: below, key }).call("whoami"), {
      code: "unauthenticated",
    });
  });
  await check("a neighbour's delegation is not seen, renewed or revoked", async () => {
    const root = await signIn(stage, "engineer");
    const [mine, next] = [
      await delegate(stage, root.token, "mine"),
      await delegate(stage, root.token, "next"),
    ];
    const client = clientOf(stage, { token: mine.token });
    const params = { id: next.id };
    for (const asked of [
      client.call("delegation", { params }),
      client.call("renewDelegation", { params, body: {} }),
      client.call("revokeDelegation", { params, body: {} }),
    ])
      await assert.rejects(asked, { code: "not_found" });
    await client.close();
    assert.equal(await stage.get("/v1/whoami", next.token), 200);
  });
}

async function theftCases({ check }: Cases, stage: Stage): Promise<void> {
  await check(
    "a credential read from another's environment is worth nothing without its key",
    async () => {
      const root = await signIn(stage, "engineer");
      const key = makeHolderKey(join(stage.folder, "agent.pem"));
      const thief = makeHolderKey(join(stage.folder, "thief.pem"));
      const agent = await delegate(stage, root.token, "agent", { bindTo: key });
      assert.equal(await stage.get("/v1/whoami", agent.token), 401);
      await assert.rejects(clientOf(stage, { token: agent.token, key: thief }).call("whoami"));
      assert.equal(
        (await clientOf(stage, { token: agent.token, key }).call("whoami")).chain.length,
        2,
      );
      const issuer = stage.gateway.url;
      await assert.rejects(connect(stage, agent.token), { code: "28P01" });
      const forged = presented(thief, agent.token, issuer, Date.now());
      await assert.rejects(connect(stage, forged), { code: "28P01" });
      const old = presented(key, agent.token, issuer, Date.now() - 3_600_000);
      await assert.rejects(connect(stage, old), { code: "28P01" });
      const ofAnother = presented(key, agent.token, "https://elsewhere.test", Date.now());
      await assert.rejects(connect(stage, ofAnother), { code: "28P01" });
      const client = await connect(stage, presented(key, agent.token, issuer, Date.now()));
      assert.equal((await client.query("select 1 as one")).rows[0].one, 1);
      await client.end();
    },
  );
}

async function connect(stage: Stage, password: string): Promise<pg.Client> {
  const client = new pg.Client({
    ...stage.gateway.postgres,
    user: "shop",
    password,
    database: DATABASE,
    ssl: { ca: readFileSync(stage.gateway.caFile, "utf8") },
  });
  client.on("error", () => undefined);
  await client.connect();
  return client;
}

async function approvalCases({ check }: Cases, stage: Stage): Promise<void> {
  const root = await signIn(stage, "engineer");
  const agent = await delegate(stage, root.token, "cleaner");
  const below = await delegate(stage, agent.token, "below");
  const [bob, bobAgain, carol] = [
    await signIn(stage, "dba"),
    await signIn(stage, "dba-again"),
    await signIn(stage, "carol"),
  ];
  const bobsAgent = await delegate(stage, bob.token, "bobs-agent");
  const client = await connect(stage, agent.token);
  const sql = `delete from items where id = ${randomBytes(3).readUIntBE(0, 3) + 1000}`;
  const running = client.query(sql);
  const state = { settled: false };
  running.then(
    () => (state.settled = true),
    () => (state.settled = true),
  );
  const waiting = async () => {
    for (;;) {
      const { body } = await ask(stage, carol.token, "/v1/requests?state=waiting");
      const [request] = Object(body).requests ?? [];
      if (request !== undefined) return String(request.id);
      await delay(50);
    }
  };
  const id = await waiting();
  const vote = (token: string) => ask(stage, token, `/v1/requests/${id}/approve`, {});
  await check("who asked, an agent of theirs and one below it approve nothing", async () => {
    for (const token of [root.token, agent.token, below.token]) {
      const { status } = await vote(token);
      assert.ok(status === 403 || status === 404, String(status));
    }
  });
  await check("an agent of an approver approves nothing", async () => {
    const { status } = await vote(bobsAgent.token);
    assert.ok(status === 403 || status === 404, String(status));
  });
  await check("one person counts once, whatever accounts they have", async () => {
    const first = Object((await vote(bob.token)).body);
    assert.equal(first.requirements[0].approvals, 1, JSON.stringify(first));
    await vote(bobAgain.token);
    await vote(bob.token);
    const { body } = await ask(stage, carol.token, `/v1/requests/${id}`);
    assert.equal(Object(body).state, "waiting");
    assert.equal(Object(body).requirements[0].approvals, 1);
    assert.equal(state.settled, false);
  });
  await check("a second person lets it run, once: the same again waits again", async () => {
    assert.equal((await vote(carol.token)).status, 200);
    assert.equal((await running).command, "DELETE");
    const again = client.query(sql);
    again.catch(() => undefined);
    assert.notEqual(await waiting(), id);
    await ask(stage, carol.token, `/v1/requests/${await waiting()}/deny`, {});
    await assert.rejects(again, { code: "42501" });
  });
  await client.end();
}

async function ask(stage: Stage, token: string, path: string, body?: object) {
  const answer = await fetch(`${stage.gateway.url}${path}`, {
    method: body === undefined ? "GET" : "POST",
    dispatcher: stage.agent,
    headers: { authorization: `Bearer ${token}`, "content-type": "application/json" },
    ...(body === undefined ? {} : { body: JSON.stringify(body) }),
  });
  return { status: answer.status, body: await answer.json() };
}
