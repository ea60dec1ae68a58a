// The one fault of the PostgreSQL codec: bytes that are not what the protocol or a limit allows. After
// one, the stream it came from is not to be read any further: where the next message begins is unknown.

const WIRE_ERROR_CODES = [
  /** A length field that cannot be: negative, below its own size, or one the message cannot have. */
  "length",
  /** A length, count or size above the limit the caller set. */
  "limit",
  /** A message type that does not exist in this direction, or not the one asked to be decoded. */
  "type",
  /** A protocol version nobody speaks here. */
  "version",
  /** The message ends before its last field does. */
  "truncated",
  /** Bytes are left after the last field. */
  "trailing",
  /** A text that is not UTF-8. */
  "utf8",
  /** A field's value is none the protocol knows, or a value of ours that cannot be encoded. */
  "syntax",
  /** A call in a state that does not allow it. */
  "state",
  /** A SCRAM exchange that fails: wrong nonce, bounds, signature. */
  "authentication",
] as const;

export type WireErrorCode = (typeof WIRE_ERROR_CODES)[number];

export class WireError extends Error {
  override readonly name = "WireError";
  readonly code: WireErrorCode;
  constructor(code: WireErrorCode, message: string) {
    super(message);
    this.code = code;
  }
}
