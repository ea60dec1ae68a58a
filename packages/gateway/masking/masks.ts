// What replaces a classified value. Pure and total: any bytes in, never an error out, and the default
// keeps nothing of the value, not its length and not whether there was one.

/** Per class, by the operator; a class without one is redacted. */
export type MaskName = "redact" | "null" | "email-domain" | "last4";

/** The value's bytes as text; undefined stands for NULL. */
export type TextMask = (value: Buffer | undefined) => Buffer | null;

/** For values of a text type. null is NULL. */
export function textMask(name: MaskName, className: string): TextMask {
  const redacted = Buffer.from(`[masked ${className}]`);
  switch (name) {
    case "redact":
      return () => redacted;
    case "null":
      return () => null;
    case "email-domain":
      return (value) => (value === undefined ? null : (emailDomain(value) ?? redacted));
    case "last4":
      return (value) => (value === undefined ? null : (lastFour(value) ?? redacted));
  }
}

const AT = 0x40;
/** RFC 1035: a domain name has at most 255 octets. */
const MAX_DOMAIN_BYTES = 255;
/** Four characters of fewer than this would be too much of the value. */
const MIN_BYTES_FOR_LAST_FOUR = 8;

/** `***@example.com`; undefined for what is no plain address. */
function emailDomain(value: Buffer): Buffer | undefined {
  const at = value.indexOf(AT);
  const domain = value.subarray(at + 1);
  if (at <= 0 || domain.length === 0 || domain.length > MAX_DOMAIN_BYTES) return undefined;
  // Letters, digits, dots and dashes only: a second "@" or a quoted part is no plain address.
  for (const byte of domain) if (!isHostByte(byte)) return undefined;
  return Buffer.concat([Buffer.from("***@"), domain]);
}

/** `****1234`; undefined when that would be much of the value. */
function lastFour(value: Buffer): Buffer | undefined {
  if (value.length < MIN_BYTES_FOR_LAST_FOUR) return undefined;
  const kept = value.subarray(value.length - 4);
  for (const byte of kept) if (!isAlphanumeric(byte)) return undefined;
  return Buffer.concat([Buffer.from("****"), kept]);
}

function isHostByte(byte: number): boolean {
  return isAlphanumeric(byte) || byte === 0x2d || byte === 0x2e;
}

function isAlphanumeric(byte: number): boolean {
  const lower = byte | 0x20;
  return (byte >= 0x30 && byte <= 0x39) || (lower >= 0x61 && lower <= 0x7a);
}
