// The log's part of the checked document: paths made absolute, defaults that depend on others.

import { resolve } from "node:path";
import type { LogConfig, OutsideService } from "./config.ts";
import { type Context, pemFile, resolveReference } from "./resolve-context.ts";
import type { LogDocument } from "./schema-log.ts";

export function resolveLog(context: Context, document: LogDocument): LogConfig {
  const { shards, signer, postQuantum, witnesses, quorum, cosignEvery, anchors } = document;
  const service = (path: (string | number)[], url: string, caFile?: string): OutsideService => ({
    url,
    caFile: caFile === undefined ? undefined : pemFile(context, [...path, "caFile"], caFile),
  });
  const program = signer?.command[0] ?? "";
  return {
    shards,
    signer: signer && {
      command: [
        program.includes("/") ? resolve(context.directory, program) : program,
        ...signer.command.slice(1),
      ],
      vkey: signer.key,
    },
    postQuantum,
    witnesses: witnesses.map(({ url, keys, caFile }, at) => ({
      ...service(["log", "witnesses", at], url, caFile),
      keys,
    })),
    quorum: quorum ?? Math.max(1, witnesses.length),
    cosignEveryMs: cosignEvery,
    anchors: anchors && {
      folder: anchors.folder === undefined ? undefined : resolve(context.directory, anchors.folder),
      bucket: anchors.bucket && {
        ...service(["log", "anchors", "bucket"], anchors.bucket.url, anchors.bucket.caFile),
        region: anchors.bucket.region,
        keyId: resolveReference(context, anchors.bucket.keyId),
        key: resolveReference(context, anchors.bucket.key),
        retainMs: anchors.bucket.retainFor,
      },
      everyMs: anchors.every,
      timeStamps:
        anchors.timeStamps &&
        service(
          ["log", "anchors", "timeStamps"],
          anchors.timeStamps.url,
          anchors.timeStamps.caFile,
        ),
    },
  };
}
