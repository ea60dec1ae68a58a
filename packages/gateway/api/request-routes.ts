// Requests for approval: seen by the chain that asked, by who may vote, and by administrators. A list is looked
// up a few a turn, shows the beginning of each command, and of one root so many, so that who asks for much
// hides nobody else's.

import { setImmediate as turn } from "node:timers/promises";
import type { ApprovalRequestView } from "@custody/contract/requests.ts";
import type { ApprovalRequest, RequestPlace, RequestState } from "../approval/request.ts";
import { GatewayError } from "../base/errors.ts";
import type { Lanes } from "../base/lanes.ts";
import { type Chain, leafOf, rootOf } from "../delegation/chain.ts";
import type { ApiDeps } from "./deps.ts";
import type { CallOf, Router } from "./routing.ts";
import { requestView } from "./views.ts";

const MAX_LISTED = 500;
const MAX_OF_ROOT = 100;
const MAX_LOOKED_AT = 5000;
const LOOKED_AT_A_TURN = 8;
const LISTED_LENGTH = 2048;
const LISTED_PARAMETERS = 16;

export function addRequestRoutes(router: Router, deps: ApiDeps, lanes: Lanes): void {
  const { approvals } = deps;
  const view = (chain: Chain, request: ApprovalRequest) =>
    requestView(request, approvals.eligibility(chain, request));

  router.holder("requests", async ({ chain, query }) => {
    using _turn = await lanes.enter(rootOf(chain).subject);
    const { requests, left } = await visibleRequests(deps, chain, query.state);
    return { requests, ...(left === 0 ? {} : { left }) };
  });
  router.holder("request", async ({ chain, parameters }) => {
    const request = approvals.find(parameters.id ?? "");
    if (request === undefined || !isVisible(deps, chain, request))
      throw new GatewayError("not_found", "there is no such request, or not for you");
    return view(chain, request);
  });
  const cast =
    (vote: "approve" | "deny") =>
    async ({ chain, parameters, body }: CallOf<"approveRequest" | "denyRequest">) =>
      view(
        chain,
        approvals.vote(chain, parameters.id ?? "", vote, {
          ...body,
          key: deps.delegations.tree.find(leafOf(chain).delegationId)?.key?.jkt,
        }),
      );
  router.holder("approveRequest", cast("approve"));
  router.holder("denyRequest", cast("deny"));
}

async function visibleRequests(
  deps: ApiDeps,
  chain: Chain,
  state: RequestState | undefined,
): Promise<{ readonly requests: ApprovalRequestView[]; readonly left: number }> {
  const requests: ApprovalRequestView[] = [];
  const ofRoots = new Map<string, number>();
  let left = 0;
  let after: RequestPlace | undefined;
  for (let looked = 0; looked < MAX_LOOKED_AT; looked += LOOKED_AT_A_TURN) {
    const some = deps.approvals.list(state, LOOKED_AT_A_TURN, after);
    for (const request of some) {
      if (!isVisible(deps, chain, request)) continue;
      const root = rootOf(request.chain).subject;
      const ofRoot = (ofRoots.get(root) ?? 0) + 1;
      ofRoots.set(root, ofRoot);
      if (ofRoot > MAX_OF_ROOT || requests.length >= MAX_LISTED) left += 1;
      else {
        const may = deps.approvals.eligibility(chain, request);
        requests.push(requestView(beginningOf(request), may));
      }
    }
    after = some.at(-1);
    if (some.length < LOOKED_AT_A_TURN) break;
    await turn();
  }
  return { requests, left };
}

/** One by one they are shown whole. */
function beginningOf(request: ApprovalRequest): ApprovalRequest {
  const { command, commandTruncated, parameters, preview = [] } = request;
  const isShort = command.length <= LISTED_LENGTH;
  return {
    ...request,
    command: isShort ? command : command.slice(0, LISTED_LENGTH),
    commandTruncated: commandTruncated || !isShort || parameters.length > LISTED_PARAMETERS,
    parameters: parameters.slice(0, LISTED_PARAMETERS),
    preview: preview.map(({ title, text }) => ({ title, text: text.slice(0, LISTED_LENGTH) })),
  };
}

function isVisible(deps: ApiDeps, chain: Chain, request: ApprovalRequest): boolean {
  const me = leafOf(chain).delegationId;
  return (
    request.chain.hops.some(({ delegationId }) => delegationId === me) ||
    deps.approvals.eligibility(chain, request).ok ||
    deps.authority.mayAdminister(chain)
  );
}
