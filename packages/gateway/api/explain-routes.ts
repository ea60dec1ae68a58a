// What stands in the way: of a command that was refused, for its chain, whoever is above it, who may
// replay and who administers; and of one that is only asked about, for the caller's own chain, one below
// it, or any for who administers.

import type { ExplainBody, Explanation } from "@custody/contract/explanations.ts";
import { adviseOn } from "../access/advice.ts";
import { GatewayError } from "../base/errors.ts";
import { leafOf } from "../delegation/chain.ts";
import type { ApiDeps, AskedText } from "./deps.ts";
import type { Router } from "./routing.ts";

const MAX_EFFECTS = 64;

export function addExplainRoutes(router: Router, deps: ApiDeps): void {
  const { denials, dryRun } = deps.explaining;

  router.holder("denial", async ({ chain, parameters }) => {
    const found = denials.find(parameters.id ?? "");
    const me = leafOf(chain).delegationId;
    const mine = found?.chain.hops.some(({ delegationId }) => delegationId === me);
    const may = (target: string) =>
      mine || deps.authority.mayReplay(chain, target) || deps.authority.mayAdminister(chain);
    if (found === undefined || !may(found.target))
      throw new GatewayError("not_found", "no such command was refused lately, or not to you");
    const { requestId, sessionId, target, account, what, denial } = found;
    return {
      requestId,
      sessionId,
      at: new Date(found.atMs).toISOString(),
      target,
      account,
      state: denial === undefined ? ("held" as const) : ("denied" as const),
      what,
      ...refusalView(found),
    };
  });

  router.holder("explain", async ({ chain: caller, parameters, body, request }) => {
    const target = parameters.name ?? "";
    const { account, justification, delegation } = body;
    const { lifecycle, tree } = deps.delegations;
    const chain =
      delegation === undefined ? caller : tree.chain(lifecycle.visible(caller, delegation).id);
    const clientAddress = request.socket.remoteAddress ?? "unknown";
    const asked = { target, account, justification, clientAddress, text: textOf(body) };
    const { decision, operation, account: used } = await dryRun(chain, asked);
    const question = {
      chain,
      target,
      account: used,
      denial: decision.verdict === "deny" ? decision.denial : undefined,
      effects: operation?.effects ?? [],
      touches: operation?.touches ?? [],
      requirements: decision.verdict === "hold" ? decision.requirements : [],
    };
    const shown = decision.verdict === "permit" ? decision.permit.obligations.unmask : new Set();
    const masked = question.touches
      .filter((touch) => !shown.has(touch.class))
      .map((touch) => touch.class);
    // What would be looked for, found or not.
    if (decision.verdict === "permit") masked.push(...(decision.permit.obligations.mask ?? []));
    const effects = question.effects.map(
      ({ action, resource }) => `${action.replace(/^[^:]*:/, "")} on ${resource.label}`,
    );
    return {
      verdict: decision.verdict,
      what: question.denial?.what ?? operation?.summary ?? "",
      effects: [...new Set(effects)].slice(0, MAX_EFFECTS),
      masked: decision.verdict === "deny" ? [] : [...new Set(masked)],
      ...refusalView(question),
    };
  });
}

function textOf({ command, database, sql }: ExplainBody): AskedText {
  if (command !== undefined && sql === undefined && database === undefined) return { command };
  if (command === undefined && sql !== undefined && database !== undefined)
    return { sql, database };
  throw new GatewayError("invalid", "a statement with its database is needed, or a command");
}

function refusalView(
  refused: Parameters<typeof adviseOn>[0],
): Pick<Explanation, "message" | "policyId" | "hop" | "requirements" | "advice"> {
  const { denial, requirements } = refused;
  return {
    message: denial?.message ?? null,
    policyId: denial?.policyId ?? null,
    hop: denial?.hopLabel ?? null,
    requirements: requirements.map(({ policyId, message, quorum, approvers }) => ({
      policyId,
      message: message ?? null,
      quorum,
      approvers: [...approvers],
    })),
    advice: adviseOn(refused).map(({ text, command }) => ({ text, command: command ?? null })),
  };
}
