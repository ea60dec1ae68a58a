// What the guides tell people to write is checked as they would have it checked.

import assert from "node:assert/strict";
import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, test } from "node:test";

import { parsePolicies } from "../policy/load.ts";
import { describeProblem } from "./config.ts";
import { parseConfig } from "./load.ts";

const guides = join(import.meta.dirname, "../../../docs/guides");
const root = mkdtempSync(join(tmpdir(), "custody-guides-"));
after(() => rmSync(root, { recursive: true }));
mkdirSync(join(root, "policies"));

function blocks(guide: string, language: string): string[] {
  const text = readFileSync(join(guides, guide), "utf8");
  return [...text.matchAll(/^```(\w+)\n(.*?)^```$/gms)].flatMap(([, found, block]) =>
    found === language && block !== undefined ? [block] : [],
  );
}

function mustLoad(text: string): void {
  const loaded = parseConfig(join(root, "custody.yaml"), text);
  assert.ok(loaded.ok, loaded.ok ? "" : loaded.problems.map(describeProblem).join("\n"));
}

test("the configuration of the first steps is valid", () => {
  const found = blocks("getting-started.md", "yaml");
  assert.equal(found.length, 2);
  mustLoad(`version: 1\n${found.join("")}`);
});

test("the accounts and classes of the page on targets are valid", () => {
  const [one, other, classes, detection, ...more] = blocks("target-setup.md", "yaml");
  assert.equal(more.length, 0);
  const target = (accounts: string | undefined) =>
    `version: 1\ntargets:\n  orders:\n    postgres:\n      host: db\n${indented(accounts, 6)}\n`;
  for (const accounts of [one, other]) mustLoad(target(accounts));
  mustLoad(target(one) + indented(classes, 4));
  mustLoad(target(one) + indented(detection, 6));
});

function indented(block: string | undefined, by: number): string {
  assert.ok(block !== undefined);
  const text = block.replaceAll("sealed:…", "sealed:abc").trimEnd();
  return text.replace(/^/gm, " ".repeat(by));
}

test("the exports of the page on auditing are valid", () => {
  writeFileSync(join(root, "siem-ca.pem"), "-----BEGIN CERTIFICATE-----\n");
  const found = blocks("auditing.md", "yaml").filter((block) => block.startsWith("export:"));
  assert.equal(found.length, 1);
  for (const block of found) mustLoad(`version: 1\n${block}`);
});

test("the target and the policies of the page on SSH are valid", () => {
  const [target, ...more] = blocks("ssh.md", "yaml");
  assert.equal(more.length, 0);
  mustLoad(`version: 1\n${target}`);
  const loaded = parsePolicies([{ name: "ssh.md", text: blocks("ssh.md", "cedar").join("\n") }]);
  assert.ok(loaded.ok, loaded.ok ? "" : JSON.stringify(loaded.problems));
});

test("the providers of the page on signing in are valid", () => {
  const found = blocks("signing-in.md", "yaml");
  assert.equal(found.length, 4);
  for (const file of ["idp.pem", "cluster-ca.pem"])
    writeFileSync(join(root, file), "-----BEGIN CERTIFICATE-----\n");
  for (const block of found) mustLoad(block);
});

test("the policies of the page on policies are a valid set", () => {
  const found = blocks("policies.md", "cedar");
  assert.equal(found.length, 3);
  const loaded = parsePolicies([{ name: "policies.md", text: found.join("\n") }]);
  assert.ok(loaded.ok, loaded.ok ? "" : JSON.stringify(loaded.problems));
});

test("the configuration, grammar and policies of the page on commands are valid", () => {
  const [configuration = "", grammar = ""] = blocks("commands.md", "yaml");
  mkdirSync(join(root, "grammars"));
  writeFileSync(join(root, "grammars/deploy.yaml"), grammar);
  mustLoad(`version: 1\n${configuration}`);
  const loaded = parsePolicies([
    { name: "commands.md", text: blocks("commands.md", "cedar").join("\n") },
  ]);
  assert.ok(loaded.ok, loaded.ok ? "" : JSON.stringify(loaded.problems));
});
