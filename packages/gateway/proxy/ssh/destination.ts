// Where a forwarded connection goes, in one spelling: what is decided, written down, and asked of the
// host. One place has many names for resolvers (`127.1`, `0x7f000001`, `::ffff:7f00:1`, `db.`), and ports
// beyond 65535 wrap in some; a policy that names one would miss the others, so those are refused or
// rewritten. Two different names of one machine stay two: only the host's resolver knows.

import { isIP } from "node:net";
import { lexicalPath } from "./sftp-paths.ts";

const MAX_HOST_LENGTH = 253;
const MAX_PATH_LENGTH = 1024;
const MAX_PORT = 65_535;

/** Lower case, without a last dot; addresses in their usual form. undefined: no such name or address. */
export function canonicalHost(text: string): string | undefined {
  const version = isIP(text);
  if (version === 4) return text;
  if (version === 6) return canonicalAddress(text);
  const name = text.toLowerCase().replace(/\.$/, "");
  if (name.length > MAX_HOST_LENGTH || !/^[a-z0-9_-]+(\.[a-z0-9_-]+)*$/.test(name))
    return undefined;
  // What ends in a number is an address to every resolver, and this is not how one is written.
  if (/(^|\.)(\d+|0x[0-9a-f]*)$/.test(name)) return undefined;
  return name;
}

/** Of a Unix socket: absolute, without `.`, `..` and doubled slashes. */
export function isPlainSocketPath(path: string): boolean {
  const isShown = !/[\p{Cc}\p{Cf}\p{Zl}\p{Zp}]/u.test(path);
  return (
    isShown && path.length <= MAX_PATH_LENGTH && path !== "/" && lexicalPath("/", path) === path
  );
}

export function isPort(port: number): boolean {
  return port >= 1 && port <= MAX_PORT;
}

function canonicalAddress(address: string): string | undefined {
  // An interface of the host's (`%eth0`) is nothing that can be decided here.
  if (address.includes("%")) return undefined;
  const short = new URL(`http://[${address}]`).hostname.slice(1, -1);
  const mapped = /^::ffff:([0-9a-f]{1,4}):([0-9a-f]{1,4})$/.exec(short);
  if (mapped === null) return short;
  const [high = 0, low = 0] = mapped.slice(1).map((part) => Number.parseInt(part, 16));
  return [high >> 8, high & 0xff, low >> 8, low & 0xff].join(".");
}
