// Sessions, their recordings, and the stream of audit leaves.

import { z } from "zod";
import {
  chainSchema,
  delegationIdSchema,
  protocolSchema,
  reasonSchema,
  sessionIdSchema,
  timeSchema,
} from "./shapes.ts";

export const sessionSchema = z.object({
  id: sessionIdSchema,
  state: z.enum(["live", "closed"]),
  protocol: protocolSchema,
  target: z.string(),
  account: z.string(),
  database: z.string(),
  clientAddress: z.string(),
  delegationId: delegationIdSchema,
  chain: chainSchema,
  openedAt: timeSchema,
  closedAt: timeSchema.nullable(),
  /** Why it ended; null while it lives. */
  closeReason: z.string().nullable(),
  expiresAt: timeSchema,
});
export type SessionView = z.infer<typeof sessionSchema>;

export const sessionListQuerySchema = z.strictObject({
  state: z.enum(["live", "closed"]).optional(),
  /** Id, name or delegation of the head of the chain. */
  root: z.string().min(1).max(256).optional(),
  /** The same of any hop after it. */
  agent: z.string().min(1).max(256).optional(),
  target: z.string().min(1).max(64).optional(),
  /** A class that was masked in an answer. */
  class: z.string().min(1).max(128).optional(),
  /** What was decided of one of its commands. */
  decision: z.enum(["permit", "deny", "hold"]).optional(),
  /** What was said in it; recordings the caller may replay are opened for it. */
  text: z.string().min(1).max(256).optional(),
});
export type SessionListQuery = z.input<typeof sessionListQuerySchema>;
export const sessionListSchema = z.object({
  sessions: z.array(sessionSchema),
  /** Recordings that were opened to look for the text. */
  searched: z.number().int().optional(),
});

export const endSessionBodySchema = z.strictObject({ reason: reasonSchema.optional() });
export const endSessionResponseSchema = z.object({
  session: sessionSchema,
  /** false: it had ended before. */
  ended: z.boolean(),
});

export const recordingQuerySchema = z.strictObject({
  /** Milliseconds since the session's start to begin at. */
  from: z.coerce.number().int().min(0).optional(),
  /** At the last screen of a terminal before that, or at the start when there is none. */
  screen: z.literal("1").optional(),
});

/** One line of a recording: `t` milliseconds since the Unix epoch; bytes as base64. */
export const recordingLineSchema = z.looseObject({ t: z.number(), kind: z.string() });
export type RecordingLine = z.infer<typeof recordingLineSchema>;

/** One line of the tail: a leaf of the log, or word of how many were left out for a slow reader. */
export const eventLineSchema = z.union([
  z.looseObject({ v: z.literal(1), event: z.string(), at: z.number() }),
  z.object({ gap: z.number().int().positive() }),
  /** Sent first, and whenever nothing else was for 15 s, so that both ends notice a dead connection. */
  z.object({ alive: z.literal(true) }),
]);
export type EventLine = z.infer<typeof eventLineSchema>;

export const JOIN_MODES = ["observer", "peer", "moderator"] as const;
export type JoinMode = (typeof JOIN_MODES)[number];

export const joinBodySchema = z.strictObject({
  /** Sees the shell; types into it as well; sees it and may end it. */
  mode: z.enum(JOIN_MODES).default("observer"),
});

/** One line of what a participant sees; the first `output` draws the screen as it is on an empty one. */
export const terminalLineSchema = z.union([
  z.object({ kind: z.literal("joined"), participant: z.string() }),
  z.object({ kind: z.literal("size"), columns: z.number(), rows: z.number() }),
  z.object({ kind: z.literal("output"), bytes: z.base64() }),
  z.object({ kind: z.literal("end"), why: z.string() }),
  /** So many lines were left out for a slow reader. */
  z.object({ gap: z.number().int().positive() }),
  z.object({ alive: z.literal(true) }),
]);
export type TerminalLine = z.infer<typeof terminalLineSchema>;

export const typeBodySchema = z.strictObject({
  /** What was typed, at most 8 KiB. */
  bytes: z.base64().max(10_924),
});

/** The last line of a stream that could not be finished. */
export const streamErrorSchema = z.object({
  error: z.object({ code: z.string(), message: z.string() }),
});

export const healthSchema = z.object({ status: z.enum(["ok", "unavailable"]) });
export const readySchema = z.object({
  status: z.enum(["ready", "not_ready"]),
  checks: z.record(z.string(), z.enum(["ok", "failed"])),
});
