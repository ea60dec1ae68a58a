// Dry runs for the control API: the doorway that sessions come through, then the classifier and the
// engine they use. The chain is the caller's own or one that the caller is above or administers, so
// nothing is learnt here that a session would not be told.

import type { Decision, Operation } from "../access/operation.ts";
import { newId, type RandomBytes } from "../base/ids.ts";
import type { Chain } from "../delegation/chain.ts";
import { createDryRun, type DryRunDeps } from "../proxy/postgres/dry-run.ts";
import { type Doorway, placeOf } from "../session/sessions.ts";

export interface DryRunsDeps extends DryRunDeps {
  readonly doorway: () => Doorway;
  readonly random: RandomBytes;
}

export interface AskedAbout {
  readonly target: string;
  readonly account: string | undefined;
  readonly database: string;
  readonly sql: string;
  readonly justification: string | undefined;
  readonly clientAddress: string;
}

export type DryRuns = (
  chain: Chain,
  asked: AskedAbout,
) => Promise<{
  readonly decision: Decision;
  readonly operation: Operation | undefined;
  readonly account: string;
}>;

/** Throws GatewayError as opening a session there does. */
export function createDryRuns(deps: DryRunsDeps): DryRuns {
  const ask = createDryRun(deps);
  return async (chain, asked) => {
    const sessionId = newId("s", 12, deps.random);
    const { target, account } = placeOf(deps.doorway(), chain, sessionId, {
      protocol: "postgres",
      ...asked,
    });
    const subject = {
      sessionId,
      chain,
      target: target.name,
      account,
      targetTags: target.tags,
      clientAddress: asked.clientAddress,
      justification: asked.justification,
    };
    return { ...(await ask(subject, target, asked.database, asked.sql)), account };
  };
}
