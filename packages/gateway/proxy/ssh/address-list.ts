// The address lists of OpenSSH's `source-address` option: addresses and CIDR blocks, joined by commas.
// Anything in a list that is neither refuses the whole list.

import { BlockList, isIP } from "node:net";

const MAX_ENTRIES = 256;

/** Whether the address is in the list; false for a list or an address that cannot be read. */
export function matchesAddressList(list: string, address: string): boolean {
  const family = familyOf(address);
  if (family === undefined) return false;
  const blocks = new BlockList();
  const entries = list.split(",");
  if (entries.length > MAX_ENTRIES) return false;
  for (const entry of entries) {
    if (!addEntry(blocks, entry)) return false;
  }
  return blocks.check(address, family);
}

/** Whether every entry can be read. */
export function isAddressList(list: string): boolean {
  const blocks = new BlockList();
  return list.split(",").every((entry) => addEntry(blocks, entry));
}

function addEntry(blocks: BlockList, entry: string): boolean {
  const [address = "", prefix, ...rest] = entry.split("/");
  const family = familyOf(address);
  if (family === undefined || rest.length > 0) return false;
  if (prefix === undefined) {
    blocks.addAddress(address, family);
    return true;
  }
  const bits = /^\d{1,3}$/.test(prefix) ? Number(prefix) : Number.POSITIVE_INFINITY;
  if (bits > (family === "ipv4" ? 32 : 128)) return false;
  blocks.addSubnet(address, bits, family);
  return true;
}

function familyOf(address: string): "ipv4" | "ipv6" | undefined {
  const version = isIP(address);
  if (version === 0) return undefined;
  return version === 4 ? "ipv4" : "ipv6";
}
