// What a recording is made of, for who replays one. Neutral of protocols: `bytes` are what the client
// sent or got, and the reader renders them. One event a line where it is written as NDJSON.
//
// Every protocol has `start`, `command` (what its intent's leaf holds the digest of), `event` and `end`.
// PostgreSQL's answers are `response`; what flows through channels (a process, a shell, a file, a body) is
// `data`, with typed events around it.

/**
 * What is kept of a command: `full` everything, `commands` the command and of its answer only length and
 * digest, `digest` of both only length and digest.
 */
export type RecordingLevel = "full" | "commands" | "digest";

/**
 * Of a process or terminal: `stdin`, `stdout`, `stderr`. Of a file (SFTP, scp): `upload` to the target,
 * `download` from it. Of an HTTP exchange's bodies: `request`, `response`.
 */
export const RECORDING_STREAMS = [
  "stdin",
  "stdout",
  "stderr",
  "upload",
  "download",
  "request",
  "response",
] as const;
export type RecordingStream = (typeof RECORDING_STREAMS)[number];

/** What is written as it is; the recorder adds the time. `request` is the command's `r-…`. */
export type TypedEvent =
  /** A process, shell or subsystem begins on a channel. The exact command line is the `command` before. */
  | {
      readonly kind: "exec";
      readonly request: string;
      readonly channel: number;
      readonly mode: "exec" | "shell" | "subsystem" | "attach" | "forward";
      /** What runs as it was decided, word for word; the subsystem's name; the forward's destination. */
      readonly argv?: readonly string[];
      readonly environment?: Readonly<Record<string, string>>;
      /** Where it runs, where the target has several: `namespace/pod/container`. */
      readonly place?: string;
    }
  /** A terminal is there, or changed its size. `name` is TERM, given once. */
  | {
      readonly kind: "terminal";
      readonly request: string;
      readonly channel: number;
      readonly columns: number;
      readonly rows: number;
      readonly name?: string;
    }
  /**
   * What a terminal of this size shows when all before has been written to it: base64 of what draws it on one
   * that was reset. A reader may begin with it.
   */
  | {
      readonly kind: "screen";
      readonly request: string;
      readonly channel: number;
      readonly columns: number;
      readonly rows: number;
      readonly bytes: string;
    }
  | {
      readonly kind: "exit";
      readonly request: string;
      readonly channel: number;
      readonly code?: number;
      readonly signal?: string;
    }
  /** One request of SFTP and how it was answered; contents are `data` of the same channel. */
  | {
      readonly kind: "sftp";
      readonly request: string;
      readonly channel: number;
      /** As the protocol says it: `open`, `read`, `rename`, `setstat`, `posix-rename@openssh.com`. */
      readonly operation: string;
      readonly path?: string;
      /** The second path of renames and links. */
      readonly to?: string;
      readonly offset?: number;
      readonly length?: number;
      readonly flags?: readonly string[];
      /** `ok`, `eof`, `permission_denied`, … */
      readonly status?: string;
    }
  | {
      readonly kind: "http-request";
      readonly request: string;
      readonly method: string;
      /** Path and query, as the client sent it. */
      readonly path: string;
      /** In their order; never a credential. */
      readonly headers?: readonly (readonly [string, string])[];
    }
  | {
      readonly kind: "http-response";
      readonly request: string;
      readonly status: number;
      readonly headers?: readonly (readonly [string, string])[];
    };

export const TYPED_KINDS = [
  "exec",
  "terminal",
  "screen",
  "exit",
  "sftp",
  "http-request",
  "http-response",
] as const satisfies readonly TypedEvent["kind"][];

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
  /** A command of which only this is kept; digests as in its leaf (base64url). */
  | (At & {
      readonly kind: "command-digest";
      readonly request: string;
      readonly length: number;
      readonly sha256: string;
      readonly parameters?: string;
    })
  /** Bytes as the client got them, after masks; base64. */
  | (At & { readonly kind: "response"; readonly request: string; readonly bytes: string })
  /** Bytes of a stream, as the client sent or got them; base64. */
  | (At & {
      readonly kind: "data";
      readonly request: string;
      readonly channel: number;
      readonly stream: RecordingStream;
      readonly bytes: string;
    })
  /**
   * What a response or stream had beyond what is kept: so many bytes, with this SHA-256 (base64url). Without
   * stream and channel it is of the command's `response`.
   */
  | (At & {
      readonly kind: "truncated";
      readonly request: string;
      readonly channel?: number;
      readonly stream?: RecordingStream;
      readonly length: number;
      readonly sha256: string;
    })
  | (At & TypedEvent)
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
