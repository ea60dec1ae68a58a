// The project's own source files, as the lints read them: paths relative to the root, with `/`.

import { readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { fileURLToPath } from "node:url";

export interface SourceFile {
  /** `packages/wire/postgres/frames.ts` */
  readonly path: string;
  readonly text: string;
}

export const ROOT = fileURLToPath(new URL("..", import.meta.url));

const FOLDERS = ["packages", "demo", "tools", "conformance", "bench", "fuzz"];

/** Every .ts and .mjs file of ours; what npm installed and what runs left behind is not ours. */
export function sourceFiles(root: string = ROOT): SourceFile[] {
  const found: SourceFile[] = [];
  const visit = (folder: string) => {
    for (const entry of readdirSync(join(root, folder), { withFileTypes: true })) {
      if (entry.name.startsWith(".") || entry.name === "node_modules") continue;
      const path = `${folder}/${entry.name}`;
      if (entry.isDirectory()) visit(path);
      else if (/\.(ts|mjs)$/.test(entry.name))
        found.push({ path, text: readFileSync(join(root, path), "utf8") });
    }
  };
  const present = new Set(readdirSync(root));
  for (const folder of FOLDERS) if (present.has(folder)) visit(folder);
  return found.sort((a, b) => (a.path < b.path ? -1 : 1));
}
