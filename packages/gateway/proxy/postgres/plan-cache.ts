// Plans by exact text and, for plain statements that differ in small whole numbers alone, by what is
// left of the text without them: clients that put values into the text send a new one each time, and
// parsing costs a hundred times a look-up. The least recently used leave first.
//
// When a number may not matter: see `skeletonOf`. The plan's operation is shared, so its decision is
// cached too; the text, and with it the digest and the recording, is always the one that was sent.

import type { QueryPlan } from "./plan.ts";

export interface PlanCache {
  get(text: string): QueryPlan | undefined;
  set(text: string, plan: QueryPlan): void;
  clear(): void;
}

export function createPlanCache(maxBytes: number): PlanCache {
  const plans = new Map<string, QueryPlan>();
  let bytes = 0;
  const recall = (key: string): QueryPlan | undefined => {
    const plan = plans.get(key);
    if (plan === undefined) return undefined;
    plans.delete(key);
    plans.set(key, plan);
    return plan;
  };
  return {
    get(text) {
      const exact = recall(text);
      if (exact !== undefined) return exact;
      const skeleton = skeletonOf(text);
      const alike = skeleton === undefined ? undefined : recall(skeleton);
      return alike === undefined || alike.text === text ? alike : { ...alike, text };
    },
    set(text, plan) {
      const key = skeletonOf(text) ?? text;
      const size = sizeOf(key, plan);
      if (size > maxBytes / 4 || plans.has(key)) return;
      plans.set(key, plan);
      bytes += size;
      for (const [oldest, stale] of plans) {
        if (bytes <= maxBytes) break;
        plans.delete(oldest);
        bytes -= sizeOf(oldest, stale);
      }
    },
    clear() {
      plans.clear();
      bytes = 0;
    },
  };
}

/** An estimate: the text in UTF-16 and what its plan's parts take. */
function sizeOf(text: string, plan: QueryPlan): number {
  let parts = 4;
  for (const { columns, operation } of plan.statements)
    parts += (columns?.length ?? 0) + operation.effects.length + operation.touches.length + 4;
  return text.length * 2 + parts * 160;
}

const MAX_SKELETON_CHARACTERS = 4096;
/** Where a number can stand for a column, or change what is read: ORDER BY 2, GROUP BY 1. */
const NUMBERS_MATTER = /\b(order|group|distinct|over|window|within|partition|tablesample)\b/i;
const BEGINNING = /^\s*(select|insert|update|delete)\b/i;
/** A NUL cannot stand in a text, so no text is taken for a skeleton. */
const PLACE = "\u0000";

/**
 * The text with each whole number of one to nine digits (an int4 whatever its value) taken out;
 * undefined when there is none, or when numbers could matter or the text is more than one plain
 * statement: strings, quoted names, comments, dollars, backslashes, semicolons before the end and
 * anything that is not ASCII leave it to the exact text.
 */
export function skeletonOf(text: string): string | undefined {
  if (text.length > MAX_SKELETON_CHARACTERS || !BEGINNING.test(text)) return undefined;
  let skeleton = "";
  let from = 0;
  for (let at = 0; at < text.length; at++) {
    const code = text.charCodeAt(at);
    if (isDigit(code)) {
      const end = endOfDigits(text, at);
      if (isNumber(text, at, end)) {
        skeleton += text.slice(from, at) + PLACE;
        from = end;
      }
      at = end - 1;
    } else if (!isPlain(code, text, at)) return undefined;
  }
  if (from === 0 || NUMBERS_MATTER.test(text)) return undefined;
  return skeleton + text.slice(from);
}

function isDigit(code: number): boolean {
  return code >= 0x30 && code <= 0x39;
}

function endOfDigits(text: string, start: number): number {
  let end = start;
  while (isDigit(text.charCodeAt(end))) end++;
  return end;
}

/** Not part of a name, a fraction, an exponent, a hexadecimal or an underscored number. */
function isNumber(text: string, start: number, end: number): boolean {
  if (end - start > 9) return false;
  return !isWordOrDot(text.charCodeAt(start - 1)) && !isWordOrDot(text.charCodeAt(end));
}

function isWordOrDot(code: number): boolean {
  const letter = code | 0x20;
  return (letter >= 0x61 && letter <= 0x7a) || code === 0x5f || code === 0x2e || isDigit(code);
}

/** Characters that cannot begin anything in which a number is not a number. */
function isPlain(code: number, text: string, at: number): boolean {
  if (code > 0x7e) return false;
  switch (code) {
    case 0x22: // "
    case 0x24: // $
    case 0x26: // & (U&'…')
    case 0x27: // '
    case 0x5c: // \
      return false;
    case 0x2d: // -
      return text.charCodeAt(at + 1) !== 0x2d;
    case 0x2f: // /
      return text.charCodeAt(at + 1) !== 0x2a;
    case 0x3b: // ;
      return text.slice(at + 1).trim() === "";
    default:
      return code >= 0x20 || code === 0x09 || code === 0x0a || code === 0x0d;
  }
}
