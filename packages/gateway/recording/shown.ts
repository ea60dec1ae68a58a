// A recording as its reader may see it. What a chain was let see unmasked is in its recording as it was shown;
// a reader who may not unmask those classes gets, in place of that command's answer, what was withheld and why.
// Which classes a command's answer shows is in its intent's leaf, and in the recording before the answer, for
// the log may be a second behind.
//
// Whole answers, not values: where in an answer a value is, is known to the session alone, and a part of one
// may say as much (a length, a row more).

import type { RecordingEvent } from "@custody/evidence/core/recording.ts";

/** The recording's event that says so. */
export const UNMASKED_EVENT = "unmasked";

export interface AnswersShown {
  /** By request: classes shown as they are, of the `command.intent` leaves that are published. */
  readonly unmasked: ReadonlyMap<string, readonly string[]>;
  /** Requests that have such a leaf. */
  readonly commands: { has(request: string): boolean };
}

export interface RecordingReader {
  readonly mayUnmask: (className: string) => boolean;
  /** The recording is read from its beginning. */
  readonly isWhole: boolean;
}

/** What the gateway says itself; holds nothing of an answer. */
const OWN_EVENTS: ReadonlySet<string> = new Set([
  ...[UNMASKED_EVENT, "denied", "held", "justification", "notice", "signal"],
]);
/** Said of a command whose classes cannot be known here. */
const UNKNOWN = ["unknown"];

export async function* asSeenBy(
  events: AsyncIterable<RecordingEvent>,
  log: AnswersShown,
  reader: RecordingReader,
): AsyncGenerator<RecordingEvent> {
  const allowed = new Map<string, boolean>();
  const mayUnmask = (name: string): boolean => {
    const known = allowed.get(name) ?? reader.mayUnmask(name);
    allowed.set(name, known);
    return known;
  };
  /** By request: what the reader may not see; empty when all may be. */
  const withheld = new Map<string, readonly string[]>();
  const said = new Set<string>();
  const hide = (request: string, classes: readonly string[]): void => {
    const hidden = classes.filter((name) => name === UNKNOWN[0] || !mayUnmask(name));
    const before = withheld.get(request) ?? [];
    withheld.set(request, before.length === 0 ? hidden : [...new Set([...before, ...hidden])]);
  };
  for await (const event of events) {
    const request = "request" in event ? event.request : undefined;
    if (request === undefined) {
      yield event;
      continue;
    }
    if (!withheld.has(request)) {
      const isKnown = reader.isWhole || log.commands.has(request) || isBegin(event);
      hide(request, isKnown ? (log.unmasked.get(request) ?? []) : UNKNOWN);
    }
    if (event.kind === "event" && event.type === UNMASKED_EVENT)
      hide(request, classesOf(event.data));
    const hidden = withheld.get(request) ?? [];
    if (hidden.length === 0 || !isAnswer(event)) {
      yield event;
    } else if (!said.has(request)) {
      said.add(request);
      const data = { classes: hidden, why: "you may not unmask what it shows" };
      yield { t: event.t, kind: "event", request, type: "withheld", data };
    }
  }
}

/** `unmasked` stands between these and the answer. */
function isBegin(event: RecordingEvent): boolean {
  return event.kind === "command" || event.kind === "command-digest";
}

function isAnswer(event: RecordingEvent): boolean {
  switch (event.kind) {
    case "response":
    case "screen":
    case "truncated":
      return true;
    case "data":
      // What was sent is the sender's own; of a terminal, what is typed is echoed among the rest.
      return event.stream !== "request" && event.stream !== "upload";
    case "event":
      return !OWN_EVENTS.has(event.type);
    default:
      return false;
  }
}

function classesOf({ classes }: Readonly<Record<string, unknown>>): readonly string[] {
  return Array.isArray(classes) ? classes.filter((name) => typeof name === "string") : UNKNOWN;
}
