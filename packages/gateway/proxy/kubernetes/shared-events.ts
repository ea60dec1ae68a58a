// What many watches are told at once is masked once. The API server writes the same bytes to each of them,
// and what a mask makes of bytes depends on the bytes and on what of them may be shown, nothing else: what
// is kept here is found by exactly these, every byte of them. Nothing here decides anything: whether a watch
// may go on and which of its objects are shown is judged for each by itself.
//
// Who owns the state: one a listener. It has unmasked values in it, so it forgets within seconds.

import { DocumentSplitter, type SplitLimits } from "@custody/wire/kubernetes/json-split.ts";
import type { MaskName } from "../../masking/masks.ts";
import { ENVIRONMENT_CLASS, SECRET_CLASS } from "../../target/kubernetes-target.ts";
import { type AnswerMaskPlan, createAnswerMask } from "./answer-mask.ts";

/** One watch's view of it. */
export interface SharedMasking {
  /** undefined: these are not whole events, and who asked has to put them together. Throws for what is none. */
  apply(bytes: Buffer): SharedEvents | undefined;
  /** Classes of what was masked so far. */
  readonly masked: ReadonlySet<string>;
}

/** What becomes of the bytes that came at once. */
export interface SharedEvents {
  readonly bytes: Buffer;
  /** Events in it. */
  readonly rows: number;
  /** Classes of what was masked in it. */
  readonly masked: readonly string[];
}

const MAX_BYTES = 4 << 20;
const KEPT_MS = 1000;
const NEWLINE = Buffer.from("\n");

export class EventSharing {
  /** The second is what the first was a moment ago. */
  #young = new Map<string, SharedEvents>();
  #old = new Map<string, SharedEvents>();
  #youngBytes = 0;
  #timer: NodeJS.Timeout | undefined;

  /** `way` of the bytes (`maskingWay`); made where nobody was given the same just now. */
  of(way: string, bytes: Buffer, make: () => SharedEvents | undefined): SharedEvents | undefined {
    const key = `${way}\n${bytes.toString("latin1")}`;
    const known = this.#young.get(key) ?? this.#old.get(key);
    if (known !== undefined) return known;
    const made = make();
    if (made === undefined) return undefined;
    const size = key.length + made.bytes.length;
    if (size > MAX_BYTES) return made;
    if (this.#youngBytes + size > MAX_BYTES) this.#age();
    this.#young.set(key, made);
    this.#youngBytes += size;
    this.#timer ??= setInterval(() => this.#age(), KEPT_MS).unref();
    return made;
  }

  #age(): void {
    this.#old = this.#young;
    this.#young = new Map();
    this.#youngBytes = 0;
    if (this.#old.size > 0) return;
    clearInterval(this.#timer);
    this.#timer = undefined;
  }
}

export function shareMasking(
  events: EventSharing,
  plan: AnswerMaskPlan,
  limits: SplitLimits,
): SharedMasking {
  const way = maskingWay(plan);
  const masked = new Set<string>();
  return {
    masked,
    apply(bytes) {
      const shared = events.of(way(), bytes, () => maskEvents(bytes, plan, limits));
      for (const name of shared?.masked ?? []) masked.add(name);
      return shared;
    },
  };
}

/** All that what a mask makes of some bytes depends on, besides the bytes; masks change with the configuration. */
function maskingWay({ fields, isSecrets, maskOf, shown }: AnswerMaskPlan): () => string {
  const classes = [SECRET_CLASS, ENVIRONMENT_CLASS, ...fields.map((field) => field.class)];
  const paths = fields.map((field) => [field.class, field.field]);
  let masks: readonly MaskName[] = [];
  let way = "";
  return () => {
    if (classes.some((name, index) => masks[index] !== maskOf(name))) {
      masks = classes.map(maskOf);
      way = JSON.stringify([isSecrets, paths, [...shown].sort(), masks]);
    }
    return way;
  };
}

function maskEvents(
  bytes: Buffer,
  plan: AnswerMaskPlan,
  limits: SplitLimits,
): SharedEvents | undefined {
  const mask = createAnswerMask(plan);
  const parts: Buffer[] = [];
  const splitter = new DocumentSplitter(
    (event) => parts.push(mask.apply(event, true), NEWLINE),
    limits,
  );
  splitter.push(bytes);
  if (!splitter.isBetween) return undefined;
  return { bytes: Buffer.concat(parts), rows: parts.length / 2, masked: [...mask.masked] };
}
