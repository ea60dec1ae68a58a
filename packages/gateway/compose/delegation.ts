// Delegations: the tree, its tokens, and what makes one of another.

import { join } from "node:path";
import type { ControlAccess } from "../access/control.ts";
import type { Journal } from "../audit/journal.ts";
import type { Clock } from "../base/clock.ts";
import { systemRandom } from "../base/ids.ts";
import type { Config } from "../config/config.ts";
import { type Authenticate, createAuthenticate } from "../delegation/authenticate.ts";
import type { Chain } from "../delegation/chain.ts";
import { createExchange, type Exchange } from "../delegation/exchange.ts";
import { openSigningKey } from "../delegation/signing-key.ts";
import { createTokens, type Tokens } from "../delegation/tokens.ts";
import { createTree, type Tree } from "../delegation/tree.ts";
import type { SignIns } from "../identity/sign-ins.ts";
import type { Store } from "../store/store.ts";
import { answer } from "./authority.ts";

export interface DelegationParts {
  readonly tree: Tree;
  readonly tokens: Tokens;
  readonly authenticate: Authenticate;
  readonly exchange: Exchange;
}

export interface DelegationDeps {
  readonly config: Config;
  readonly clock: Clock;
  readonly store: Store;
  readonly journal: Journal;
  readonly signIns: SignIns;
  readonly control: ControlAccess;
  /** The gateway's URL: the issuer of its tokens. */
  readonly issuer: string;
}

export async function composeDelegation(deps: DelegationDeps): Promise<DelegationParts> {
  const { clock, config, control, issuer, journal, store } = deps;
  const { dataDirectory, limits } = config;
  const tree = createTree({ store: store.delegations, clock, random: systemRandom, limits });
  const key = await openSigningKey(join(dataDirectory, "keys", "token.key"), clock);
  const tokens = createTokens({ key, issuer, clock, random: systemRandom });
  const mayDelegate = (chain: Chain) => answer(control.mayDelegate(chain));
  const authenticate = createAuthenticate({ tree, tokens, journal, clock, mayDelegate });
  const exchange = createExchange({
    tree,
    tokens,
    identity: deps.signIns,
    authenticate,
    journal,
    mayDelegate,
    nowMs: () => clock.nowMs(),
  });
  return { tree, tokens, authenticate, exchange };
}
