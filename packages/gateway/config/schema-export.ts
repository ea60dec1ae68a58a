// The part of custody.yaml about where events go besides the log: OCSF to a SIEM.

import { z } from "zod";
import { path, secret, text } from "./schema-terms.ts";

const httpsUrl = text.regex(/^https:\/\/[^\s]+$/, "expected an https:// address");
const caFile = path.describe("PEM file of its CA. Left out: the system's.").optional();
const token = secret.describe("Sent as `Authorization: Bearer`; a reference.").optional();

const KINDS = ["file", "syslog", "https", "otlp"] as const;

export const exported = z
  .strictObject({
    file: path
      .describe("A file that events are appended to, one JSON object a line; it may be rotated.")
      .optional(),
    syslog: z
      .strictObject({
        host: text.describe("Name of the server, as its certificate has it."),
        port: z.int().min(1).max(65_535).describe("Its port.").default(6514),
        caFile,
      })
      .describe("A syslog server over TLS (RFC 5424, RFC 5425).")
      .optional(),
    https: z
      .strictObject({ url: httpsUrl.describe("Where events are POSTed, NDJSON."), caFile, token })
      .describe("A collector that takes NDJSON over HTTPS.")
      .optional(),
    otlp: z
      .strictObject({
        url: httpsUrl.describe("Its logs endpoint, such as https://otel.internal:4318/v1/logs."),
        caFile,
        token,
      })
      .describe("An OpenTelemetry collector (OTLP/HTTP, JSON).")
      .optional(),
  })
  .refine((value) => KINDS.filter((kind) => value[kind] !== undefined).length === 1, {
    message: `exactly one of ${KINDS.join(", ")} is needed`,
  });

export type ExportDocument = z.output<typeof exported>;
