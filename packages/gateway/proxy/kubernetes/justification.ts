// Why, in the requestor's words, as clients of Kubernetes can say it: in a header, or, since kubectl sends
// none of one's own, behind the bearer token its exec plugin gave it: `<token>~why.<base64url>`. Beside a
// client certificate the whole token may be that.

import { GatewayError } from "../../base/errors.ts";
import type { HeldDecision } from "../../session/hold-wait.ts";

const HEADER = "custody-justification";
const MARK = "why.";
const MAX_LENGTH = 500;

/** The token without what is behind it. Throws GatewayError "invalid" for words that are none. */
export function splitJustification(token: string): {
  readonly token: string;
  readonly justification: string | undefined;
} {
  const at = token.lastIndexOf("~") + 1;
  if (!token.startsWith(MARK, at)) return { token, justification: undefined };
  const bytes = Buffer.from(token.slice(at + MARK.length), "base64url");
  return { token: token.slice(0, Math.max(0, at - 1)), justification: words(bytes) };
}

/** The header counts before the token's. Throws GatewayError "invalid". */
export function justificationIn(
  headers: Readonly<Record<string, string | string[] | undefined>>,
): string | undefined {
  const value = headers[HEADER];
  if (value === undefined) return undefined;
  // node gives a header's bytes as latin1.
  return words(Buffer.from(String(value), "latin1"));
}

/** Why nobody can be asked yet; undefined: they can. */
export function lacksJustification(
  { requirements }: HeldDecision,
  justification: string | undefined,
): string | undefined {
  const isRequired = requirements.some((one) => one.justificationRequired);
  if (!isRequired || (justification ?? "").trim() !== "") return undefined;
  return "it needs a justification before anybody can approve it: set CUSTODY_JUSTIFICATION for kubectl, or the header Custody-Justification";
}

function words(bytes: Buffer): string | undefined {
  let text: string;
  try {
    text = new TextDecoder("utf-8", { fatal: true }).decode(bytes).trim();
  } catch (cause) {
    throw new GatewayError("invalid", "the justification is not UTF-8", { cause });
  }
  if (text.length > MAX_LENGTH || /\p{Cc}/u.test(text))
    throw new GatewayError(
      "invalid",
      `a justification is one line of at most ${MAX_LENGTH} characters`,
    );
  return text === "" ? undefined : text;
}
