// Where paths really lead, as the host says (REALPATH, as OpenSSH's sftp-server answers it), and whether what
// was opened is what was decided on.
//
// SFTP has no way to ask where an open file is, and none to open without following links, so between the
// question and the request something on the host may put a link in the place of a folder. What is opened is
// therefore looked at again before anybody gets its handle: its path still leads to itself, and what is there
// has the owner, type and mode of what was opened. That finds every exchange that lasts, and one that is undone
// at once where the two files differ in these. What changes names (rename, remove, mkdir …) has no handle to be
// looked at: who may write in a folder of a path can lead such a request elsewhere (docs/guides/ssh.md).

import { SshError } from "@custody/wire/ssh/errors.ts";
import {
  OPEN_FLAGS,
  type SftpAttributes,
  type SftpOperation,
  STATUS,
} from "@custody/wire/ssh/sftp-messages.ts";
import type { SftpAnswer } from "./sftp-book.ts";
import { lexicalPath, type PathNeed, readablePath, splitPath } from "./sftp-paths.ts";

/** A request of the gateway's own; rejects with an SshError when the channel ends. */
export type AskHost = (request: SftpOperation) => Promise<SftpAnswer>;

export type Real =
  | { readonly kind: "real"; readonly path: string }
  /** The host's own answer why there is none. */
  | { readonly kind: "missing"; readonly answer: SftpAnswer };

export class RealPaths {
  readonly #ask: AskHost;
  #home: string | undefined;

  constructor(ask: AskHost) {
    this.#ask = ask;
  }

  /** The folder paths start from that do not start from the root. */
  async home(): Promise<string> {
    if (this.#home !== undefined) return this.#home;
    const real = await this.#realPath(".");
    if (real.kind !== "real") throw new SshError("syntax", "the host does not tell its folder");
    this.#home = real.path;
    return real.path;
  }

  async resolve(written: string, last: PathNeed["last"]): Promise<Real> {
    const split = last === "itself" ? splitPath(written) : undefined;
    if (split === undefined) return this.#realPath(written);
    const folder = await this.#realPath(split.folder);
    if (folder.kind !== "real") return folder;
    return { kind: "real", path: `${folder.path === "/" ? "" : folder.path}/${split.name}` };
  }

  /** Whether a path that was decided on still leads to itself. */
  async isStill(path: string, last: PathNeed["last"]): Promise<boolean> {
    const real = await this.resolve(path, last);
    return real.kind === "real" && real.path === path;
  }

  async #realPath(path: string): Promise<Real> {
    const written = Buffer.from(path === "" ? "." : path, "utf8");
    const answer = await this.#ask({ kind: "realpath", path: written });
    if (answer.kind !== "name") return { kind: "missing", answer };
    const [name] = answer.names;
    const real = name === undefined ? undefined : readablePath(name.name);
    if (answer.names.length !== 1 || real?.startsWith("/") !== true)
      throw new SshError("syntax", "the host gives a path that is none");
    return { kind: "real", path: lexicalPath("/", real) };
  }
}

export type Opening = Extract<SftpOperation, { readonly kind: "open" | "opendir" }>;

/** Opens what was decided on, or nothing: `moved` when something else is there. */
export async function openAsDecided(
  ask: AskHost,
  paths: RealPaths,
  asked: SftpOperation & { readonly path: Buffer },
): Promise<SftpAnswer | "moved"> {
  // Emptying is left for when it is known what is open.
  const empties = asked.kind === "open" && (asked.flags & EMPTIES) === OPEN_FLAGS.truncate;
  const answer = await ask(
    empties ? { ...asked, flags: asked.flags & ~OPEN_FLAGS.truncate } : asked,
  );
  if (answer.kind !== "handle") return answer;
  const { handle } = answer;
  const path = asked.path.toString("utf8");
  const open = asked.kind === "open" ? await attributesOf(ask, { kind: "fstat", handle }) : {};
  const isSame =
    open !== undefined &&
    (await paths.isStill(path, "follow")) &&
    (asked.kind === "opendir" ||
      isAlike(open, await attributesOf(ask, { kind: "lstat", path: asked.path })));
  if (!isSame) {
    await ask({ kind: "close", handle });
    return "moved";
  }
  if (!empties || !isPlainFile(open) || open.size === 0n) return answer;
  const emptied = await ask({ kind: "fsetstat", handle, attributes: { size: 0n } });
  if (emptied.kind === "status" && emptied.code === STATUS.ok) return answer;
  await ask({ kind: "close", handle });
  return emptied;
}

const EMPTIES = OPEN_FLAGS.truncate | OPEN_FLAGS.exclusive;
const FILE_TYPE = 0o170_000;
const PLAIN_FILE = 0o100_000;

async function attributesOf(
  ask: AskHost,
  request: SftpOperation,
): Promise<SftpAttributes | undefined> {
  const answer = await ask(request);
  return answer.kind === "attrs" ? answer.attributes : undefined;
}

/** Size and times change while others write; these do not. */
function isAlike(open: SftpAttributes, there: SftpAttributes | undefined): boolean {
  return (
    there !== undefined &&
    open.permissions === there.permissions &&
    open.owner?.uid === there.owner?.uid &&
    open.owner?.gid === there.owner?.gid
  );
}

function isPlainFile({ permissions = 0 }: SftpAttributes): boolean {
  return (permissions & FILE_TYPE) === PLAIN_FILE;
}
