// What the documents point to is there: files, and scripts of package.json. SECURITY.md names the tests
// its claims rest on, so a renamed test fails here.

import assert from "node:assert/strict";
import { existsSync, readdirSync, readFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { test } from "node:test";
import { ROOT } from "./source-tree.ts";

const DOCUMENTS = [
  ...readdirSync(ROOT),
  ...readdirSync(join(ROOT, "docs"), { recursive: true, encoding: "utf8" }).map((path) =>
    join("docs", path),
  ),
].filter((path) => path.endsWith(".md"));

for (const document of DOCUMENTS) {
  const text = readFileSync(join(ROOT, document), "utf8");

  test(`${document}: the files it links to exist`, () => {
    const missing = [...text.matchAll(/\]\((?!https?:|#)([^)#\s]+)/g)]
      .map(([, link = ""]) => link)
      .filter((link) => !existsSync(join(ROOT, dirname(document), link)));
    assert.deepEqual(missing, []);
  });

  test(`${document}: the scripts it names exist`, () => {
    const { scripts } = JSON.parse(readFileSync(join(ROOT, "package.json"), "utf8"));
    const missing = [...text.matchAll(/`npm run (?:--silent )?([a-z]+(?::[a-z]+)?)/g)]
      .map(([, script = ""]) => script)
      .filter((script) => !Object.hasOwn(scripts, script));
    assert.deepEqual(missing, []);
  });
}
