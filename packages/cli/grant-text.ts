// What a grant carries, in a line.

import type { AuthorizationDetails } from "@custody/contract/shapes.ts";

/** `sql:read on app~orders shop/public/*; …` */
export function describeGrant(grant: AuthorizationDetails | null): string {
  if (grant === null) return "whatever policies permit";
  return grant
    .map((entry) => {
      const list = (key: string) => {
        const value = entry[key];
        return Array.isArray(value) ? value.join(",") : "";
      };
      const unmask = list("unmask");
      const limits = Object.entries(entry.limits ?? {}).map(([name, value]) => `${name}=${value}`);
      return [
        `${list("actions")} on ${list("accounts")}~${list("targets")} ${list("resources")}`,
        ...(unmask === "" ? [] : [`unmask ${unmask}`]),
        ...limits,
      ].join(" ");
    })
    .join("; ");
}
