// Which accounts belong to one human. An operator says so in the configuration; nothing is guessed
// from equal names or addresses at two providers, and who is not linked is nobody's account.

import { GatewayError } from "../base/errors.ts";

export interface People {
  /** The person behind an entity id or subject id; undefined: not linked. */
  personOf(account: { readonly id: string; readonly subject: string }): string | undefined;
}

/** Throws GatewayError "configuration" when an account is given to two persons. */
export function createPeople(links: ReadonlyMap<string, readonly string[]>): People {
  const byAccount = new Map<string, string>();
  for (const [person, accounts] of links)
    for (const account of accounts) {
      const other = byAccount.get(account);
      if (other !== undefined && other !== person)
        throw new GatewayError(
          "configuration",
          `people: ${account} is linked to ${other} and to ${person}; an account is of one person`,
        );
      byAccount.set(account, person);
    }
  return {
    personOf: ({ id, subject }) => byAccount.get(subject) ?? byAccount.get(id),
  };
}
