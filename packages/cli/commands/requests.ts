// Requests for approval: what waits, for whom, and people's answers.

import type { ApprovalRequestView } from "@custody/contract/requests.ts";
import { type Command, Option } from "commander";

import { digest, stateVote } from "../holder-key.ts";
import { holderKeyOf, type Invocation, invocationOf } from "../invocation.ts";
import { facts, harmless, type Io, relative, table } from "../output.ts";
import { chainLine } from "./delegation.ts";

const STATES = ["waiting", "approved", "spent", "denied", "expired", "revoked"] as const;

export function addRequestCommands(program: Command, io: Io): void {
  program.commandsGroup("Approving:");
  program
    .command("requests")
    .description("requests one asked for or may vote on, or one of them in full")
    .argument("[request]", "h-…")
    .addOption(new Option("--state <state>", "only these").choices(STATES))
    .action(
      async (
        id: string | undefined,
        options: { state?: (typeof STATES)[number] },
        command: Command,
      ) => {
        const invocation = invocationOf(command, io);
        if (id !== undefined) await show(invocation, id);
        else await list(invocation, options.state);
      },
    );
  program
    .command("approve")
    .description("approve one exact operation of one chain, once")
    .argument("<request>", "h-…, as custody requests lists it")
    .option("--reason <text>", "kept in the log")
    .addHelpText("after", "\nRead the command first: custody requests h-…")
    .action(async (id: string, options: { reason?: string }, command: Command) =>
      vote(invocationOf(command, io), "approveRequest", id, options.reason),
    );
  program
    .command("deny")
    .description("deny a request; its command will not run")
    .argument("<request>", "h-…")
    .option("--reason <text>", "kept in the log, and shown to who asked")
    .action(async (id: string, options: { reason?: string }, command: Command) =>
      vote(invocationOf(command, io), "denyRequest", id, options.reason),
    );
}

async function list(
  invocation: Invocation,
  state: (typeof STATES)[number] | undefined,
): Promise<void> {
  const { io, palette } = invocation;
  const answer = await invocation.withClient((client) =>
    client.call("requests", { query: state === undefined ? {} : { state } }),
  );
  const more = answer.left === undefined ? "" : `and ${answer.left} more, behind these\n`;
  invocation.print(answer, () =>
    answer.requests.length === 0
      ? "no requests\n"
      : table<ApprovalRequestView>(
          io,
          [
            { title: "REQUEST", value: (row) => row.id },
            { title: "STATE", value: (row) => row.state, paint: (row) => paintOf(invocation, row) },
            { title: "WHAT", value: (row) => row.what, flexible: true },
            { title: "TARGET", value: (row) => `${row.account}~${row.target}`, flexible: true },
            { title: "CHAIN", value: (row) => chainLine(row.chain), flexible: true },
            { title: "ASKED", value: (row) => relative(row.createdAt, io.nowMs()) },
            {
              title: "YOURS",
              value: (row) => (row.mayVote ? "yes" : ""),
              paint: () => palette.yellow,
            },
          ],
          answer.requests,
        ) + more,
  );
}

async function show(invocation: Invocation, id: string): Promise<void> {
  const one = await invocation.withClient((client) => client.call("request", { params: { id } }));
  invocation.print(one, () => showRequest(invocation, one));
}

async function vote(
  invocation: Invocation,
  endpoint: "approveRequest" | "denyRequest",
  id: string,
  reason: string | undefined,
): Promise<void> {
  const key = holderKeyOf(invocation.io);
  const one = await invocation.withClient(async (client) => {
    const about = reason === undefined ? {} : { reason };
    if (key === undefined) return client.call(endpoint, { params: { id }, body: about });
    // What is signed is what was shown: the command itself, and the request as the gateway binds it.
    const { binding, command } = await client.call("request", { params: { id } });
    const delegation = (await client.call("whoami")).chain.at(-1)?.delegationId ?? "";
    const vote = endpoint === "approveRequest" ? "approve" : "deny";
    const now = invocation.io.nowMs();
    const statement = stateVote(
      key,
      { hold: id, binding, command: digest(command), vote, delegation },
      now,
    );
    return client.call(endpoint, { params: { id }, body: { ...about, statement } });
  });
  invocation.print(one, () => showRequest(invocation, one));
}

function showRequest(invocation: Invocation, one: ApprovalRequestView): string {
  const { io, palette } = invocation;
  const now = io.nowMs();
  const head = facts(io, [
    ["request", `${one.id}, ${one.state}`],
    ["what", one.what],
    ["on", `${one.account}~${one.target}, session ${one.sessionId}`],
    ["chain", chainLine(one.chain)],
    ["justification", one.justification ?? undefined],
    ["asked", relative(one.createdAt, now)],
    ["good until", relative(one.expiresAt, now)],
    ["waits for", one.state === "waiting" ? one.forWhom : undefined],
    ...one.requirements.map(
      (requirement) =>
        [
          "policy",
          `${requirement.policyId}: ${requirement.approvals} of ${requirement.quorum}${requirement.message === null ? "" : ` (${requirement.message})`}`,
        ] as const,
    ),
    ...one.votes.map(
      (given) =>
        [
          given.vote === "approve" ? "approved by" : "denied by",
          `${given.person} (${given.by}) ${relative(given.at, now)}${given.reason === null ? "" : `: ${given.reason}`}`,
        ] as const,
    ),
    ["you", one.mayVote ? "may approve or deny it" : (one.whyNot ?? undefined)],
  ]);
  const command = harmless(one.command).replace(/^/gm, "  ");
  const cut = one.commandTruncated ? palette.yellow("  … longer than what is shown\n") : "";
  const parameters = one.parameters
    .map(
      (value, index) =>
        `  ${palette.dim(`$${index + 1} =`)} ${value === null ? "null" : indented(value)}\n`,
    )
    .join("");
  const preview = one.preview
    .map(
      ({ title, text }) =>
        `\n${palette.dim(harmless(title))}\n${harmless(text).replace(/^.*$/gm, (line) => `  ${painted(invocation, line)}`)}\n`,
    )
    .join("");
  return `${head}\n${command}\n${cut}${parameters}${preview}`;
}

/** What is in it looks like nothing that is said about it. */
function indented(text: string): string {
  return harmless(text).replaceAll("\n", "\n       ");
}

/** What goes in red, what comes in green. */
function painted({ palette }: Invocation, line: string): string {
  if (line.startsWith("- ")) return palette.red(line);
  return line.startsWith("+ ") ? palette.green(line) : line;
}

function paintOf(invocation: Invocation, row: ApprovalRequestView) {
  const { palette } = invocation;
  if (row.state === "waiting") return palette.yellow;
  if (row.state === "denied" || row.state === "revoked") return palette.red;
  return row.state === "expired" ? palette.dim : palette.green;
}
