// The host's side of programs that move files: what a client's scp, rsync or git starts there.

import type { CommandEffect } from "../../command/scope.ts";

/** Whether files are read or written there; undefined: it moves none. */
export function transferOf({
  program,
  arguments: words,
}: Pick<CommandEffect, "program" | "arguments">): "sftp_read" | "sftp_write" | undefined {
  switch (program) {
    case "scp":
      return words.some((word) => /^-[a-zA-Z]*t/.test(word)) ? "sftp_write" : "sftp_read";
    case "rsync":
      if (!words.includes("--server")) return undefined;
      return words.includes("--sender") ? "sftp_read" : "sftp_write";
    case "git-receive-pack":
      return "sftp_write";
    case "git-upload-pack":
    case "git-upload-archive":
      return "sftp_read";
    case "sftp-server":
      return "sftp_write";
    default:
      return undefined;
  }
}
