// What a step of the story has in its hands: the stage, the screen, who takes part and what was found
// out so far.

import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { setTimeout as delay } from "node:timers/promises";
import type { ApprovalRequestView } from "@custody/contract/requests.ts";
import { type CommandResult, runCustody } from "../conformance/support/command-line.ts";
import type { AgentConnection } from "./agent-connection.ts";
import type { Place } from "./leaks.ts";
import type { Screen } from "./screen.ts";
import type { Stage } from "./stage.ts";

const REQUEST_WAIT_MS = 30_000;

/** One who acts: a person with a sign-in, or an agent with a handle. */
export interface Actor {
  readonly name: string;
  readonly home: string;
  /** An agent's handle; a person's token is in the context `custody login` keeps. */
  readonly handle: string | undefined;
  readonly delegationId: string;
}

export interface Play {
  readonly stage: Stage;
  readonly screen: Screen;
  readonly actors: Map<string, Actor>;
  readonly connections: Map<string, AgentConnection>;
  /** Sessions to replay later: whose → id. */
  readonly sessions: Map<string, string>;
  /** Files of former steps: what it is → its path. */
  readonly files: Map<string, string>;
  /** What must be nowhere: what it is → the secret itself. */
  readonly secrets: Map<string, string>;
  /** What came to agents by other ways than their kept connections: a psql's output, an error. */
  readonly seenByAgents: Place[];
}

export interface Step {
  readonly title: string;
  /** Returns what came out, in one sentence; throws StepFailure when it did not come out. */
  run(play: Play): Promise<string>;
}

/** The story went another way than it must. */
export class StepFailure extends Error {
  override readonly name = "StepFailure";
}

/** Fails the step unless `condition` holds. */
export function must(condition: boolean, otherwise: string): asserts condition {
  if (!condition) throw new StepFailure(otherwise);
}

/** The actor of a former step. */
export function actor(play: Play, name: string): Actor {
  const found = play.actors.get(name);
  must(found !== undefined, `the step that made ${name} failed`);
  return found;
}

/** The connection of a former step. */
export function connection(play: Play, name: string): AgentConnection {
  const found = play.connections.get(name);
  must(found !== undefined, `the step that connected ${name} failed`);
  return found;
}

/** Runs `custody …` as this actor, printed as it would be typed. */
export async function custody(
  play: Play,
  who: Actor,
  args: readonly string[],
): Promise<CommandResult> {
  play.screen.asked(who.name, `$ custody ${args.map(shown).join(" ")}`);
  const result = await runCustody([...args, "--json"], {
    home: who.home,
    env: agentVariables(play.stage, who),
  });
  if (who.handle !== undefined)
    play.seenByAgents.push({
      name: `what custody ${args[0]} printed to ${who.name}`,
      bytes: Buffer.from(result.stdout + result.stderr),
    });
  return result;
}

/** The same, when it must succeed: its JSON. */
export async function custodyJson<Shape>(
  play: Play,
  who: Actor,
  args: readonly string[],
): Promise<Shape> {
  const result = await custody(play, who, args);
  must(result.exitCode === 0, `custody ${args[0]} failed: ${said(result)}`);
  must(result.json !== undefined, `custody ${args[0]} printed no JSON: ${result.stdout}`);
  return result.json as Shape;
}

/** What a failed command said to its user. */
export function said(result: CommandResult): string {
  const { error } = (result.json ?? {}) as { error?: { message: string; hint?: string } };
  if (error === undefined) return result.stderr.trim() || result.stdout.trim();
  return error.hint === undefined ? error.message : `${error.message} (${error.hint})`;
}

/** The variables an agent's commands have on top of the usual ones. */
export function agentVariables(stage: Stage, who: Actor): Record<string, string> {
  if (who.handle === undefined) return {};
  return {
    CUSTODY_TOKEN: who.handle,
    CUSTODY_URL: stage.gateway.url,
    CUSTODY_CA: stage.gateway.caFile,
  };
}

/** Signs a person in: an ID token out of the provider's real flow, exchanged by `custody login`. */
export async function signIn(play: Play, name: string): Promise<Actor> {
  const { stage } = play;
  const home = stage.home(name);
  const file = join(home, "id-token");
  writeFileSync(file, await stage.provider.idToken(name), { mode: 0o600 });
  const person: Actor = { name, home, handle: undefined, delegationId: "" };
  const { url, fingerprint } = stage.gateway;
  const args = ["login", url, "--ca-fingerprint", fingerprint, "--token-file", file];
  const result = await custodyJson<{ delegationId: string }>(play, person, args);
  const signedIn = { ...person, delegationId: result.delegationId };
  play.actors.set(name, signedIn);
  return signedIn;
}

/** The request that waits for this person and names that. */
export async function nextRequest(person: Actor, named: string): Promise<ApprovalRequestView> {
  for (const deadline = Date.now() + REQUEST_WAIT_MS; Date.now() < deadline; ) {
    const ran = await runCustody(["requests", "--json"], { home: person.home });
    const { requests } = (ran.json ?? { requests: [] }) as { requests: ApprovalRequestView[] };
    const waiting = requests.find(
      ({ command, state }) => state === "waiting" && command.includes(named),
    );
    if (waiting !== undefined) return waiting;
    await delay(100);
  }
  must(false, `no request that names ${named} waits for ${person.name}`);
}

/** Long values are cut in print, never in what is run. */
function shown(argument: string): string {
  const text = argument.length > 48 ? `${argument.slice(0, 20)}…` : argument;
  return /[\s'"*$]/.test(text) ? `'${text}'` : text;
}
