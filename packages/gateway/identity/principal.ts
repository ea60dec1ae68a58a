// Somebody an identity provider vouches for, as verified from a token. Made by identity/ only.

export interface Principal {
  readonly kind: "user" | "workload";
  /** `<provider>/<name the provider vouches for>`: the entity's id in policies. */
  readonly id: string;
  readonly name: string;
  /** `<provider>/<stable subject id>`. */
  readonly subject: string;
  /** `<provider>/<group>`. */
  readonly groups: readonly string[];
  readonly verifiedAtMs: number;
}
