// Inclusion and consistency proofs of RFC 6962, section 2.1.1 and 2.1.2, and their verification as in
// RFC 9162, section 2.1.3.2 and 2.1.4.2. Sizes may be beyond 32 bits: no bit operators on them.

import { equalBytes, largestPowerBelow, nodeHash } from "./merkle.ts";
import type { Sha256 } from "./sha256.ts";

/** MTH(D[start:end]) of a subtree; the caller reads tiles or keeps hashes. */
export type SubtreeHash = (start: number, end: number) => Uint8Array;

/** The audit path of entry `index` in the tree of `size` entries, from the leaf upwards. */
export function inclusionProof(subtree: SubtreeHash, index: number, size: number): Uint8Array[] {
  if (!(index >= 0 && index < size)) throw new RangeError("no such entry");
  const path = (start: number, end: number): Uint8Array[] => {
    if (end - start === 1) return [];
    const middle = start + largestPowerBelow(end - start);
    return index < middle
      ? [...path(start, middle), subtree(middle, end)]
      : [...path(middle, end), subtree(start, middle)];
  };
  return path(0, size);
}

/** From the tree of `first` entries to that of `second`; empty when one is 0 or both are equal. */
export function consistencyProof(
  subtree: SubtreeHash,
  first: number,
  second: number,
): Uint8Array[] {
  if (!(first >= 0 && first <= second)) throw new RangeError("no such trees");
  if (first === 0 || first === second) return [];
  const path = (start: number, end: number, isOld: boolean): Uint8Array[] => {
    if (end === first) return isOld ? [] : [subtree(start, end)];
    const middle = start + largestPowerBelow(end - start);
    return first <= middle
      ? [...path(start, middle, isOld), subtree(middle, end)]
      : [...path(middle, end, false), subtree(start, middle)];
  };
  return path(0, second, true);
}

/** Is the entry whose hash is `leaf` at `index` of the tree with this root? */
export function verifyInclusion(
  hash: Sha256,
  leaf: Uint8Array,
  index: number,
  size: number,
  root: Uint8Array,
  proof: readonly Uint8Array[],
): boolean {
  if (!(index >= 0 && index < size)) return false;
  let fn = index;
  let sn = size - 1;
  let computed = leaf;
  for (const sibling of proof) {
    if (sn === 0) return false;
    if (fn % 2 === 1 || fn === sn) {
      computed = nodeHash(hash, sibling, computed);
      while (fn % 2 === 0 && fn !== 0) {
        fn /= 2;
        sn = Math.floor(sn / 2);
      }
    } else {
      computed = nodeHash(hash, computed, sibling);
    }
    fn = Math.floor(fn / 2);
    sn = Math.floor(sn / 2);
  }
  return sn === 0 && equalBytes(computed, root);
}

/** Is the tree of `second` entries the one of `first` entries with more appended? */
export function verifyConsistency(
  hash: Sha256,
  first: number,
  firstRoot: Uint8Array,
  second: number,
  secondRoot: Uint8Array,
  proof: readonly Uint8Array[],
): boolean {
  if (!(first >= 0 && first <= second)) return false;
  if (first === second) return proof.length === 0 && equalBytes(firstRoot, secondRoot);
  if (first === 0) return proof.length === 0 && equalBytes(firstRoot, hash(new Uint8Array(0)));
  if (proof.length === 0) return false;
  const isPower = Number.isInteger(Math.log2(first));
  const [start, ...rest] = isPower ? [firstRoot, ...proof] : proof;
  let fn = first - 1;
  let sn = second - 1;
  while (fn % 2 === 1) {
    fn = Math.floor(fn / 2);
    sn = Math.floor(sn / 2);
  }
  let older = start!;
  let newer = start!;
  for (const sibling of rest) {
    if (sn === 0) return false;
    if (fn % 2 === 1 || fn === sn) {
      older = nodeHash(hash, sibling, older);
      newer = nodeHash(hash, sibling, newer);
      while (fn % 2 === 0 && fn !== 0) {
        fn /= 2;
        sn = Math.floor(sn / 2);
      }
    } else {
      newer = nodeHash(hash, newer, sibling);
    }
    fn = Math.floor(fn / 2);
    sn = Math.floor(sn / 2);
  }
  return sn === 0 && equalBytes(older, firstRoot) && equalBytes(newer, secondRoot);
}
