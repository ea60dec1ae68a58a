// Whether a forwarded connection would end at a target of the gateway's: by the target's own name, which
// is how a jump asks for it (`ssh -J gateway web-1`), by its host's name and port, by its address, or by the host's own loopback when that host is the target's. Names are looked up here, where
// the host may know others: forwarding is nobody's by default, and this closes what is easily closed.

import { lookup } from "node:dns/promises";
import { isIP } from "node:net";
import type { SshTarget, Target } from "../../target/target.ts";
import { canonicalHost } from "./destination.ts";

const LOCAL = /^(localhost|.*\.localhost|127\..*|::1|0\.0\.0\.0|0|::)$/;

/**
 * `from`: the target whose host the connection would leave from. Without `mayLookUp` a name is known only as a
 * target's own: what is looked up waits in one queue with what all others look up, and a name server may be slow.
 */
export async function isOwnTarget(
  targets: ReadonlyMap<string, Target>,
  from: SshTarget,
  host: string,
  port: number,
  mayLookUp = true,
): Promise<boolean> {
  const wanted = canonicalHost(host) ?? host.toLowerCase().replace(/\.$/, "");
  // Whatever port a jump believes it listens on.
  if (targets.has(wanted)) return true;
  if (!mayLookUp) return false;
  const samePort = [...targets.values()].flatMap(endpointsOf).filter((one) => one.port === port);
  if (samePort.length === 0) return false;
  // Resolvers take numbers in many forms for addresses, so what comes out of them counts.
  const addresses = await addressesOf(wanted);
  const isOfHost = LOCAL.test(wanted) || addresses.some((address) => LOCAL.test(address));
  const names = new Set(isOfHost ? [wanted, canonicalHost(from.host) ?? from.host] : [wanted]);
  const all = new Set(isOfHost ? [...addresses, ...(await addressesOf(from.host))] : addresses);
  for (const one of samePort) {
    if (names.has(canonicalHost(one.host) ?? one.host.toLowerCase())) return true;
    for (const address of await addressesOf(one.host)) if (all.has(address)) return true;
  }
  return false;
}

function endpointsOf(target: Target): { readonly host: string; readonly port: number }[] {
  return "host" in target && "port" in target ? [{ host: target.host, port: target.port }] : [];
}

async function addressesOf(host: string): Promise<readonly string[]> {
  if (isIP(host) !== 0) return [canonicalHost(host) ?? host];
  try {
    const found = await lookup(host, { all: true });
    return found.map(({ address }) => canonicalHost(address) ?? address);
  } catch {
    return [];
  }
}
