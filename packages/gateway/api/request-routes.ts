// Requests for approval: seen by the chain that asked, by who may vote, and by administrators.

import type { ApprovalRequest } from "../approval/request.ts";
import { GatewayError } from "../base/errors.ts";
import { type Chain, leafOf } from "../delegation/chain.ts";
import type { ApiDeps } from "./deps.ts";
import type { CallOf, Router } from "./routing.ts";
import { requestView } from "./views.ts";

const MAX_LISTED = 500;

export function addRequestRoutes(router: Router, deps: ApiDeps): void {
  const { approvals } = deps;
  const view = (chain: Chain, request: ApprovalRequest) =>
    requestView(request, approvals.eligibility(chain, request));

  router.holder("requests", async ({ chain, query }) => ({
    requests: approvals
      .list(query.state, MAX_LISTED)
      .filter((request) => isVisible(deps, chain, request))
      .map((request) => view(chain, request)),
  }));
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

function isVisible(deps: ApiDeps, chain: Chain, request: ApprovalRequest): boolean {
  const me = leafOf(chain).delegationId;
  return (
    request.chain.hops.some(({ delegationId }) => delegationId === me) ||
    deps.approvals.eligibility(chain, request).ok ||
    deps.authority.mayAdminister(chain)
  );
}
