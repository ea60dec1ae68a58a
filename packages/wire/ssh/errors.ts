// The one fault of the SSH codec: bytes that are not what the protocol or a limit allows, or a call out
// of turn. After one the connection is over. `reason` is what SSH_MSG_DISCONNECT says (RFC 4253 section
// 11.1); the message is fit for a log, never for a decision.

const SSH_ERROR_CODES = [
  /** A version line or a banner before it that cannot be, or a version other than 2. */
  "version",
  /** A packet's length or padding that cannot be. */
  "packet",
  /** The integrity check of a packet failed. */
  "integrity",
  /** A length, count or size above the limit the caller set. */
  "limit",
  /** The message ends before its last field does. */
  "truncated",
  /** Bytes are left after the last field. */
  "trailing",
  /** A text that is not UTF-8, or a name that is not ASCII. */
  "text",
  /** A field's value is none the protocol knows, or a value of ours that cannot be encoded. */
  "syntax",
  /** A message that may not come now. */
  "sequence",
  /** No algorithm in common. */
  "negotiation",
  /** The key exchange failed: a bad public value, a signature that does not verify. */
  "exchange",
  /** The host key is not the one the caller expects. */
  "host-key",
  /** A signature, key or certificate that is not valid, or of a kind not allowed. */
  "key",
  /** More authentication attempts than allowed. */
  "authentication",
  /** A call of ours in a state that does not allow it. */
  "state",
] as const;

export type SshErrorCode = (typeof SSH_ERROR_CODES)[number];

export class SshError extends Error {
  override readonly name = "SshError";
  readonly code: SshErrorCode;
  constructor(code: SshErrorCode, message: string) {
    super(message);
    this.code = code;
  }
}
