// The policies a new installation begins with; `custody init` writes them. They are files so that they
// can be read, checked and copied as they are.

import { readdirSync, readFileSync } from "node:fs";

export interface StarterPolicy {
  /** File name: `people.cedar`. */
  readonly name: string;
  readonly text: string;
}

export function starterPolicies(): StarterPolicy[] {
  const folder = new URL("./starter/", import.meta.url);
  return readdirSync(folder)
    .filter((name) => name.endsWith(".cedar"))
    .sort()
    .map((name) => ({ name, text: readFileSync(new URL(name, folder), "utf8") }));
}
