// From a fault to an HTTP answer: one total table for the API, one for the OAuth endpoints
// (RFC 6749 section 5.2). Only the public message leaves; causes and stacks stay here.

import type { OAuthError } from "@custody/contract/oauth.ts";
import type { ApiError } from "@custody/contract/shapes.ts";
import { type ErrorCode, GatewayError, toGatewayError } from "../base/errors.ts";

export const STATUS: Readonly<Record<ErrorCode, number>> = {
  protocol: 400,
  tls_required: 400,
  unauthenticated: 401,
  forbidden: 403,
  invalid: 400,
  not_found: 404,
  limit: 429,
  target_unavailable: 502,
  dependency_unavailable: 503,
  evidence_unavailable: 503,
  revoked: 401,
  shutdown: 503,
  idle: 401,
  configuration: 500,
  internal: 500,
};

const OAUTH: Readonly<Record<ErrorCode, OAuthError["error"]>> = {
  protocol: "invalid_request",
  tls_required: "invalid_request",
  unauthenticated: "invalid_client",
  forbidden: "access_denied",
  invalid: "invalid_request",
  not_found: "invalid_request",
  limit: "temporarily_unavailable",
  target_unavailable: "temporarily_unavailable",
  dependency_unavailable: "temporarily_unavailable",
  evidence_unavailable: "temporarily_unavailable",
  revoked: "invalid_client",
  shutdown: "temporarily_unavailable",
  idle: "invalid_client",
  configuration: "server_error",
  internal: "server_error",
};

/** Faults of fastify itself that the client caused: too large, wrong type, bad JSON. */
export function faultOf(thrown: unknown): GatewayError {
  const { statusCode, code } = Object(thrown);
  if (thrown instanceof GatewayError || typeof statusCode !== "number" || statusCode >= 500)
    return toGatewayError(thrown);
  if (statusCode === 413) return new GatewayError("limit", "the request is too large");
  if (statusCode === 415)
    return new GatewayError("invalid", "the body's content type is not one this endpoint reads");
  return new GatewayError("invalid", "the request could not be read", { cause: code });
}

export function apiError(error: GatewayError, requestId: string): ApiError {
  const message = error.code === "internal" ? "internal error" : error.message;
  return {
    error: {
      code: error.code,
      message,
      ...(error.hint === undefined ? {} : { hint: error.hint }),
      requestId: error.requestId ?? requestId,
    },
  };
}

export function oauthError(error: GatewayError): OAuthError {
  const message = error.code === "internal" ? "internal error" : error.message;
  const hint = error.hint === undefined ? "" : `; ${error.hint}`;
  return { error: OAUTH[error.code], error_description: description(`${message}${hint}`) };
}

/** RFC 6749 section 5.2 allows printable ASCII without quotation mark and backslash. */
export function description(text: string): string {
  return text
    .replaceAll('"', "'")
    .replace(/[^\x20-\x7e]|\\/g, "?")
    .slice(0, 1000);
}
