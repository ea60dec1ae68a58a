// What `npm start` prints at the end: commands to copy and paste, against the same gateway.

import { writeFileSync } from "node:fs";
import { join } from "node:path";
import type { TokenResponse } from "@custody/contract/oauth.ts";
import { CUSTODY } from "../conformance/support/command-line.ts";
import { connectionEnvironment } from "./agent-connection.ts";
import { type Actor, agentVariables, custodyJson, type Play, signIn } from "./play.ts";
import { DATABASE, TARGET } from "./stage.ts";

/** Signs the engineer in anew, delegates to an agent and prints how to act as each of them. */
export async function byHand(play: Play): Promise<void> {
  const { stage, screen } = play;
  screen.title("Now by hand. Everything below is up until you press ctrl-C.");
  const engineer = await signIn(play, "engineer");
  const agent = await delegate(play, engineer);
  const file = join(stage.folder, "by-hand.sh");
  writeFileSync(file, shortWords(play, agent), { mode: 0o600 });
  const commands: [what: string, command: string][] = [
    ["first, in a terminal", `. ${file}`],
    ["psql as the agent", "agent psql"],
    ["  and there", "select * from customers limit 5;"],
    ["", "drop table orders;"],
    ["", "delete from orders;"],
    ["approve as dba1", "dba1 requests"],
    ["  in another one", "dba1 approve <request>"],
    ["why was it denied?", "agent custody explain <request>"],
    ["the chain", "engineer chain"],
    ["sessions", "engineer sessions"],
    ["end it all", `engineer revoke ${engineer.delegationId}`],
    ["replay", "dba1 replay <session>"],
    ["verify the log", "verify"],
    ["the database itself", "database"],
  ];
  for (const [what, command] of commands) screen.plain(`  ${what.padEnd(20)} ${command}`);
  screen.plain(`\n  Configuration, policies beside it: ${stage.gateway.configFile}`);
}

/** Functions of a shell, so that what is to be typed fits on a line. */
function shortWords(play: Play, agent: Actor): string {
  const { stage } = play;
  const data = (path: string) => join(stage.gateway.dataFolder, path);
  const custody = `node '${CUSTODY}'`;
  const variables = {
    ...connectionEnvironment(stage, agent.handle ?? ""),
    ...agentVariables(stage, agent),
    CUSTODY_HOME: agent.home,
  };
  const exports = Object.entries(variables).map(([name, value]) => `export ${name}='${value}'; `);
  return [
    `custody() { ${custody} "$@"; }`,
    ...["engineer", "dba1", "dba2"].map(
      (name) => `${name}() { CUSTODY_HOME='${stage.home(name)}' ${custody} "$@"; }`,
    ),
    `agent() { ( ${exports.join("")}"$@" ); }`,
    `verify() { dba1 audit verify '${data("log")}' --key "$(cat '${data("keys/log.vkey")}')"; }`,
    `database() { psql '${direct(play)}' "$@"; }`,
    "",
  ].join("\n");
}

async function delegate(play: Play, engineer: Actor): Promise<Actor> {
  const issued = await custodyJson<TokenResponse>(play, engineer, [
    ...["delegate", "--actor", "by-hand", "--target", TARGET, "--account", "app"],
    ...["--actions", "sql:read,sql:write", "--resources", `${DATABASE}/*`, "--ttl", "1h"],
    "--handle",
  ]);
  return {
    name: "by-hand",
    home: play.stage.home("by-hand"),
    handle: issued.access_token,
    delegationId: issued.delegation_id,
  };
}

/** The superuser's way in, for looking behind the gateway; made for this run and gone with it. */
function direct(play: Play): string {
  const { database } = play.stage;
  const parts = {
    host: "localhost",
    port: database.port,
    user: database.superuser,
    password: database.password,
    dbname: DATABASE,
    sslmode: "verify-full",
    sslrootcert: database.caFile,
  };
  return Object.entries(parts)
    .map(([name, value]) => `${name}=${value}`)
    .join(" ");
}
