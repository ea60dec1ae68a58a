// Our proofs and transparency-dev/merkle's: the same for every tree of up to 40 records, each verified by
// the other, and altered ones refused by both.

import { spawnSync } from "node:child_process";
import { leafHash, rootOf } from "@custody/evidence/core/merkle.ts";
import {
  consistencyProof,
  inclusionProof,
  verifyConsistency,
  verifyInclusion,
} from "@custody/evidence/core/proof.ts";
import { sha256 } from "@custody/evidence/core/sha256.ts";
import { report } from "./report.ts";

interface Trees {
  readonly Leaves: string[];
  readonly Roots: string[];
  readonly Inclusion: { Index: number; Size: number; Proof: string[] | null }[];
  readonly Consistency: { First: number; Second: number; Proof: string[] | null }[];
}

const bytes = (base64: string) => Buffer.from(base64, "base64");
const text = (hashes: readonly Uint8Array[]) =>
  hashes.map((hash) => Buffer.from(hash).toString("base64")).join();
const flipped = (hashes: readonly Uint8Array[], at: number) =>
  hashes.map((hash, index) => (index === at ? hash.map((byte) => byte ^ 1) : hash));

export async function compareWithMerkle(tool: string): Promise<void> {
  const made = spawnSync(tool, ["trees"], { encoding: "utf8", maxBuffer: 64 << 20 });
  report("transparency-dev/merkle makes trees", made.status === 0, made.stderr);
  if (made.status !== 0) return;
  const trees = JSON.parse(made.stdout) as Trees;
  const leaves = trees.Leaves.map((leaf) => leafHash(sha256, bytes(leaf)));
  const roots = trees.Roots.map(bytes);
  const subtree = (start: number, end: number) => rootOf(sha256, leaves.slice(start, end));
  const wrongRoots = roots.filter((root, size) => !root.equals(subtree(0, size)));
  report(`${roots.length} roots are the same`, wrongRoots.length === 0);
  let wrong = 0;
  for (const { Index, Size, Proof } of trees.Inclusion) {
    const theirs = (Proof ?? []).map(bytes);
    const holds = (proof: readonly Uint8Array[], index = Index): boolean =>
      verifyInclusion(sha256, leaves[Index]!, index, Size, roots[Size]!, proof);
    const isRight =
      text(inclusionProof(subtree, Index, Size)) === text(theirs) &&
      holds(theirs) &&
      theirs.every((_, at) => !holds(flipped(theirs, at))) &&
      (theirs.length === 0 || !holds(theirs.slice(1))) &&
      !holds([...theirs, roots[1]!]) &&
      (Size === 1 || !holds(theirs, (Index + 1) % Size));
    if (!isRight) wrong++;
  }
  report(
    `${trees.Inclusion.length} proofs of inclusion are the same, altered ones refused`,
    wrong === 0,
  );
  wrong = 0;
  for (const { First, Second, Proof } of trees.Consistency) {
    const theirs = (Proof ?? []).map(bytes);
    const holds = (proof: readonly Uint8Array[]): boolean =>
      verifyConsistency(sha256, First, roots[First]!, Second, roots[Second]!, proof);
    const isRight =
      text(consistencyProof(subtree, First, Second)) === text(theirs) &&
      holds(theirs) &&
      theirs.every((_, at) => !holds(flipped(theirs, at))) &&
      !holds([...theirs, roots[1]!]);
    if (!isRight) wrong++;
  }
  report(
    `${trees.Consistency.length} proofs of consistency are the same, altered ones refused`,
    wrong === 0,
  );
  theirsOfOurs(tool, trees, subtree);
}

function theirsOfOurs(
  tool: string,
  trees: Trees,
  subtree: (start: number, end: number) => Uint8Array,
): void {
  const base64 = (value: Uint8Array) => Buffer.from(value).toString("base64");
  const proofs = trees.Inclusion.flatMap(({ Index, Size }) => {
    const right = inclusionProof(subtree, Index, Size);
    const root = base64(subtree(0, Size));
    const about = { Index, Size, Leaf: trees.Leaves[Index], Root: root };
    const altered = right.map((_, at) => ({
      ...about,
      Proof: flipped(right, at).map(base64),
      Holds: false,
    }));
    return [{ ...about, Proof: right.map(base64), Holds: true }, ...altered];
  });
  const checked = spawnSync(tool, ["proofs"], { encoding: "utf8", input: JSON.stringify(proofs) });
  report(
    `transparency-dev/merkle agrees about ${proofs.length} proofs of ours, right and altered`,
    checked.status === 0,
    checked.stderr,
  );
}
