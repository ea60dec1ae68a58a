// What was checked, a line each, and how many.

import { spawnSync } from "node:child_process";

let passed = 0;
let failed = 0;
let skipped = 0;

export function report(what: string, isGood: boolean, output = ""): void {
  if (isGood) passed++;
  else failed++;
  console.log(`${isGood ? "ok    " : "FAILED"} ${what}${isGood ? "" : `\n${output}`}`);
}

export function skip(what: string, why: string): void {
  skipped++;
  console.log(`skipped ${what}: ${why}`);
}

export function has(program: string, ...args: string[]): boolean {
  return spawnSync(program, args, { stdio: "ignore" }).status === 0;
}

export function hasFailed(): boolean {
  return failed > 0;
}

export function closingLine(): string {
  return `${passed} passed, ${failed} failed, ${skipped} skipped`;
}
