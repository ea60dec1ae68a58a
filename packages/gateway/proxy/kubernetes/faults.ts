// What a client of Kubernetes sees of a fault or a denial: a Status (meta/v1), which kubectl and every
// library print. The one place where the protocol's wording is.

import type { Denial } from "../../access/operation.ts";
import type { ErrorCode, GatewayError } from "../../base/errors.ts";

export interface Status {
  readonly kind: "Status";
  readonly apiVersion: "v1";
  readonly metadata: Record<string, never>;
  readonly status: "Failure";
  readonly message: string;
  readonly reason: string;
  readonly details?: {
    readonly name?: string;
    readonly causes?: readonly { readonly reason: string; readonly message: string }[];
    readonly retryAfterSeconds?: number;
  };
  readonly code: number;
}

/** Total over ErrorCode, so that a new code does not compile before it has a Status. */
const REASONS: Readonly<Record<ErrorCode, readonly [code: number, reason: string]>> = {
  protocol: [400, "BadRequest"],
  tls_required: [400, "BadRequest"],
  unauthenticated: [401, "Unauthorized"],
  forbidden: [403, "Forbidden"],
  invalid: [400, "BadRequest"],
  not_found: [404, "NotFound"],
  limit: [429, "TooManyRequests"],
  target_unavailable: [503, "ServiceUnavailable"],
  dependency_unavailable: [503, "ServiceUnavailable"],
  evidence_unavailable: [503, "ServiceUnavailable"],
  revoked: [401, "Unauthorized"],
  shutdown: [503, "ServiceUnavailable"],
  idle: [408, "Timeout"],
  configuration: [500, "InternalError"],
  internal: [500, "InternalError"],
};

export function statusOf(error: GatewayError, requestId: string | undefined): Status {
  const [code, reason] = REASONS[error.code];
  const request = requestId === undefined ? "" : ` Request ${requestId}.`;
  const hint = error.hint === undefined ? "" : ` Next: ${error.hint}`;
  return status(code, reason, `Custody: ${sentence(error.message)}${request}${hint}`, requestId);
}

/** `Custody denied delete on pods web-1 in namespace shop: …. Policy x. Hop: …. Request r-…` */
export function denialStatus(denial: Denial, requestId: string): Status {
  const policy = denial.policyId === undefined ? "" : ` Policy ${denial.policyId}.`;
  const hop = denial.hopLabel === undefined ? "" : ` Hop: ${denial.hopLabel}.`;
  const text = `Custody denied ${denial.what}: ${sentence(denial.message)}${policy}${hop} Request ${requestId}. Next: custody explain ${requestId}`;
  return denial.kind === "fault"
    ? status(500, "InternalError", text, requestId)
    : status(403, "Forbidden", text, requestId);
}

/** It waits for people and may be asked for again. */
export function waitingStatus(
  message: string,
  requestId: string,
  retryAfterSeconds: number,
): Status {
  const waiting = status(429, "TooManyRequests", message, requestId);
  return { ...waiting, details: { ...waiting.details, retryAfterSeconds } };
}

export function refusedStatus(message: string, requestId: string): Status {
  return status(403, "Forbidden", message, requestId);
}

/** A body in a form that cannot be decoded here. */
export function unsupportedStatus(message: string, requestId: string): Status {
  return status(
    415,
    "UnsupportedMediaType",
    `Custody: ${sentence(message)} Request ${requestId}.`,
    requestId,
  );
}

function status(code: number, reason: string, message: string, name: string | undefined): Status {
  return {
    ...{ kind: "Status", apiVersion: "v1", metadata: {}, status: "Failure", message, reason, code },
    ...(name === undefined ? {} : { details: { name } }),
  };
}

function sentence(text: string): string {
  return /[.!?]$/.test(text) ? text : `${text}.`;
}
