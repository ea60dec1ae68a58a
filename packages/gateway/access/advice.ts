// What would help against a refusal: which hop, grant or policy stands in the way, and whom to ask for
// what. It says no more about policies than the refusal itself did, and of grants only what one's own
// chain carries.

import { actionNamed } from "../delegation/actions.ts";
import type { Chain, Hop } from "../delegation/chain.ts";
import { covers } from "../delegation/grant.ts";
import type { ClassTouch, Denial, Effect, Requirement } from "./operation.ts";

export interface Advice {
  readonly text: string;
  /** What somebody could type; who, is in the text. */
  readonly command: string | undefined;
}

export interface AdviceQuestion {
  readonly chain: Chain;
  readonly target: string;
  readonly account: string;
  /** undefined: it waits, or would wait, for people. */
  readonly denial: Denial | undefined;
  readonly effects: readonly Effect[];
  readonly touches: readonly ClassTouch[];
  readonly requirements: readonly Requirement[];
}

const MAX_NAMED = 16;

export function adviseOn(question: AdviceQuestion): readonly Advice[] {
  const { denial, requirements } = question;
  if (denial === undefined || requirements.length > 0) return requirements.flatMap(ofRequirement);
  switch (denial.kind) {
    case "not_granted":
      return ofGrant(question);
    case "forbidden":
      return [
        advice(
          `${denial.policyId === undefined ? "A rule" : `Policy ${denial.policyId}`} forbids it${at(denial)}. No grant changes that: do it another way, or ask whoever keeps the gateway's policies.`,
        ),
      ];
    case "not_permitted":
      return [
        advice(
          `No policy permits it${at(denial)}. Whoever keeps the gateway's policies can, for that hop; a wider grant does not help.`,
        ),
      ];
    case "classified":
      return ofClasses(question);
    case "unknown":
      return [
        advice("It was not understood, and what is not understood is denied. Write it otherwise."),
      ];
    case "fault":
      return [advice("The gateway failed, not the command. Tell whoever runs it the request id.")];
  }
}

/** The first hop whose grant is too narrow is to be helped by the one before it. */
function ofGrant({ chain, target, account, denial, effects }: AdviceQuestion): Advice[] {
  const depth = denial?.hop;
  const hop = depth === undefined ? undefined : chain.hops[depth];
  if (hop?.grant === undefined || depth === undefined || depth === 0) return [];
  const { grant } = hop;
  const lacking = effects.filter(
    ({ action, resource }) =>
      actionNamed(action) !== undefined &&
      !covers(grant, { target, account, action, resource: resource.path }),
  );
  const actions = unique(lacking.map(({ action }) => action));
  const resources = unique(
    lacking.map(({ resource }) => resource.path).filter((one) => one !== ""),
  );
  const parent = nameOf(chain.hops[depth - 1]);
  const what = lacking.length === 0 ? "it" : `${actions.join(", ")} on ${resources.join(", ")}`;
  const text = `The grant of ${nameOf(hop)} does not carry ${what}. ${parent} can delegate anew, as far as its own grant goes.`;
  if (lacking.length === 0) return [advice(text)];
  const command = [
    `custody delegate --actor ${quoted(hop.name)} --target ${target} --account ${account}`,
    `--actions ${actions.join(" ")} --resources ${resources.map(quoted).join(" ")}`,
  ].join(" ");
  return [advice(text, command)];
}

function ofClasses({ denial, touches }: AdviceQuestion): Advice[] {
  const used = touches.filter(({ use }) => use !== "output");
  if (touches.length === 0)
    return [
      advice(
        "Policies let it through with masks only, and what this answers cannot be masked: have a command write text, or read the file by sftp.",
      ),
    ];
  const classes = unique(used.map((touch) => touch.class));
  const columns = unique(used.map(({ column }) => column));
  return [
    advice(
      `Select ${columns.join(", ") || "the column"} as it is, and it comes masked: in a condition, an expression or an ordering it would tell.`,
    ),
    ...(classes.length === 0
      ? []
      : [
          advice(
            `To use it, every hop has to be permitted by policy to unmask ${classes.join(", ")}, and every grant below the requestor has to name it${denial === undefined ? "" : at(denial)}.`,
            `custody delegate … --unmask ${classes.join(" ")}`,
          ),
        ]),
  ];
}

function ofRequirement(requirement: Requirement): Advice[] {
  const { policyId, quorum, approvers, justificationRequired } = requirement;
  const who = approvers.length === 0 ? "somebody who may approve" : approvers.join(" or ");
  const many = quorum === 1 ? "" : `${quorum} of `;
  const asked = advice(
    `Policy ${policyId} wants the approval of ${many}${who}, who is not behind this chain. Once approved, the same statement runs when it is sent again.`,
    "custody requests",
  );
  if (!justificationRequired) return [asked];
  return [asked, advice("It wants a reason.", "set custody.justification = '…'")];
}

function at(denial: Denial): string {
  return denial.hopLabel === undefined ? "" : ` (${denial.hopLabel})`;
}

function nameOf(hop: Hop | undefined): string {
  if (hop === undefined) return "the requestor";
  return hop.kind === "agent" ? `${hop.name} (${hop.delegationId})` : hop.id;
}

function unique(values: readonly string[]): readonly string[] {
  return [...new Set(values)].slice(0, MAX_NAMED);
}

/** For a shell: names come from agents. */
function quoted(text: string): string {
  return /^[\w./:-]+$/.test(text) ? text : `'${text.replaceAll("'", "'\\''")}'`;
}

function advice(text: string, command?: string): Advice {
  return { text, command };
}
