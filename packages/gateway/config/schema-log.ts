// The log's part of custody.yaml: how it is cut, who signs its heads, who witnesses them, where copies of them go.

import { parseKey } from "@custody/evidence/core/note.ts";
import { z } from "zod";
import { duration, path, secret, text } from "./schema-terms.ts";

const verifierKey = z
  .string()
  .max(4096)
  .superRefine((value, context) => {
    try {
      parseKey(value);
    } catch (error) {
      const message = error instanceof Error ? error.message : "not a verifier key";
      context.addIssue({ code: "custom", message: `${message}: expected <name>+<id>+<base64>` });
    }
  });

const httpUrl = text.regex(/^https?:\/\/[^\s]+$/, "expected an http:// or https:// address");

const caFile = path.describe("PEM file of the CA of its HTTPS. Left out: the system's.").optional();

export const log = z
  .strictObject({
    shards: z
      .enum(["year", "month"])
      .describe(
        "A log of its own for each year, or month (UTC), `<origin>/2027`, tied to the one before. Left out: " +
          "the log goes on where it is. A witness has to know each origin.",
      )
      .optional(),
    signer: z
      .strictObject({
        command: z
          .array(text)
          .min(1)
          .describe(
            "Program and arguments, no shell. Gets the text on standard input, gives the Ed25519 " +
              "signature (64 bytes, or base64) on standard output within 5 s.",
          ),
        key: verifierKey.describe("Its verifier key; the name in it is the log's origin."),
      })
      .describe("What signs the log's heads, instead of the key in `<data>/keys/log.key`.")
      .optional(),
    postQuantum: z
      .boolean()
      .describe("An ML-DSA-44 cosignature (`<data>/keys/log.mldsa.key`) under the Ed25519 one.")
      .default(false),
    witnesses: z
      .array(
        z.strictObject({
          url: httpUrl.describe("Prefix of its `add-checkpoint` (C2SP tlog-witness)."),
          keys: z.array(verifierKey).min(1).describe("Its verifier keys; one of them signs."),
          caFile,
        }),
      )
      .describe("Witnesses that cosign the log's heads.")
      .default([]),
    quorum: z
      .int({ error: "expected a whole number" })
      .min(1)
      .describe("How many of them make a head `cosigned`. Left out: all.")
      .optional(),
    cosignEvery: duration(1_000, 3_600_000)
      .describe("How often they are asked when the log has grown.")
      .prefault("10s"),
    anchors: z
      .strictObject({
        folder: path
          .describe("Folder for copies of heads, one file each, never replaced.")
          .optional(),
        bucket: z
          .strictObject({
            url: httpUrl.describe(
              "Of a bucket with object lock: `https://s3.example/bucket`, `https://bucket.s3.example`.",
            ),
            region: text.prefault("us-east-1"),
            keyId: secret.describe("Access key id; a reference."),
            key: secret.describe("Secret access key; a reference."),
            retainFor: duration(86_400_000, 100 * 366 * 86_400_000)
              .describe("How long nobody can delete a copy.")
              .prefault("3650d"),
            caFile,
          })
          .describe("Bucket (S3, or who speaks as it) for copies of heads, locked (COMPLIANCE).")
          .optional(),
        every: duration(1_000, 7 * 86_400_000)
          .describe("How often a head is copied when the log has grown; at the stop too.")
          .prefault("1h"),
        timeStamps: z
          .strictObject({ url: httpUrl, caFile })
          .describe("Authority (RFC 3161) that stamps each copy; `openssl ts -verify` checks it.")
          .optional(),
      })
      .refine(({ folder, bucket }) => folder !== undefined || bucket !== undefined, {
        message: "a folder or a bucket is needed",
      })
      .describe("Copies of the log's heads where this machine's administrator has no say.")
      .optional(),
  })
  .refine(({ witnesses, quorum = 1 }) => witnesses.length === 0 || quorum <= witnesses.length, {
    message: "the quorum is larger than the number of witnesses",
    path: ["quorum"],
  });

export type LogDocument = z.output<typeof log>;
