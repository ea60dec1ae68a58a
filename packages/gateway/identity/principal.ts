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
  /** When the provider said so: the token's `iat`, never later than now. */
  readonly verifiedAtMs: number;
  /**
   * Who acts for the subject by the token's own `act` claims (RFC 8693 section 4.1), oldest first: claims
   * of their provider, asserted, never an identity.
   */
  readonly actors?: readonly { readonly subject: string; readonly name: string }[];
  /** Until when the groups may be gone by without being read again; undefined: without end. */
  readonly groupsUntilMs?: number | undefined;
  /** The token this came from. */
  readonly voucher?: Voucher | undefined;
}

export interface Voucher {
  readonly provider: string;
  /** `jti`. */
  readonly tokenId: string | undefined;
  readonly expiresAtMs: number;
  /** The provider's own session (`sid`), which it ends by back-channel logout. */
  readonly session: string | undefined;
  /** The token is taken once. */
  readonly oneTime: boolean;
}
