// Platforms whose workload tokens are known: what each calls a principal, and which claims have to be
// pinned because its issuer vouches for everybody's workloads. A name may be given up by its owner and
// taken by another; an id is not, so the ids are what is required.
//
//   github      https://docs.github.com/actions/reference/security/oidc
//   gitlab      https://docs.gitlab.com/ci/secrets/id_token_authentication/
//   kubernetes  projected service account tokens, bound to an audience
//   spiffe      JWT-SVID: the trust domain is pinned by its keys, the workload is in `sub`

import type { PresetName } from "./config.ts";

export interface Preset {
  /** undefined: the operator names it, or there is none. */
  readonly issuer: string | undefined;
  readonly username: string;
  /** The claim that stays when names change. */
  readonly subject: string;
  /** Claims that must be pinned. */
  readonly required: readonly string[];
  /** Tokens are made for one exchange, and say which by `jti`. */
  readonly oneTime: boolean;
}

export const PRESET_RULES: Readonly<Record<PresetName, Preset>> = {
  github: {
    issuer: "https://token.actions.githubusercontent.com",
    username: "repository",
    subject: "repository_id",
    required: ["repository_id", "repository_owner_id"],
    oneTime: true,
  },
  gitlab: {
    issuer: "https://gitlab.com",
    username: "project_path",
    subject: "project_id",
    required: ["project_id", "namespace_id"],
    oneTime: true,
  },
  // A pod's token is in a file that stays for an hour: it is shown again whenever the pod signs in.
  kubernetes: {
    issuer: undefined,
    username: "sub",
    subject: "sub",
    required: ["kubernetes.io/namespace"],
    oneTime: false,
  },
  spiffe: {
    issuer: undefined,
    username: "sub",
    subject: "sub",
    required: [],
    oneTime: false,
  },
};
