// The story, step by step: a person signs in, an agent gets a delegation and starts another agent, both
// work through the gateway, are masked, denied, held and revoked, and what happened can be proved.

import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { setTimeout as delay } from "node:timers/promises";
import type { DelegationView, Whoami } from "@custody/contract/delegations.ts";
import type { TokenResponse } from "@custody/contract/oauth.ts";
import type { ApprovalRequestView } from "@custody/contract/requests.ts";
import type { SessionView } from "@custody/contract/sessions.ts";
import { connectAgent } from "./agent-connection.ts";
import { onACluster } from "./cluster.ts";
import { onAHost } from "./host.ts";
import {
  type Actor,
  actor,
  connection,
  custody,
  custodyJson,
  must,
  type Play,
  type Step,
  said,
  signIn,
} from "./play.ts";
import { provedAfterwards } from "./proof.ts";
import { pgScript } from "./scripts.ts";
import { DATABASE, TARGET } from "./stage.ts";

const DELETE = "delete from orders where status = 'cancelled'";
/** Long enough that only a cancel ends it: 400⁴ combinations. */
const ENDLESS = "select count(*) from orders a, orders b, orders c, orders d";
const REVOKE_BOUND_MS = 2_000;

export const STORY: readonly Step[] = [
  {
    title: "The engineer signs in",
    async run(play) {
      const engineer = await signIn(play, "engineer");
      const { chain } = await custodyJson<Whoami>(play, engineer, ["whoami"]);
      const [root] = chain;
      must(root?.id === "corp/engineer", `signed in as ${root?.id}`);
      must(root.provenance === "attested", `provenance is ${root.provenance}`);
      play.screen.answer(`${root.id}, ${root.provenance}, delegation ${root.delegationId}`);
      play.screen.why(
        "The identity provider vouches for the engineer; its signature was verified.",
      );
      return "the engineer is the root of a chain";
    },
  },
  {
    title: "A CI job gets a delegation, by the token its platform gave it",
    async run(play) {
      const file = join(play.stage.home("ci-job"), "ci-token");
      writeFileSync(file, await play.stage.ciToken(), { mode: 0o600 });
      const job = await delegate(play, actor(play, "engineer"), "ci-job", [
        ...["--actor-token-file", file],
        ...["--actions", "sql:read,sql:write", "--resources", `${DATABASE}/*`, "--ttl", "1h"],
      ]);
      await mustHaveChain(play, job, ["corp/engineer", "ci/acme/shop"]);
      play.screen.why(
        "The CI system vouches for the repository. The job holds a handle of its own: no password, no token of hers.",
      );
      return "the CI job may read and write, for one hour, on the engineer's behalf";
    },
  },
  {
    title: "The job starts a sub-agent: read only, one schema, ten minutes",
    async run(play) {
      const agent = await delegate(play, actor(play, "ci-job"), "report-agent", [
        ...["--actions", "sql:read", "--resources", `${DATABASE}/public/*`, "--ttl", "10m"],
      ]);
      await mustHaveChain(play, agent, ["corp/engineer", "ci/acme/shop", "report-agent"]);
      play.screen.why(
        "A child's grant is part of its parent's; every hop is asked for every command.",
      );
      return "the sub-agent's chain has three hops, each narrower than the one before";
    },
  },
  {
    title: "PostgreSQL itself is told who asks, and how well each hop is known",
    async run(play) {
      await using agent = await connectAgent(play.stage, actor(play, "report-agent").handle ?? "");
      await agent.client.query("select 1");
      const [row] = await play.stage.database.query(
        DATABASE,
        "select application_name as name from pg_stat_activity where application_name ~ 'report-agent'",
      );
      const name = String(row?.name);
      play.screen.answer(name);
      must(/^custody s-\w+ aab corp\/engineer>report-agent$/.test(name), `it is told ${name}`);
      play.screen.why(
        "a: attested by a provider; b: whoever bears the handle. A client cannot set it.",
      );
      return "the session, two attested hops and a bearer, the root and the leaf";
    },
  },
  {
    title: "The sub-agent reads customers and sees e-mail addresses masked",
    async run(play) {
      const sql = "select id, name, email from customers order by id limit 4";
      const { stage } = play;
      const truth = await stage.database.query(DATABASE, sql);
      const output = await pgScript(play, actor(play, "report-agent"), [sql]);
      for (const { name, email } of truth) {
        must(output.includes(String(name)), `${name} is not in the answer`);
        must(!output.includes(String(email)), `the real address ${email} came through`);
      }
      play.screen.why("public.customers.email is of class pii.email, and no hop may unmask it.");
      return "names as they are, addresses masked";
    },
  },
  {
    title: "Its DROP TABLE is denied, the error names the policy, the session lives on",
    async run(play) {
      const output = await pgScript(play, actor(play, "report-agent"), [
        "drop table orders",
        "select count(*) as still_there from orders",
      ]);
      must(/42501/.test(output), "the error is not 42501 (insufficient_privilege)");
      must(/no-schema-changes/.test(output), "the error does not name the policy");
      must(/\b400\b/.test(output), "the session did not go on after the error");
      play.screen.why(
        "no-schema-changes forbids it to everybody; nothing of it reached PostgreSQL.",
      );
      return "42501, the policy's name, and the next statement ran on the same connection";
    },
  },
  {
    title: "The job's DELETE waits; the engineer may not approve, dba1 may, it runs",
    run: heldDelete,
  },
  {
    title: "The sub-agent asks for more than its parent has and is refused",
    async run(play) {
      const agent = actor(play, "report-agent");
      const result = await custody(play, agent, [
        ...["delegate", "--actor", "helper", "--target", TARGET, "--account", "app"],
        ...["--actions", "sql:read,sql:write", "--resources", `${DATABASE}/public/*`, "--handle"],
      ]);
      play.screen.answer(said(result));
      must(result.exitCode !== 0, "it was given more than its parent has");
      // sql:write is a group; the first of its actions that does not fit is the one to be named.
      must(/sql:insert/.test(said(result)), "the refusal does not name what does not fit");
      play.screen.why(
        "Authority only narrows along a chain: a child's grant is part of its parent's.",
      );
      return "refused, naming the first thing that does not fit";
    },
  },
  ...onAHost,
  ...onACluster,
  {
    title: "The engineer is revoked: both sessions die, the running query is cancelled",
    run: revocation,
  },
  ...provedAfterwards,
];

async function delegate(
  play: Play,
  parent: Actor,
  name: string,
  grant: readonly string[],
): Promise<Actor> {
  const who = grant.includes("--actor-token-file") ? [] : ["--actor", name];
  const issued = await custodyJson<TokenResponse>(play, parent, [
    ...["delegate", ...who, "--target", TARGET, "--account", "app", ...grant, "--handle"],
  ]);
  const child: Actor = {
    name,
    home: play.stage.home(name),
    handle: issued.access_token,
    delegationId: issued.delegation_id,
  };
  play.actors.set(name, child);
  play.screen.answer(`${issued.delegation_id}, a handle, for ${issued.expires_in} s`);
  return child;
}

async function mustHaveChain(play: Play, who: Actor, names: readonly string[]): Promise<void> {
  const { chain } = await custodyJson<Whoami>(play, who, ["whoami"]);
  const found = chain.map((hop) => (hop.kind === "agent" ? hop.name : hop.id));
  play.screen.answer(found.join(" → "));
  must(found.join() === names.join(), `the chain is ${found.join(" → ")}`);
}

async function heldDelete(play: Play): Promise<string> {
  const { stage, screen } = play;
  const job = actor(play, "ci-job");
  const agent = await connectAgent(stage, job.handle ?? "");
  play.connections.set("ci-job", agent);
  screen.asked("ci-job", `sql> ${DELETE};`);
  let rows: number | null | undefined;
  const running = agent.client.query(DELETE).then((result) => {
    rows = result.rowCount;
  });
  running.catch(() => undefined);
  await until(() => agent.notices.length > 0, "no notice came while it waits");
  screen.answer(`NOTICE: ${agent.notices[0]}`);

  const dba = await signIn(play, "dba1");
  const { requests } = await custodyJson<{ requests: ApprovalRequestView[] }>(play, dba, [
    "requests",
  ]);
  const request = requests.find((one) => one.state === "waiting");
  must(request !== undefined, "dba1 sees no request that waits");
  must(request.command.includes(DELETE), "the request does not show the command");
  screen.answer(`${request.id}: ${request.what}, for ${chainText(request)}`);

  const own = await custody(play, actor(play, "engineer"), ["approve", request.id]);
  screen.answer(said(own));
  must(own.exitCode !== 0, "the engineer approved her own chain's command");
  must(rows === undefined, "it ran before anybody approved it");

  await custodyJson(play, dba, ["approve", request.id, "--reason", "cleanup, ticket 4711"]);
  await Promise.race([running, delay(10_000)]);
  const left = await stage.database.query(
    DATABASE,
    "select count(*)::int as n from orders where status = 'cancelled'",
  );
  must(rows === 100 && left[0]?.n === 0, `deleted ${rows}, left ${left[0]?.n}`);
  screen.answer(`DELETE ${rows}`);
  screen.why("deletes-need-a-dba asks for one of corp/dba; nobody behind the chain counts.");
  return "it ran after dba1 approved it, once, and not before";
}

function chainText(request: ApprovalRequestView): string {
  return request.chain.map((hop) => hop.name).join(" → ");
}

async function revocation(play: Play): Promise<string> {
  const { stage, screen } = play;
  const agent = await connectAgent(stage, actor(play, "report-agent").handle ?? "");
  play.connections.set("report-agent", agent);
  const job = connection(play, "ci-job");
  const engineer = actor(play, "engineer");
  const { sessions } = await custodyJson<{ sessions: SessionView[] }>(play, engineer, ["sessions"]);
  // The newest come first; a name's last live one is the one to replay.
  for (const { id, delegationId } of sessions.toReversed())
    for (const { name, delegationId: held } of play.actors.values())
      if (held === delegationId) play.sessions.set(name, id);

  // The role of a session that has just ended may still be on its way out.
  let roles: { name: string; verifier: string }[] = [];
  await until(async () => {
    roles = await sessionRoles(play);
    return roles.length === 2;
  }, "there is not one role for each live session");
  for (const { name, verifier } of roles) play.secrets.set(`the verifier of ${name}`, verifier);

  screen.asked("report-agent", `sql> ${ENDLESS};   -- runs on and on`);
  const query = agent.client.query(ENDLESS).then(
    () => "it came to its end",
    (error: Error) => error.message,
  );
  await until(async () => (await running(play)) === 1, "the long query does not run");
  const ended = Promise.all([query, job.ended, agent.ended]).then(async ([told]) => {
    await until(async () => (await running(play)) === 0, "the query still runs in PostgreSQL");
    return { told, atMs: Date.now() };
  });
  ended.catch(() => undefined);
  const { delegation } = await custodyJson<{ delegation: DelegationView }>(play, engineer, [
    "revoke",
    engineer.delegationId,
  ]);
  const { told, atMs } = await ended;
  const tookMs = atMs - Date.parse(delegation.revokedAt ?? "");
  screen.answer(told);
  must(/revoked/i.test(told), `the agent was told: ${told}`);
  must(tookMs < REVOKE_BOUND_MS, `it took ${tookMs} ms`);
  const again = await connectAgent(stage, actor(play, "ci-job").handle ?? "").catch(
    (error: Error) => error.message,
  );
  must(typeof again === "string", "a revoked handle still opens a session");
  await until(
    async () => (await sessionRoles(play)).length === 0,
    "the sessions' roles are still in PostgreSQL",
  );
  screen.answer(`and to connect again: ${again}`);
  screen.why("Every session is indexed by every delegation above it.");
  return `both sessions ended and the query was cancelled within ${tookMs} ms`;
}

/** The roles the gateway made for live sessions, with what PostgreSQL keeps of their passwords. */
async function sessionRoles(play: Play): Promise<{ name: string; verifier: string }[]> {
  const rows = await play.stage.database.query(
    "postgres",
    `select rolname, rolpassword from pg_authid
     where rolcanlogin and rolname not in ('postgres', 'custody_admin') order by oid`,
  );
  // SCRAM-SHA-256$<iterations>:<salt>$<StoredKey>:<ServerKey>; the last would do to forge a server.
  return rows.map((row) => ({
    name: String(row.rolname),
    verifier: String(row.rolpassword).split(":").at(-1) ?? "",
  }));
}

/** Backends that run the endless query. */
async function running(play: Play): Promise<number> {
  const [row] = await play.stage.database.query(
    "postgres",
    `select count(*)::int as n from pg_stat_activity
     where state = 'active' and query like 'select count(*) from orders a%' and pid <> pg_backend_pid()`,
  );
  return Number(row?.n);
}

async function until(condition: () => boolean | Promise<boolean>, otherwise: string) {
  const deadline = Date.now() + 10_000;
  while (!(await condition())) {
    must(Date.now() < deadline, otherwise);
    await delay(20);
  }
}
