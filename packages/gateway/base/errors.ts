// The one kind of fault. A denial is not a fault: it is a value (access/operation.ts). The message of
// a GatewayError is fit for the client as it stands; what is not goes into `cause`, which edges log
// and never send. Each edge maps every code with a total table.

export const ERROR_CODES = [
  /** The client's bytes break the protocol or one of our limits. */
  "protocol",
  /** The client offers no TLS where it is required. */
  "tls_required",
  /** No valid credential: unknown, malformed, expired, revoked. */
  "unauthenticated",
  /** A valid credential that may not do this. */
  "forbidden",
  /** The request is well formed and asks for what cannot be. */
  "invalid",
  /** The named target, account, session or request does not exist, or not for this caller. */
  "not_found",
  /** A limit was reached: connections, children, queue, size. */
  "limit",
  /** The target cannot be reached or refuses us. */
  "target_unavailable",
  /** An identity provider, the store or another part we depend on cannot be used. */
  "dependency_unavailable",
  /** The journal cannot be written; nothing may go on. */
  "evidence_unavailable",
  /** The delegation was revoked or has expired while the session was open. */
  "revoked",
  /** The gateway is stopping. */
  "shutdown",
  /** The session sent no command for too long. */
  "idle",
  /** Configuration or policies are invalid. */
  "configuration",
  /** A fault of our own. The session closes. */
  "internal",
] as const;

export type ErrorCode = (typeof ERROR_CODES)[number];

export interface GatewayErrorOptions {
  /** What to do next, for the person or agent that reads the message. */
  readonly hint?: string;
  /** The request or session the message is about. */
  readonly requestId?: string;
  readonly cause?: unknown;
}

export class GatewayError extends Error {
  override readonly name = "GatewayError";
  readonly code: ErrorCode;
  readonly hint: string | undefined;
  readonly requestId: string | undefined;
  constructor(code: ErrorCode, message: string, options: GatewayErrorOptions = {}) {
    super(message, options.cause === undefined ? undefined : { cause: options.cause });
    this.code = code;
    this.hint = options.hint;
    this.requestId = options.requestId;
  }
}

/** Any thrown thing as a GatewayError; what we did not foresee becomes "internal" and keeps its cause. */
export function toGatewayError(thrown: unknown): GatewayError {
  if (thrown instanceof GatewayError) return thrown;
  return new GatewayError("internal", "internal error; the session was closed", { cause: thrown });
}
