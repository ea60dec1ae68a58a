// Dry runs for the control API: the doorway that sessions come through, then the classifier and the
// engine they use. The chain is the caller's own or one that the caller is above or administers, so
// nothing is learnt here that a session would not be told.

import type { Decision, Operation } from "../access/operation.ts";
import type { AskedText } from "../api/deps.ts";
import { newId, type RandomBytes } from "../base/ids.ts";
import { createLiveGrammars, type Grammars, type GrammarText } from "../command/load-grammars.ts";
import type { Chain } from "../delegation/chain.ts";
import { createDryRun, type DryRunDeps } from "../proxy/postgres/dry-run.ts";
import { type Doorway, type Place, placeOf } from "../session/sessions.ts";

export interface DryRunsDeps extends DryRunDeps {
  readonly doorway: () => Doorway;
  readonly grammars: () => readonly GrammarText[];
  readonly random: RandomBytes;
}

export interface AskedAbout {
  readonly target: string;
  readonly account: string | undefined;
  readonly text: AskedText;
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
  // Read when somebody asks: most gateways are asked about one protocol.
  let grammars: Grammars | undefined;
  return async (chain, asked) => {
    const sessionId = newId("s", 12, deps.random);
    const { text } = asked;
    const doorway = deps.doorway();
    const subjectAt = ({ account, target }: Pick<Place, "account" | "target">) => ({
      ...{ sessionId, chain, target: target.name, account, targetTags: target.tags },
      ...{ clientAddress: asked.clientAddress, justification: asked.justification },
    });
    if ("command" in text) {
      const request = { ...asked, database: "", protocol: "ssh" } as const;
      const place = placeOf(doorway, chain, sessionId, request);
      const { askSshDryRun } = await import("../proxy/ssh/dry-run.ts");
      grammars ??= createLiveGrammars(deps.grammars);
      const { access } = deps;
      const ran = askSshDryRun({ access, grammars }, subjectAt(place), place.target, text.command);
      return { ...ran, account: place.account };
    }
    const { database, sql } = text;
    const request = { ...asked, database, protocol: "postgres" } as const;
    const place = placeOf(doorway, chain, sessionId, request);
    const ran = await ask(subjectAt(place), place.target, database, sql);
    return { ...ran, account: place.account };
  };
}
