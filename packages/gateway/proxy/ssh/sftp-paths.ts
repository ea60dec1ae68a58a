// What each SFTP request does to which paths, and the paths as they are decided and sent: absolute and
// without symbolic links. A request that follows a last link is decided on where it leads; one that works
// on the link itself, on its folder's real path and its own name.
//
// The host itself is asked for real paths (REALPATH, as OpenSSH's sftp-server answers it). Between that
// and the request something on the host may change a link; the path sent is the one decided, so that a
// link changed later in it is the host's own race, not ours.

import type { SftpOperation } from "@custody/wire/ssh/sftp-messages.ts";
import { OPEN_FLAGS } from "@custody/wire/ssh/sftp-messages.ts";
import type { PathAction } from "./operations.ts";

/** `last`: whether a link in the last place is followed. */
export interface PathNeed {
  readonly field: "path" | "from" | "to";
  readonly last: "follow" | "itself";
  readonly actions: readonly PathAction[];
}

/** undefined: the request names no path. */
export function pathNeeds(operation: SftpOperation): readonly PathNeed[] | undefined {
  switch (operation.kind) {
    case "open":
      return [{ field: "path", last: "follow", actions: openActions(operation.flags) }];
    case "stat":
    case "opendir":
    case "statvfs@openssh.com":
      return [{ field: "path", last: "follow", actions: ["sftp_list"] }];
    case "lstat":
    case "readlink":
      return [{ field: "path", last: "itself", actions: ["sftp_list"] }];
    case "setstat":
      return [{ field: "path", last: "follow", actions: ["sftp_write"] }];
    case "mkdir":
    case "lsetstat@openssh.com":
    case "symlink":
      return [{ field: "path", last: "itself", actions: ["sftp_write"] }];
    case "remove":
    case "rmdir":
      return [{ field: "path", last: "itself", actions: ["sftp_remove"] }];
    case "rename":
    case "posix-rename@openssh.com":
      return [
        // Under its new name it may be read by whoever may read there.
        { field: "from", last: "itself", actions: ["sftp_remove", "sftp_read"] },
        { field: "to", last: "itself", actions: ["sftp_write"] },
      ];
    case "hardlink@openssh.com":
      return [
        { field: "from", last: "itself", actions: ["sftp_read", "sftp_write"] },
        { field: "to", last: "itself", actions: ["sftp_write"] },
      ];
    default:
      return undefined;
  }
}

/** Whether what it answers can be masked, or why not. */
export function maskableOf(operation: SftpOperation): true | string {
  switch (operation.kind) {
    case "open":
      // What was read masked would be written back over what it stands for.
      return openActions(operation.flags).length > 1
        ? "a file is opened for reading or for writing, not both"
        : true;
    case "rename":
    case "posix-rename@openssh.com":
    case "hardlink@openssh.com":
      return "under another name the file would be read without masks";
    default:
      return true;
  }
}

/** Whether it only looks: such requests are written, but nobody waits for the disk. */
export function isPlainRead(operation: SftpOperation): boolean {
  const needs = pathNeeds(operation) ?? [];
  return needs.every(({ actions }) =>
    actions.every((action) => action === "sftp_list" || action === "sftp_read"),
  );
}

const CHANGES =
  OPEN_FLAGS.write |
  OPEN_FLAGS.append |
  OPEN_FLAGS.create |
  OPEN_FLAGS.truncate |
  OPEN_FLAGS.exclusive;

export function openActions(flags: number): readonly PathAction[] {
  const changes = (flags & CHANGES) !== 0;
  const reads = (flags & OPEN_FLAGS.read) !== 0 || !changes;
  return [...(reads ? ["sftp_read" as const] : []), ...(changes ? ["sftp_write" as const] : [])];
}

export function openFlagNames(flags: number): string[] {
  return Object.entries(OPEN_FLAGS)
    .filter(([, bit]) => (flags & bit) !== 0)
    .map(([name]) => name);
}

/** A path that can be shown, matched and sent; undefined for one that is not. */
export function readablePath(bytes: Buffer): string | undefined {
  const text = bytes.toString("utf8");
  const isWhole = Buffer.from(text, "utf8").equals(bytes);
  return isWhole && bytes.length <= MAX_PATH_BYTES && !/\p{Cc}/u.test(text) ? text : undefined;
}

/** `.` and `..` taken out by the letter. */
export function lexicalPath(home: string, path: string): string {
  const parts: string[] = [];
  const whole = path.startsWith("/") ? path : `${home}/${path}`;
  for (const part of whole.split("/")) {
    if (part === "" || part === ".") continue;
    if (part === "..") parts.pop();
    else parts.push(part);
  }
  return `/${parts.join("/")}`;
}

/** The folder to be asked about and the name in it; undefined where the path is a folder by itself. */
export function splitPath(
  path: string,
): { readonly folder: string; readonly name: string } | undefined {
  const trimmed = path.replace(/\/+$/, "");
  const at = trimmed.lastIndexOf("/");
  const name = trimmed.slice(at + 1);
  if (name === "" || name === "." || name === "..") return undefined;
  const folder = at < 0 ? "." : trimmed.slice(0, at) || "/";
  return { folder, name };
}

const MAX_PATH_BYTES = 4096;
