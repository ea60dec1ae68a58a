// What policies say of connecting, approving, administering and replaying, in the shapes that sessions,
// approvals and the control API ask in.

import type { ControlAccess } from "../access/control.ts";
import { operationToConnect } from "../access/decide.ts";
import type { Access } from "../access/operation.ts";
import type { Authority, ShellPlace } from "../api/deps.ts";
import type { Config } from "../config/config.ts";
import { type Chain, leafOf } from "../delegation/chain.ts";
import { accountOperation } from "../proxy/ssh/operations.ts";
import type { Place } from "../session/sessions.ts";

/** An operation without effects asks for the connection alone. */
export function mayConnect(
  access: Access,
  chain: Chain,
  place: Place,
): { allowed: boolean; message?: string } {
  const decision = access.authorize(
    {
      sessionId: place.sessionId,
      chain,
      target: place.target.name,
      account: place.account,
      targetTags: place.target.tags,
      clientAddress: place.clientAddress,
      justification: undefined,
    },
    operationToConnect(place.target.protocol, place.target.name),
  );
  if (decision.verdict === "permit") return { allowed: true };
  access.forget(place.sessionId);
  if (decision.verdict === "hold")
    return { allowed: false, message: "connecting cannot wait for approval" };
  const { what, message, policyId, hopLabel } = decision.denial;
  const policy = policyId === undefined ? "" : ` Policy ${policyId}.`;
  const hop = hopLabel === undefined ? "" : ` Hop: ${hopLabel}.`;
  return { allowed: false, message: `Custody denied ${what}: ${message}.${policy}${hop}` };
}

/** Who types into a shell there could have opened it. */
function maySitThere(
  access: Access,
  chain: Chain,
  { target, account, clientAddress }: ShellPlace,
  targetTags: Readonly<Record<string, string>>,
): boolean {
  const sessionId = `s-participant-${leafOf(chain).delegationId}`;
  const subject = { sessionId, chain, target, account, targetTags, clientAddress };
  const operations = [
    operationToConnect("ssh", target),
    accountOperation({ target, account }, "shell"),
  ];
  const verdicts = operations.map(
    (operation) => access.authorize({ ...subject, justification: undefined }, operation).verdict,
  );
  access.forget(sessionId);
  return verdicts.every((verdict) => verdict === "permit");
}

/** What a client is told of an answer: never more than the policy's id and message. */
export function answer(given: ReturnType<ControlAccess["mayDelegate"]>): {
  allowed: boolean;
  message?: string;
  policyId?: string;
} {
  const { allowed, denial } = given;
  if (denial === undefined) return { allowed };
  const { message, policyId } = denial;
  return { allowed, message, ...(policyId === undefined ? {} : { policyId }) };
}

/** The policy questions of the control API. */
export function authorityOf(
  control: ControlAccess,
  access: Access,
  config: () => Config,
): Authority {
  const mayReplayTarget = (chain: Chain, name: string) => {
    const target = config().targets.get(name);
    return control.mayReplay(chain, { name, tags: target?.tags ?? {} }).allowed;
  };
  return {
    mayAdminister: (chain: Chain) => control.mayAdminister(chain).allowed,
    mayReplay: (chain: Chain, target: string | undefined) =>
      target === undefined
        ? config().targets.size > 0 &&
          [...config().targets.keys()].every((name) => mayReplayTarget(chain, name))
        : mayReplayTarget(chain, target),
    mayUnmask(chain, { target: name, account, protocol }, address, className) {
      const target = { name, tags: config().targets.get(name)?.tags ?? {} };
      const session = { account, protocol, address, justification: undefined };
      return control.mayUnmask(chain, { target, session }, className).allowed;
    },
    mayTakePart(chain, shell, mode) {
      if (mode === "observer") return mayReplayTarget(chain, shell.target);
      const target = config().targets.get(shell.target);
      const facts = { name: shell.target, tags: target?.tags ?? {} };
      const action = mode === "peer" ? "join" : "moderate";
      if (!control.evaluateAction(chain, action, facts).allowed) return false;
      return mode === "moderator" || maySitThere(access, chain, shell, facts.tags);
    },
  };
}
