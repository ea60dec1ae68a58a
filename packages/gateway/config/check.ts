// `custody check`: everything that can be known without starting anything, or connecting anywhere.

import { loadPolicies } from "../policy/load.ts";
import type { Config, ConfigProblem } from "./config.ts";
import { loadConfig } from "./load.ts";

export type Checked =
  | { readonly ok: true; readonly config: Config; readonly policyVersion: string }
  | { readonly ok: false; readonly problems: readonly ConfigProblem[] };

/** The configuration and, when it is good, the policies it names. */
export async function checkConfiguration(file: string): Promise<Checked> {
  const loaded = loadConfig(file);
  if (!loaded.ok) return loaded;
  const { config } = loaded;
  const policies = await loadPolicies(config.policiesDirectory);
  if (!policies.ok)
    return { ok: false, problems: policies.problems.map((problem) => ({ ...problem, path: "" })) };
  return { ok: true, config, policyVersion: policies.policies.version };
}
