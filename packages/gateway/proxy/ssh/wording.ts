// What clients are told and with which exit status, so that a script can tell a denial from a command
// that failed: docs/guides/ssh.md lists them. Texts go to stderr; in a terminal lines end in CR LF.

import type { Denial } from "../../access/operation.ts";
import type { ErrorCode, GatewayError } from "../../base/errors.ts";
import type { HeldDecision, HoldEnd, HoldNotice } from "../../session/hold-wait.ts";

export const EXIT = {
  /** Policies, grants, or a command that cannot be understood. */
  denied: 126,
  /** People decided against it, or it was no longer the same when they had decided. */
  refused: 125,
  /** It waited for people, or ran, longer than it may. As timeout(1) has it. */
  timedOut: 124,
  /** The gateway or the target failed, as ssh(1) has it. */
  failed: 255,
} as const;

/** Lines to be shown, without their ends. */
export type Lines = readonly string[];

export function denialLines(denial: Denial, requestId: string): Lines {
  const { what, message, policyId, hopLabel } = denial;
  const about = [
    policyId === undefined ? [] : [`policy ${policyId}`],
    hopLabel === undefined ? [] : [hopLabel],
    [`request ${requestId}`],
  ].flat();
  return [
    `Custody denied ${what}: ${message}`,
    `  ${about.join(" · ")}`,
    `  custody explain ${requestId}`,
  ];
}

export function noticeLines({ message, detail, hint }: HoldNotice): Lines {
  return [message, `  ${detail}`, `  ${hint}`];
}

export function refusalLines(
  end: Exclude<HoldEnd, { kind: "released" }>,
  decision: HeldDecision,
  requestId: string,
): Lines {
  switch (end.kind) {
    case "cancelled":
      return ["Custody: cancelled while it waited for approval; not executed"];
    case "changed":
      return changedLines(requestId);
    case "refused": {
      const policies = decision.requirements.map(({ policyId }) => policyId).join(", ");
      return [
        `Custody denied ${decision.what}: not approved, not executed`,
        `  ${end.how}`,
        `  policy ${policies} · request ${requestId}`,
      ];
    }
  }
}

export function changedLines(requestId: string): Lines {
  return [
    "Custody denied it: what was approved is no longer what would run; not executed",
    `  request ${requestId}; ask again`,
  ];
}

export function faultLines(error: GatewayError): Lines {
  const lines = [`Custody: ${error.message}`];
  return error.hint === undefined ? lines : [...lines, `  ${error.hint}`];
}

/** Control characters in what others wrote must not reach a terminal. */
export function shown(lines: Lines, inTerminal: boolean): Buffer {
  const end = inTerminal ? "\r\n" : "\n";
  return Buffer.from(lines.map((line) => `${plain(line)}${end}`).join(""), "utf8");
}

export function plain(text: string): string {
  return text.replaceAll(/[\p{Cc}\p{Cf}\p{Cs}\p{Zl}\p{Zp}]/gu, "?");
}

/** SSH_DISCONNECT reasons (RFC 4253 section 11.1), one for every fault. */
export const DISCONNECT_REASON: Readonly<Record<ErrorCode, number>> = {
  protocol: 2,
  tls_required: 2,
  unauthenticated: 14,
  forbidden: 11,
  invalid: 11,
  not_found: 11,
  limit: 12,
  target_unavailable: 7,
  dependency_unavailable: 7,
  evidence_unavailable: 7,
  revoked: 11,
  shutdown: 11,
  idle: 11,
  configuration: 7,
  internal: 7,
};

/** The text of a disconnect message: one line. */
export function disconnectText(error: GatewayError): string {
  return plain(faultLines(error).join(";").replaceAll(/;\s+/g, "; "));
}
