// What `npm start` prints at the end: commands to copy and paste, against the same gateway.

import { writeFileSync } from "node:fs";
import { join } from "node:path";
import type { TokenResponse } from "@custody/contract/oauth.ts";
import { CUSTODY } from "../conformance/support/command-line.ts";
import { connectionEnvironment } from "./agent-connection.ts";
import { type Actor, custodyJson, type Play, signIn } from "./play.ts";
import { DATABASE, TARGET } from "./stage.ts";

/** Signs the engineer in anew, delegates to an agent and prints how to act as each of them. */
export async function byHand(play: Play): Promise<void> {
  const { stage, screen } = play;
  screen.title("Now by hand. Everything below is up until you press ctrl-C.");
  const engineer = await signIn(play, "engineer");
  const agent = await delegate(play, engineer);
  const variables = Object.entries(connectionEnvironment(stage, agent.handle ?? ""));
  const file = join(stage.folder, "agent.env");
  const lines = variables.map(([name, value]) => `export ${name}='${value}'`);
  writeFileSync(file, `${lines.join("\n")}\n`, { mode: 0o600 });
  const data = (path: string) => join(stage.gateway.dataFolder, path);
  const as = (name: string) => `CUSTODY_HOME=${stage.home(name)} node ${CUSTODY}`;
  const commands: [what: string, command: string][] = [
    ["psql as the agent", `(. ${file} && psql)`],
    ["  try", "select * from customers limit 5;   drop table orders;   delete from orders;"],
    ["approve as dba1", `${as("dba1")} requests`],
    ["", `${as("dba1")} approve <request>`],
    ["the chain", `${as("engineer")} chain`],
    ["live sessions", `${as("engineer")} sessions`],
    ["end it all", `${as("engineer")} revoke ${engineer.delegationId}`],
    ["replay", `${as("dba1")} replay <session>`],
    [
      "the log",
      `${as("dba1")} audit verify ${data("log")} --key "$(cat ${data("keys/log.vkey")})"`,
    ],
    ["the database itself", `psql "${direct(play)}"`],
  ];
  for (const [what, command] of commands) screen.plain(`  ${what.padEnd(20)} ${command}`);
  screen.plain(`\n  configuration and policies: ${stage.gateway.configFile}`);
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
