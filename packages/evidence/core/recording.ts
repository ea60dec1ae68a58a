// What a recording is made of, for who replays one. Neutral of protocols: `bytes` are what the client
// sent or got, and the reader renders them. One event a line where it is written as NDJSON.

export type RecordingEvent =
  /** Always first. */
  | (At & { readonly kind: "start"; readonly data: Readonly<Record<string, unknown>> })
  /** A command as it was sent. `bytes` and the parameters' values are base64; null is SQL's null. */
  | (At & {
      readonly kind: "command";
      readonly request: string;
      readonly bytes: string;
      readonly parameters?: readonly (string | null)[];
    })
  /** Bytes as the client got them, after masks; base64. */
  | (At & { readonly kind: "response"; readonly request: string; readonly bytes: string })
  /** What a response had beyond the limit: so many bytes, with this SHA-256 (base64url). */
  | (At & {
      readonly kind: "truncated";
      readonly request: string;
      readonly length: number;
      readonly sha256: string;
    })
  /** Notices, holds, denials, the end of a command. */
  | (At & {
      readonly kind: "event";
      readonly request?: string;
      readonly type: string;
      readonly data: Readonly<Record<string, unknown>>;
    })
  /** Always last; a recording without it was cut off by a crash or goes on. */
  | (At & { readonly kind: "end" });

interface At {
  /** Milliseconds since the start of the session. */
  readonly t: number;
}
