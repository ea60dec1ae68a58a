// Evidence to take away, and erasing. Of a session or command: for who may replay on its target; of a root or a time,
// which may span targets: for who may replay on all of them.

import { type EvidenceScope, sessionOfRequest } from "@custody/evidence/core/bundle.ts";
import type { EvidencePart, WantedEvidence } from "../audit/evidence-export.ts";
import { GatewayError } from "../base/errors.ts";
import type { Lanes } from "../base/lanes.ts";
import { type Chain, rootOf } from "../delegation/chain.ts";
import { leafChain } from "../delegation/leaf-chain.ts";
import type { ApiDeps } from "./deps.ts";
import { linesOf, sendLines } from "./ndjson.ts";
import type { Router } from "./routing.ts";

type AskedScope =
  | Exclude<EvidenceScope, { between: unknown }>
  | { readonly between: readonly [string, string] };

export function addEvidenceRoutes(router: Router, deps: ApiDeps, lanes: Lanes): void {
  router.stream("evidence", async ({ chain, body, request, reply }) => {
    const wanted = wantedBy(deps, chain, scopeOf(body), request.ip);
    const parts = oneAtATime(lanes, chain, deps.evidence.exportEvidence(wanted));
    return sendLines(reply, linesOf(parts, deps.outside.onFault));
  });
}

async function* oneAtATime(
  lanes: Lanes,
  chain: Chain,
  parts: AsyncIterable<EvidencePart>,
): AsyncGenerator<EvidencePart> {
  using _turn = await lanes.enter(rootOf(chain).subject);
  yield* parts;
}

export function addErasureRoutes(router: Router, deps: ApiDeps): void {
  const { erasures } = deps.evidence;
  router.holder("erase", async ({ chain, body }) => {
    if (!deps.authority.mayAdminister(chain))
      throw new GatewayError("forbidden", "erasing is for who administers the gateway");
    if ("subject" in body)
      return { sessions: await erasures.subject(body.subject, leafChain(chain)) };
    if (deps.sessions.store.find(body.session) === undefined)
      throw new GatewayError("not_found", "there is no such session");
    await erasures.session(body.session, leafChain(chain));
    return { sessions: 1 };
  });
}

function scopeOf(asked: AskedScope): EvidenceScope {
  if (!("between" in asked)) return asked;
  const [from, until] = asked.between.map((time) => Date.parse(time)) as [number, number];
  if (from >= until) throw new GatewayError("invalid", "the time ends before it begins");
  return { between: [from, until] };
}

function wantedBy(
  deps: ApiDeps,
  chain: Chain,
  scope: EvidenceScope,
  clientAddress: string,
): WantedEvidence {
  const { authority, sessions } = deps;
  const mayDisclose: WantedEvidence["mayDisclose"] = ({ id, target, unmasked }) => {
    const row = sessions.store.find(id);
    return (
      authority.mayReplay(chain, target) &&
      (unmasked.length === 0 ||
        (row !== undefined &&
          unmasked.every((name) => authority.mayUnmask(chain, row, clientAddress, name))))
    );
  };
  const about = { chain: leafChain(chain) };
  const session = "session" in scope ? scope.session : sessionIn(scope);
  if (session === undefined) {
    if (!authority.mayReplay(chain, undefined))
      throw new GatewayError("forbidden", "this is for who may replay on every target", {
        hint: "ask for one session: --session",
      });
    return { scope, about, mayDisclose };
  }
  const row = sessions.store.find(session);
  if (row === undefined || !authority.mayReplay(chain, row.target))
    throw new GatewayError("not_found", "there is no such session, or not for you");
  return { scope, about: { ...about, target: row.target, session }, mayDisclose };
}

/** undefined: the scope is of more than one session. */
function sessionIn(scope: EvidenceScope): string | undefined {
  if (!("request" in scope)) return undefined;
  const session = sessionOfRequest(scope.request);
  if (session === undefined) throw new GatewayError("invalid", "that is no request id");
  return session;
}
