// The part of the story on a host: a sub-agent runs what it may by ssh, is refused what hides a removal,
// has a restart held and approved, and the session is replayed. The host is a real sshd of this machine's;
// its `systemctl` is one of the demo's, which only says what it was asked.

import { spawn } from "node:child_process";
import { once } from "node:events";
import { existsSync, mkdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import type { TokenResponse } from "@custody/contract/oauth.ts";
import type { SessionView } from "@custody/contract/sessions.ts";
import { runCustody } from "../conformance/support/command-line.ts";
import {
  type Actor,
  actor,
  agentVariables,
  custodyJson,
  must,
  nextRequest,
  type Play,
  type Step,
  signIn,
} from "./play.ts";
import { HOST } from "./stage.ts";

const NO_HOST = "left out: this machine has no sshd";

export const onAHost: readonly Step[] = [
  { title: "On a host: a sub-agent of the deployment runs what it may, by ssh", run: allowed },
  { title: "Its rm -rf, hidden three ways, never reaches the host", run: hidden },
  { title: "Its restart waits for an operator, then runs once", run: heldRestart },
  { title: "The host's session is replayed", run: replayed },
];

async function allowed(play: Play): Promise<string> {
  if (play.stage.host === undefined) return NO_HOST;
  const engineer = actor(play, "engineer");
  const job = await delegate(play, engineer, "deploy-job", ["--ttl", "1h"]);
  const agent = await delegate(play, job, "host-agent", ["--ttl", "10m"]);
  const { config } = await custodyJson<{ config: string }>(play, agent, ["ssh-config"]);
  play.files.set("ssh-config", config);
  const ran = await ssh(play, "systemctl status nginx");
  must(ran.code === 0 && /nginx/.test(ran.output), `ssh ended with ${ran.code}: ${ran.output}`);
  const log = play.stage.host.log();
  const [, id] = /Accepted certificate ID "([^"]+)"/.exec(log) ?? [];
  must(id?.includes("deploy-job > host-agent") === true, "the host was not told of the chain");
  play.screen.answer(`sshd logged: certificate ID "${id}"`);
  play.screen.why("A certificate made for this session, its key id the chain; the agent has none.");
  return "it ran, and the host's own log names the chain";
}

async function hidden(play: Play): Promise<string> {
  if (play.stage.host === undefined) return NO_HOST;
  const data = join(play.stage.folder, "srv-data");
  mkdirSync(data);
  writeFileSync(join(data, "precious"), "data");
  const base64 = Buffer.from(`rm -rf ${data}`).toString("base64");
  for (const line of [
    `sh -c "rm -rf ${data}"`,
    `$(echo r)m -rf ${data}`,
    `echo ${base64} | base64 -d | sh`,
  ]) {
    const ran = await ssh(play, line);
    must(ran.code === 126, `it ended with ${ran.code}`);
  }
  must(existsSync(join(data, "precious")), "the data is gone");
  play.screen.why(
    "A line is read word by word; what is not literal, or runs what nobody reads, is not sent.",
  );
  return "three times 126, and the folder is still there";
}

async function heldRestart(play: Play): Promise<string> {
  if (play.stage.host === undefined) return NO_HOST;
  const pending = ssh(play, "systemctl restart nginx");
  const operator = await signIn(play, "operator");
  const request = await nextRequest(operator, "systemctl");
  play.screen.answer(`${request.id}: ${request.command}`);
  await custodyJson(play, operator, [
    "approve",
    request.id,
    "--reason",
    "nginx leaks, ticket 4712",
  ]);
  const ran = await pending;
  must(
    ran.code === 0 && /restarted nginx/.test(ran.output),
    `it ended with ${ran.code}: ${ran.output}`,
  );
  play.screen.why(
    "restarts-need-an-operator: its input waited with it, and it ran as it was approved.",
  );
  return "it ran after an operator approved it";
}

async function replayed(play: Play): Promise<string> {
  if (play.stage.host === undefined) return NO_HOST;
  const engineer = actor(play, "engineer");
  const { sessions } = await custodyJson<{ sessions: SessionView[] }>(play, engineer, ["sessions"]);
  const session = sessions.find(({ protocol }) => protocol === "ssh");
  must(session !== undefined, "there is no SSH session");
  const dba = actor(play, "dba1");
  play.screen.asked("dba1", `$ custody replay ${session.id}`);
  const ran = await runCustody(["replay", session.id], { home: dba.home });
  must(/systemctl restart nginx/.test(ran.stdout), `the replay does not show it: ${ran.stdout}`);
  for (const line of ran.stdout.trim().split("\n").slice(0, 14)) play.screen.answer(line);
  return "the command, who approved it, what it answered and its status";
}

async function delegate(
  play: Play,
  parent: Actor,
  name: string,
  more: readonly string[],
): Promise<Actor> {
  const issued = await custodyJson<TokenResponse>(play, parent, [
    ...["delegate", "--actor", name, "--target", HOST, "--account", "deploy"],
    ...["--actions", "ssh:data", "--resources", "*", "--handle", ...more],
  ]);
  const child: Actor = {
    ...{ name, home: play.stage.home(name) },
    ...{ handle: issued.access_token, delegationId: issued.delegation_id },
  };
  play.actors.set(name, child);
  return child;
}

/** As the sub-agent, with the ssh of this machine. */
async function ssh(play: Play, line: string): Promise<{ code: number; output: string }> {
  const agent = actor(play, "host-agent");
  const config = play.files.get("ssh-config");
  must(config !== undefined, "the step that wrote the ssh_config failed");
  play.screen.asked(agent.name, `$ ssh ${HOST} '${line}'`);
  const child = spawn("ssh", ["-F", config, HOST, line], {
    env: { PATH: process.env.PATH ?? "", HOME: agent.home, ...agentVariables(play.stage, agent) },
    stdio: ["ignore", "pipe", "pipe"],
  });
  let output = "";
  for (const stream of [child.stdout, child.stderr])
    stream.on("data", (chunk) => {
      output += chunk;
    });
  const [code] = await once(child, "close");
  play.seenByAgents.push({ name: `what ssh printed for ${line}`, bytes: Buffer.from(output) });
  for (const shown of output.trim().split("\n").slice(0, 2)) play.screen.answer(shown.trim());
  return { code: Number(code ?? 255), output };
}
