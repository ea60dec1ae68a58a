// The terms custody.yaml is written in: names, paths, addresses, secrets, durations. What a value alone
// can tell is checked here.

import { z } from "zod";

import { parseSecretReference } from "../credential/reference-text.ts";
import { formatDuration, parseDuration } from "./units.ts";

export const NAME = /^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$/;

export const name = z
  .string()
  .regex(NAME, "a name is lower-case letters, digits and dashes, at most 63 characters");

export const text = z.string().min(1, "must not be empty").max(1024);

export const path = text.describe("A path; relative ones start at the folder of this file.");

/** What is looked for in text nobody classified, by class. */
export const detections = z.record(
  text.regex(/^[a-z0-9]+([.-][a-z0-9]+)*$/, "a class is like pii.email"),
  z.enum(["card-number", "email", "provider-key"]),
);

export const address = z
  .string()
  .regex(
    /^(\[[0-9a-fA-F:.]+\]|[^\s:[\]]+):\d{1,5}$/,
    'expected "host:port", such as 127.0.0.1:7432 or [::1]:7432',
  )
  .transform((value, context) => {
    const at = value.lastIndexOf(":");
    const port = Number(value.slice(at + 1));
    if (port > 65_535) context.addIssue({ code: "custom", message: "a port is at most 65535" });
    return { host: value.slice(0, at).replace(/^\[(.*)\]$/, "$1"), port };
  });

export const secret = z
  .union([
    z.string(),
    z.strictObject({
      exec: z.array(text).min(1).describe("Program and arguments; no shell is involved."),
    }),
  ])
  .transform((value, context) => {
    if (typeof value !== "string") return { from: "exec", command: value.exec } as const;
    const parsed = parseSecretReference(value);
    if (parsed.ok) return parsed.reference;
    context.addIssue({ code: "custom", message: parsed.message });
    return z.NEVER;
  });

/** Milliseconds of a written duration between two bounds. */
export function duration(minMs: number, maxMs: number) {
  const expected = "expected a duration such as 30m or 12h";
  return z.string({ error: expected }).transform((written, context) => {
    const value = parseDuration(written);
    if (value === undefined || value < minMs || value > maxMs)
      context.addIssue({
        code: "custom",
        message: `${expected}, ${formatDuration(minMs)} to ${formatDuration(maxMs)}`,
      });
    return value ?? 0;
  });
}
