// The configuration and policies that hold now. A reload replaces both at once or nothing: an invalid
// set is refused with its reasons and the running one stays.

import type { Config, ConfigProblem } from "./config/config.ts";
import { loadConfig } from "./config/load.ts";
import { loadPolicies } from "./policy/load.ts";
import type { PolicySet } from "./policy/policy-set.ts";

export interface Settings {
  readonly config: Config;
  readonly policies: PolicySet;
}

export type LoadedSettings =
  | ({ readonly ok: true } & Settings)
  | { readonly ok: false; readonly problems: readonly ConfigProblem[] };

/** `workers` takes precedence over what the file says. */
export async function loadSettings(configPath: string, workers?: number): Promise<LoadedSettings> {
  const loaded = loadConfig(configPath);
  if (!loaded.ok) return loaded;
  const config = workers === undefined ? loaded.config : { ...loaded.config, workers };
  const policies = await loadPolicies(config.policiesDirectory);
  if (!policies.ok)
    return { ok: false, problems: policies.problems.map((problem) => ({ ...problem, path: "" })) };
  return { ok: true, config, policies: policies.policies };
}

/** What a reload cannot change while listening: it needs a restart, and says so. */
export function needsRestart(before: Config, after: Config): string | undefined {
  if (before.dataDirectory !== after.dataDirectory) return "data";
  if (JSON.stringify(before.listen) !== JSON.stringify(after.listen)) return "listen";
  if (before.workers !== after.workers) return "workers";
  if (JSON.stringify(before.tls) !== JSON.stringify(after.tls)) return "tls";
  if (JSON.stringify(before.hostnames) !== JSON.stringify(after.hostnames)) return "hostnames";
  if (JSON.stringify(before.limits) !== JSON.stringify(after.limits)) return "limits";
  if (JSON.stringify(before.exports) !== JSON.stringify(after.exports)) return "export";
  if (JSON.stringify(before.log) !== JSON.stringify(after.log)) return "log";
  return undefined;
}
