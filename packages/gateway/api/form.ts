// application/x-www-form-urlencoded as OAuth uses it (RFC 6749 section 3.2): a parameter without a
// value counts as left out, and none is given twice. `audience` and `resource` may be (RFC 8693
// section 2.1); their values, which hold no space, are joined by one.

import { GatewayError } from "../base/errors.ts";

const REPEATABLE: ReadonlySet<string> = new Set(["audience", "resource"]);
const MAX_PARAMETERS = 32;

export function parseForm(text: string): Readonly<Record<string, string>> {
  const form = new Map<string, string>();
  let count = 0;
  for (const [name, value] of new URLSearchParams(text)) {
    if (++count > MAX_PARAMETERS) throw new GatewayError("invalid", "too many parameters");
    if (value === "") continue;
    const earlier = form.get(name);
    if (earlier !== undefined && !REPEATABLE.has(name))
      throw new GatewayError("invalid", "a parameter is given twice");
    form.set(name, earlier === undefined ? value : `${earlier} ${value}`);
  }
  return Object.fromEntries(form);
}
