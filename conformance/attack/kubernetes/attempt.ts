// One attempt: what is sent to the gateway, byte for byte, and what must become of it. Data; attack.ts
// plays it.

export type Outcome =
  /** A Status of 400 and more that the gateway itself gives, or an end without a word. */
  | "denied"
  /** An answer, without anything classified. */
  | "masked"
  /** Whatever comes, nothing classified is in it. */
  | "quiet";

export interface Attempt {
  readonly id: string;
  /** The row of THREATS.md. */
  readonly threat: string;
  readonly must: Outcome;
  readonly method: string;
  /** After the target's own part, as it is written. */
  readonly path: string;
  readonly headers?: readonly (readonly [name: string, value: string])[];
  readonly body?: string | Buffer;
  /** The answer goes on; so long it is read once it has begun. */
  readonly readMs?: number;
  /** In the place of the target's part of the path. */
  readonly prefix?: string;
}

export const JSON_BODY = ["content-type", "application/json"] as const;
