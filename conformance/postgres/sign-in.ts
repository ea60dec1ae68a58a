// The same clients, signed in by a proof of the handle instead of the handle: SCRAM-SHA-256, bound to the TLS
// connection by those that can. Against PostgreSQL itself that is what they do anyway.

import type { Case, Client } from "./cases.ts";
import type { Peer } from "./peers.ts";

/** A client's first case, with the handle named in the user name: the door then asks for a proof. */
export function byProof(client: Client): Client {
  const proved = ({ name, run }: Case): Case => ({
    name: `${name}, by SCRAM`,
    run: (peer, peers) => run(peer.name === "gateway" ? named(peer) : peer, peers),
  });
  return { ...client, cases: client.cases.slice(0, 1).map(proved) };
}

/** `suite~cst_<id>`: the handle up to its second underscore. */
export function named(peer: Peer): Peer {
  const [prefix, id] = peer.password.split("_");
  return { ...peer, user: `${peer.user}~${prefix}_${id}` };
}
