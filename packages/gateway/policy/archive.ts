// The policy sets that have decided, kept by their digest: `<data>/policies/<digest>.json`, so that a
// decision can be held against the very texts that made it (evidence/core/bundle.ts). Written once, before
// the set decides; never changed.

import { mkdirSync, readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import type { ArchivedPolicies } from "@custody/evidence/core/bundle.ts";
import { GatewayError } from "../base/errors.ts";
import type { PolicySet } from "./policy-set.ts";
import { SCHEMA_VERSION } from "./schema.ts";

export interface PolicyArchive {
  keep(policies: PolicySet): void;
  /** By the version decisions name; undefined: not kept here. Throws GatewayError "invalid" when ambiguous. */
  find(
    version: string,
  ): { readonly digest: string; readonly archived: ArchivedPolicies } | undefined;
}

/** `write` puts a file there at once and durably. Throws GatewayError "evidence_unavailable". */
export function openPolicyArchive(
  dataDirectory: string,
  write: (path: string, content: Buffer) => void,
): PolicyArchive {
  const directory = join(dataDirectory, "policies-loaded");
  mkdirSync(directory, { recursive: true, mode: 0o700 });
  const names = (): string[] => readdirSync(directory).filter((name) => name.endsWith(".json"));
  return {
    keep(policies) {
      const name = `${policies.digest}.json`;
      if (names().includes(name)) return;
      const texts = policies.policies.map(({ text }) => text).sort();
      const archived: ArchivedPolicies = { schema: SCHEMA_VERSION, policies: texts };
      write(join(directory, name), Buffer.from(JSON.stringify(archived), "utf8"));
    },
    find(version) {
      const found = names().filter((name) => name.startsWith(version));
      if (found.length > 1)
        throw new GatewayError("invalid", `two sets of policies have the version ${version}`);
      const [name] = found;
      if (name === undefined) return undefined;
      const archived = JSON.parse(readFileSync(join(directory, name), "utf8")) as ArchivedPolicies;
      return { digest: name.slice(0, -".json".length), archived };
    },
  };
}
