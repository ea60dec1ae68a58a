// Names that providers give, made into ids that cannot be mistaken for another's: the provider's own
// name (`[a-z0-9-]+`, so it holds no slash) up to the first slash, the provider's word behind it.
// `corp/github/x` is corp's, whatever corp calls it.
//
// Refused, not repaired: control, format, private and unassigned characters, list and nesting syntax
// of places an id is copied to (a comma in a certificate principal, `>` in a printed chain), text that
// is not in normal form C, and path-like segments.

const MAX_LENGTH = 256;
const FORBIDDEN = /[\p{C}\p{Zl}\p{Zp}",<>\\]/u;

export type NameResult =
  | { readonly ok: true; readonly id: string }
  | { readonly ok: false; readonly why: string };

/** `what` is the claim, for the message. The value itself is not repeated: it may be hostile. */
export function providerId(provider: string, value: unknown, what: string): NameResult {
  const why = whyNot(value);
  if (why !== undefined) return { ok: false, why: `claim "${what}" ${why}` };
  return { ok: true, id: `${provider}/${value}` };
}

function whyNot(value: unknown): string | undefined {
  if (value === undefined) return "is missing";
  if (typeof value !== "string") return "is not a string";
  if (value.length === 0) return "is empty";
  if (value.length > MAX_LENGTH) return `is longer than ${MAX_LENGTH} characters`;
  if (FORBIDDEN.test(value)) return "holds a character that no name may have";
  if (value !== value.trim() || value !== value.normalize("NFC"))
    return "is not in its normal form";
  if (value.split("/").some((segment) => ["", ".", ".."].includes(segment)))
    return "has an empty or dotted segment";
  return undefined;
}
