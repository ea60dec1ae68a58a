// What stands in the way: of a command that was denied, by its request id, or of one that is only asked
// about and not run: a statement for a database, a line for a host.

import type { TargetView } from "@custody/contract/delegations.ts";
import type { DenialView, Explanation } from "@custody/contract/explanations.ts";
import type { RecordingLine } from "@custody/contract/sessions.ts";
import type { Command } from "commander";

import { CliError } from "../faults.ts";
import { type Invocation, invocationOf } from "../invocation.ts";
import { facts, harmless, type Io, relative } from "../output.ts";
import { createTranscript } from "../transcript.ts";

interface ExplainOptions {
  readonly target?: string;
  readonly account?: string;
  readonly database?: string;
  readonly why?: string;
  readonly for?: string;
}

const REQUEST_ID = /^r-([0-9a-z]+)-\d+$/;

export function addExplainCommand(program: Command, io: Io): void {
  program
    .command("explain")
    .description(
      "what stands in the way of a command: which hop, grant or policy, and what to ask for",
    )
    .argument(
      "<what>",
      "r-…, the request id an error names; or a statement or command, with --target",
    )
    .option("--target <name>", "what would be decided on this target, without running it")
    .option("--account <name>", "as this account of it; default: its only one")
    .option("--database <name>", "in this database; default: its only one")
    .option("--why <text>", "with this as custody.justification")
    .option("--for <delegation>", "for this delegation below one's own, d-…, instead of oneself")
    .addHelpText(
      "after",
      `
A denied command can be explained by the chain it was denied to, by whoever is above it and by who
administers, for a while; one that ran by who may replay its session (which is itself an event of the log).

Examples:
  custody explain r-7f3kx0-12
  custody explain 'delete from orders' --target orders --database shop
  custody explain 'systemctl restart nginx' --target web-1
  custody explain 'delete from orders' --target orders --for d-7f3k…`,
    )
    .action(async (what: string, options: ExplainOptions, command: Command) => {
      const invocation = invocationOf(command, io);
      if (options.target !== undefined) await askFirst(invocation, what, options.target, options);
      else await explain(invocation, what);
    });
}

async function explain(invocation: Invocation, id: string): Promise<void> {
  const session = REQUEST_ID.exec(id)?.[1];
  if (session === undefined)
    throw new CliError("usage", `"${id}" is not the id of a command`, {
      hint: "it is in the DETAIL of the error: r-7f3kx0-12; a statement needs --target",
    });
  const denial = await recentDenial(invocation, id);
  if (denial === undefined) await recorded(invocation, id, `s-${session}`);
  else invocation.print(denial, () => showDenial(invocation, denial));
}

/** undefined: nothing of that id was denied lately, or not to us. */
async function recentDenial(invocation: Invocation, id: string): Promise<DenialView | undefined> {
  try {
    return await invocation.withClient((client) => client.call("denial", { params: { id } }));
  } catch (thrown) {
    if (thrown instanceof CliError && thrown.code === "not_found") return undefined;
    throw thrown;
  }
}

async function recorded(invocation: Invocation, id: string, session: string): Promise<void> {
  const { io } = invocation;
  const found = await invocation.withClient(async (client) => {
    const lines: RecordingLine[] = [];
    for await (const line of client.lines("recording", { params: { id: session } }))
      if (line.request === id) lines.push(line);
    return lines;
  });
  if (found.length === 0)
    throw new CliError("refused", `session ${session} has no command ${id}`, {
      code: "not_found",
    });
  const transcript = createTranscript(io, { rows: 20 });
  invocation.print({ request: id, session, events: found }, () =>
    found.map((line) => transcript.line(line)).join(""),
  );
}

async function askFirst(
  invocation: Invocation,
  text: string,
  target: string,
  options: ExplainOptions,
): Promise<void> {
  const answer = await invocation.withClient(async (client) => {
    const { account, database } = options;
    const asked =
      database === undefined
        ? textOf(await client.call("targets"), target, text)
        : { sql: text, database };
    const justification = options.why ?? invocation.io.environment.CUSTODY_JUSTIFICATION;
    return client.call("explain", {
      params: { name: target },
      body: {
        ...asked,
        ...(account !== undefined && { account }),
        ...(options.for !== undefined && { delegation: options.for }),
        ...(justification !== undefined && justification !== "" && { justification }),
      },
    });
  });
  invocation.print(answer, () => showExplanation(invocation, answer));
}

/** A target that is not listed is for the gateway to refuse, in its own words. */
function textOf(
  { targets }: { readonly targets: readonly Pick<TargetView, "name" | "databases" | "protocol">[] },
  name: string,
  text: string,
) {
  const target = targets.find((one) => one.name === name);
  if (target?.protocol === "ssh") return { command: text };
  if (target?.protocol === "kubernetes")
    throw new CliError("usage", "what is asked of a cluster cannot be explained beforehand", {
      hint: "kubectl … --dry-run=server is decided as the command itself",
    });
  const only = target?.databases?.length === 1 ? target.databases[0] : undefined;
  if (only !== undefined) return { sql: text, database: only };
  const among = target?.databases == null ? "" : `, one of ${target.databases.join(", ")}`;
  throw new CliError("usage", "which database?", { hint: `--database NAME${among}` });
}

function showDenial(invocation: Invocation, one: DenialView): string {
  const { io } = invocation;
  return `${facts(io, [
    ["request", `${one.requestId}, ${one.state} ${relative(one.at, io.nowMs())}`],
    ["what", one.what],
    ["on", `${one.account}~${one.target}, session ${one.sessionId}`],
    ...reasons(one),
  ])}${advice(invocation, one)}`;
}

const VERDICTS = {
  permit: "it would run",
  deny: "it would be denied",
  hold: "it would wait for approval",
} as const;

function showExplanation(invocation: Invocation, one: Explanation): string {
  const { io, palette } = invocation;
  const paint = { permit: palette.green, deny: palette.red, hold: palette.yellow }[one.verdict];
  const about = facts(io, [
    ["what", one.what],
    ...one.effects.map((effect) => ["effect", effect] as const),
    ["masked", one.masked.join(", ")],
    ...reasons(one),
  ]);
  return `${paint(VERDICTS[one.verdict])}\n${about}${advice(invocation, one)}`;
}

type Refused = Pick<Explanation, "message" | "policyId" | "hop" | "requirements" | "advice">;

function reasons(one: Refused): readonly (readonly [string, string | undefined])[] {
  return [
    ["because", one.message ?? undefined],
    ["policy", one.policyId ?? undefined],
    ["hop", one.hop ?? undefined],
    ...one.requirements.map(
      ({ policyId, message }) =>
        ["waits by", message === null ? policyId : `${policyId}: ${message}`] as const,
    ),
  ];
}

function advice({ palette }: Invocation, one: Refused): string {
  if (one.advice.length === 0) return "";
  const lines = one.advice.map(({ text, command }) => {
    const typed = command === null ? "" : `    ${palette.bold(harmless(command))}\n`;
    return `  ${harmless(text)}\n${typed}`;
  });
  return `\n${lines.join("")}`;
}
