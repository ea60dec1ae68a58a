// Reads the import and export-from statements of one formatted source file. Formatting is checked
// before this lint counts, so a static import starts at the beginning of a line.

import { posix } from "node:path";

export interface Import {
  /** As written: `../base/ids.ts`, `node:fs`, `@custody/wire/postgres/frames.ts`. */
  readonly specifier: string;
  /** `import()`; its specifier is "?" when it is not a plain string. */
  readonly dynamic: boolean;
  /** `import type` or `export type`: gone at run time. */
  readonly typeOnly: boolean;
  /** `export … from`. */
  readonly reExport: boolean;
  readonly line: number;
}

const STATIC =
  /^(import|export)\b([^;"'`]*?\bfrom\s*|\s*)"([^"\n]+)"(?:\s+with\s+\{[^}]*\})?;[^\S\n]*$/gm;
const DYNAMIC = /(?<![\w.])import\(\s*("([^"\n]+)"|[^)\s])/g;

/** All imports of a file in the order of the text. */
export function importsOf(text: string): Import[] {
  const found: Import[] = [];
  for (const match of text.matchAll(STATIC)) {
    const [, keyword, clause = "", specifier = ""] = match;
    found.push({
      specifier,
      dynamic: false,
      typeOnly: /^\s*type\b(?!\s+from)/.test(clause),
      reExport: keyword === "export",
      line: lineAt(text, match.index),
    });
  }
  for (const match of withoutLineComments(text).matchAll(DYNAMIC)) {
    const specifier = match[2] ?? "?";
    const line = lineAt(text, match.index);
    found.push({ specifier, dynamic: true, typeOnly: false, reExport: false, line });
  }
  return found.sort((a, b) => a.line - b.line);
}

/** What is left of a file when comments, imports and re-exports are taken away. */
export function ownCode(text: string): string {
  return text
    .replace(/\/\*[\s\S]*?\*\//g, "")
    .replace(/^\s*\/\/.*$/gm, "")
    .replace(STATIC, "")
    .trim();
}

/** The project's path a specifier means, seen from `from`; undefined for packages and node:. */
export function resolveOwn(from: string, specifier: string): string | undefined {
  if (specifier.startsWith(".")) return posix.normalize(posix.join(posix.dirname(from), specifier));
  const own = /^@custody\/([a-z]+)\/(.+)$/.exec(specifier);
  return own === null ? undefined : `packages/${own[1]}/${own[2]}`;
}

/** Comment lines blanked with as many characters, so that positions stay. */
function withoutLineComments(text: string): string {
  return text.replace(/^\s*(\/\/|\*|\/\*).*$/gm, (line) => " ".repeat(line.length));
}

function lineAt(text: string, index: number): number {
  let line = 1;
  for (let at = text.indexOf("\n"); at !== -1 && at < index; at = text.indexOf("\n", at + 1))
    line++;
  return line;
}
