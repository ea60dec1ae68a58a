// The tree around a delegation: the chain above it, itself, what was delegated below it, and the
// sessions that live there. What has ended is grey and keeps its place, since what hangs below it ended
// with it.

import type { DelegationView, Whoami } from "@custody/contract/delegations.ts";
import type { SessionView } from "@custody/contract/sessions.ts";
import type { HopView } from "@custody/contract/shapes.ts";

import { describeGrant } from "./grant-text.ts";
import { type Io, oneLine, paletteOf, relative } from "./output.ts";

export interface Tree {
  /** Root first; the last is `own`. */
  readonly chain: Whoami["chain"];
  readonly own: DelegationView;
  /** At or below `own`, parents first. */
  readonly delegations: readonly DelegationView[];
  readonly sessions: readonly SessionView[];
  readonly truncated: boolean;
}

/** One drawn item and what hangs below it. */
interface Branch {
  readonly lines: readonly string[];
  readonly below: readonly Branch[];
}

export function drawTree(io: Pick<Io, "colour" | "nowMs">, tree: Tree): string {
  const { dim } = paletteOf(io);
  const children = Map.groupBy(tree.delegations, (one) => one.parent);
  const live = Map.groupBy(tree.sessions, (one) => one.delegationId);
  const below = (one: DelegationView): Branch[] => [
    ...(live.get(one.id) ?? []).map((session) => ({
      lines: [sessionLine(io, session)],
      below: [],
    })),
    ...(children.get(one.id) ?? []).map((child) => branchOf(child, false)),
  ];
  const branchOf = (one: DelegationView, isOwn: boolean): Branch => ({
    lines: delegationLines(io, one, isOwn),
    below: below(one),
  });
  const above = tree.chain.slice(0, -1);
  const top = above.reduceRight<Branch>(
    (inner, hop) => ({ lines: [hopLine(io, hop), ...grantLines(hop.grant)], below: [inner] }),
    branchOf(tree.own, true),
  );
  const more = tree.truncated ? `${dim("there are more than the gateway lists")}\n` : "";
  return `${drawn(top).join("\n")}\n${more}`;
}

function drawn({ lines, below }: Branch): string[] {
  const [first = "", ...more] = lines;
  const under = below.length > 0 ? "│  " : "   ";
  return [
    first,
    ...more.map((line) => `${under}${line}`),
    ...below.flatMap((branch, index) => {
      const isLast = index === below.length - 1;
      const [head = "", ...rest] = drawn(branch);
      const [fork, side] = isLast ? ["└─ ", "   "] : ["├─ ", "│  "];
      return [`${fork}${head}`, ...rest.map((line) => `${side}${line}`)];
    }),
  ];
}

function hopLine(io: Pick<Io, "colour" | "nowMs">, hop: HopView): string {
  const { bold, dim } = paletteOf(io);
  const expires = relative(hop.expiresAt, io.nowMs());
  return `${bold(nameOf(hop.kind, hop.name, hop.id))}  ${dim(`${hop.delegationId}  ${hop.kind}, ${hop.provenance}, expires ${expires}`)}`;
}

function delegationLines(
  io: Pick<Io, "colour" | "nowMs">,
  one: DelegationView,
  isOwn: boolean,
): string[] {
  const { bold, dim, green } = paletteOf(io);
  const name = nameOf(one.kind, one.name, one.actor);
  const now = io.nowMs();
  if (one.status !== "active") {
    const when =
      one.revokedAt === null
        ? `expired ${relative(one.expiresAt, now)}`
        : `revoked ${relative(one.revokedAt, now)}${one.revokeReason === null ? "" : `: ${oneLine(one.revokeReason)}`}`;
    return [dim(`${name}  ${one.id}  ${one.kind}, ${one.provenance}, ${when}`)];
  }
  const known = `${one.kind}, ${one.provenance}, expires ${relative(one.expiresAt, now)}`;
  const you = isOwn ? `  ${green("you")}` : "";
  return [`${bold(name)}  ${dim(`${one.id}  ${known}`)}${you}`, ...grantLines(one.grant)];
}

function grantLines(grant: DelegationView["grant"]): string[] {
  const entries = grant === null ? [null] : grant.map((entry) => [entry]);
  return entries.map((entry) => `may: ${oneLine(describeGrant(entry))}`);
}

function sessionLine(io: Pick<Io, "colour" | "nowMs">, one: SessionView): string {
  const { green, dim } = paletteOf(io);
  const where = `${one.account}~${one.target}/${one.database}`;
  const since = `from ${one.clientAddress}, opened ${relative(one.openedAt, io.nowMs())}`;
  return `${green("●")} ${one.id}  ${oneLine(where)}  ${dim(oneLine(since))}`;
}

function nameOf(kind: string, name: string, id: string): string {
  return oneLine(kind === "agent" ? name : id);
}
