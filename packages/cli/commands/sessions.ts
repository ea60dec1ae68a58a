// Sessions: which there are, what was said in them, what happens now.

import {
  type EventLine,
  JOIN_MODES,
  type JoinMode,
  type SessionListQuery,
  type SessionView,
} from "@custody/contract/sessions.ts";
import { type Command, Option } from "commander";

import { CliError } from "../faults.ts";
import { type Invocation, invocationOf } from "../invocation.ts";
import { facts, type Io, jsonLine, oneLine, relative, table } from "../output.ts";
import { type ReplayOptions, replayLines } from "../replay.ts";
import { sealedLines, sealLines } from "../sealed-replay.ts";
import { joinShell } from "../shared-shell.ts";
import { chainLine, showChain } from "./delegation.ts";

const JOIN_HELP = `
Ctrl-C leaves, Ctrl-] as a peer. A moderator's t ends the session. It takes the right to replay the target's
sessions (observer), Custody::Action::"join" and a right to a shell there (peer), or
Custody::Action::"moderate"; who came and went is in the log.`;

interface FileOptions {
  readonly seal?: readonly string[];
  readonly out?: string;
  readonly identity?: string;
}

type SessionFilter = SessionListQuery;
type Leaf = Extract<EventLine, { event: string }>;

export function addSessionCommands(program: Command, io: Io): void {
  program.commandsGroup("Watching:");
  program
    .command("sessions")
    .description("sessions of one's delegations, newest first, or one of them")
    .argument("[session]", "s-…")
    .addOption(new Option("--state <state>", "only these").choices(["live", "closed"]))
    .option("--root <who>", "with this head of the chain: id, name or delegation")
    .option("--agent <who>", "with this agent anywhere in the chain")
    .option("--target <target>", "on this target")
    .option("--class <class>", "in which a value of this class was masked, or shown: pii.email")
    .addOption(
      new Option("--decision <decision>", "in which one of the commands was").choices([
        "permit",
        "deny",
        "hold",
      ]),
    )
    .option("--text <text>", "in which this was said; opens what you may replay, on record")
    .action(async (id: string | undefined, options: SessionFilter, command: Command) => {
      const invocation = invocationOf(command, io);
      if (id !== undefined) await show(invocation, id);
      else await list(invocation, options);
    });
  program
    .command("end")
    .description("end a live session and cancel what it runs")
    .argument("<session>", "s-…")
    .option("--reason <text>", "kept in the log, and shown to the client")
    .action(async (id: string, options: { reason?: string }, command: Command) =>
      end(invocationOf(command, io), id, options.reason),
    );
  program
    .command("replay")
    .description("what was said in a session: commands and answers, as the client got them")
    .argument("<session>", "s-…; or, with --identity, a sealed file, which needs no gateway")
    .option("--seal <recipient...>", "seal it for these recipients of age (age1…), into --out")
    .option("--out <file>", "where to; must not be there")
    .option("--identity <file>", "age's, which opens the sealed file")
    .option("--rows <count>", "rows shown of each answer", "20")
    .option("--timing", "with the time it took")
    .option("--speed <factor>", "so many times as fast: 2, 0.5")
    .option("--max-pause <seconds>", "no pause is longer", "3")
    .option("--from <where>", "begin at a command (r-…) or a second of the session")
    .option("--search <text>", "only commands with this in them or in what they gave")
    .option("--terminal", "what a terminal showed, as a terminal; with --timing as it was")
    .addOption(
      new Option("--asciicast <version>", "the terminal, for asciinema and its like").choices([
        "2",
        "3",
      ]),
    )
    .addHelpText("after", "\nReading a recording is itself an event of the log.")
    .action(async (id: string, options: ReplayOptions & FileOptions, command: Command) =>
      replay(invocationOf(command, io), id, options),
    );
  program
    .command("tail")
    .description("events of the log as they come: who did what, and what was decided")
    .argument("[session]", "s-…: its live shell instead, as join --mode observer shows it")
    .action(async (id: string | undefined, _options: unknown, command: Command) => {
      const invocation = invocationOf(command, io);
      if (id === undefined) await tail(invocation);
      else await join(invocation, id, "observer");
    });
  program
    .command("join")
    .description("watch somebody's live shell, or take part in it; they are told")
    .argument("<session>", "s-…")
    .addOption(
      new Option("--mode <mode>", "observer: sees it; peer: types too; moderator: may end it")
        .choices(JOIN_MODES)
        .default("observer"),
    )
    .addHelpText("after", JOIN_HELP)
    .action(async (id: string, options: { mode: JoinMode }, command: Command) =>
      join(invocationOf(command, io), id, options.mode),
    );
}

async function list(invocation: Invocation, filter: SessionFilter): Promise<void> {
  const { io, palette } = invocation;
  const { state, root, agent, target, class: masked, decision, text } = filter;
  const given = Object.entries({ state, root, agent, target, class: masked, decision, text });
  const query = Object.fromEntries(given.filter(([, value]) => value !== undefined));
  const answer = await invocation.withClient((client) => client.call("sessions", { query }));
  invocation.print(answer, () =>
    answer.sessions.length === 0
      ? "no sessions\n"
      : table<SessionView>(
          io,
          [
            { title: "SESSION", value: (row) => row.id },
            {
              title: "STATE",
              value: (row) => row.state,
              paint: (row) => (row.state === "live" ? palette.green : palette.dim),
            },
            {
              title: "TARGET",
              value: (row) => `${row.account}~${row.target}/${row.database}`,
              flexible: true,
            },
            { title: "CHAIN", value: (row) => chainLine(row.chain), flexible: true },
            { title: "FROM", value: (row) => row.clientAddress, flexible: true },
            { title: "OPENED", value: (row) => relative(row.openedAt, io.nowMs()) },
          ],
          answer.sessions,
        ),
  );
}

async function show(invocation: Invocation, id: string): Promise<void> {
  const one = await invocation.withClient((client) => client.call("session", { params: { id } }));
  invocation.print(one, () => showSession(invocation, one));
}

function showSession(invocation: Invocation, one: SessionView): string {
  const { io, palette } = invocation;
  const now = io.nowMs();
  const about = facts(io, [
    ["session", `${one.id}, ${one.state}`],
    ["target", `${one.account}~${one.target}/${one.database}`],
    ["from", one.clientAddress],
    ["opened", relative(one.openedAt, now)],
    ["closed", one.closedAt === null ? undefined : relative(one.closedAt, now)],
    ["because", one.closeReason ?? undefined],
    ["expires", one.state === "live" ? relative(one.expiresAt, now) : undefined],
  ]);
  return `${about}\n${showChain(palette, now, one.chain)}`;
}

async function end(invocation: Invocation, id: string, reason: string | undefined): Promise<void> {
  const answer = await invocation.withClient((client) =>
    client.call("endSession", { params: { id }, body: reason === undefined ? {} : { reason } }),
  );
  invocation.print(answer, () =>
    answer.ended ? `${id} has ended\n` : `${id} had ended before; nothing was changed\n`,
  );
}

async function replay(
  invocation: Invocation,
  id: string,
  options: ReplayOptions & FileOptions,
): Promise<void> {
  const { io } = invocation;
  const { identity, seal, out } = options;
  if ((seal === undefined) !== (out === undefined))
    throw new CliError("usage", "--seal and --out go together");
  if (identity !== undefined) {
    const lines = sealedLines(id, identity, options.from, isOfTerminal(options));
    if (!invocation.json) return replayLines(io, lines, options);
    for await (const line of lines) io.stdout(jsonLine(line));
    return;
  }
  if (seal !== undefined && out !== undefined) {
    await invocation.withClient((client) =>
      sealLines(client.lines("recording", { params: { id }, query: {} }), seal, out),
    );
    return invocation.print({ file: out }, () => `${out} is sealed\n`);
  }
  await invocation.withClient(async (client) => {
    // The gateway begins in the middle by itself; a command is looked for in what comes.
    const seconds = Number(options.from ?? "");
    const screen = isOfTerminal(options) ? { screen: "1" as const } : {};
    const query = seconds > 0 ? { from: Math.floor(seconds * 1000), ...screen } : {};
    const lines = client.lines("recording", { params: { id }, query });
    if (!invocation.json) return replayLines(io, lines, options);
    for await (const line of lines) io.stdout(jsonLine(line));
  });
}

/** Then the screen as it was comes first. */
function isOfTerminal({ asciicast, terminal }: ReplayOptions): boolean {
  return terminal === true || asciicast !== undefined;
}

async function tail(invocation: Invocation): Promise<void> {
  const { io } = invocation;
  await invocation.withClient(async (client) => {
    for await (const line of client.lines("events")) {
      if ("alive" in line && line.alive === true) continue;
      if (invocation.json) io.stdout(jsonLine(line));
      else io.stdout(tailLine(invocation, line));
    }
  });
}

async function join(invocation: Invocation, id: string, mode: JoinMode): Promise<void> {
  const { io, json } = invocation;
  await invocation.withClient(async (client) => {
    const why = await joinShell(io, client, { session: id, mode, json });
    if (!json) io.stderr(`\r\n${oneLine(why)}\n`);
  });
}

function tailLine(invocation: Invocation, line: EventLine): string {
  const { palette } = invocation;
  if ("gap" in line && typeof line.gap === "number")
    return palette.yellow(`… ${line.gap} events left out: this reader is too slow\n`);
  if (!("event" in line)) return "";
  const leaf: Leaf = line;
  const time = new Date(leaf.at).toISOString().slice(11, 23);
  const parts = [
    leaf.event,
    text(leaf.decision),
    text(leaf.session),
    text(leaf.request),
    text(leaf.target) && `on ${text(leaf.target)}`,
    listed(leaf.effects),
    listed(leaf.policies) && `by ${listed(leaf.policies)}`,
    text(leaf.outcome),
  ].filter((part) => part !== "");
  const paint = /denied|refused|revoked|indeterminate/.test(leaf.event)
    ? palette.red
    : palette.bold;
  const [event = "", ...rest] = parts.map((part) => oneLine(part));
  return `${palette.dim(time)}  ${paint(event)}  ${rest.join("  ")}\n`;
}

function text(value: unknown): string {
  return typeof value === "string" ? value : "";
}

function listed(value: unknown): string {
  return Array.isArray(value) ? value.join(", ") : "";
}
