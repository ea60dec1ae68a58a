// Paths as they are written on a line, made absolute and short without asking the host. Links are not
// followed: what a policy sees is the name that was used.

import { posix } from "node:path";

export interface PathRead {
  /** Absolute and without . and doubled slashes; undefined: relative to what is not known. */
  readonly path: string | undefined;
  /** False where the host may make something else of it: "..", which follows links, or the kernel's aliases. */
  readonly exact: boolean;
}

/** Names under which the kernel shows other files. */
const ALIASES =
  /^\/(proc\/([0-9]+|self|thread-self)\/(root|cwd|exe|fd|task|map_files)(\/|$)|dev\/(fd(\/|$)|std(in|out|err)$))/;

export function readPath(text: string, directory: string | undefined): PathRead {
  if (text === "") return { path: undefined, exact: false };
  const joined = text.startsWith("/") ? text : directory && `${directory}/${text}`;
  if (joined === undefined) return { path: undefined, exact: false };
  const normal = posix
    .normalize(joined)
    .replace(/(.)\/+$/, "$1")
    .replace(/^\/\//, "/");
  const exact = !joined.split("/").includes("..") && !ALIASES.test(normal);
  return { path: normal, exact };
}
