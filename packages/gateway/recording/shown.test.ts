import assert from "node:assert/strict";
import { test } from "node:test";
import type { RecordingEvent } from "@custody/evidence/core/recording.ts";
import { type AnswersShown, asSeenBy, UNMASKED_EVENT } from "./shown.ts";

const bytes = Buffer.from("ada@example.com").toString("base64");

function command(request: string): RecordingEvent {
  return { t: 1, kind: "command", request, bytes: "" };
}
function unmasked(request: string, ...classes: string[]): RecordingEvent {
  return { t: 1, kind: "event", request, type: UNMASKED_EVENT, data: { classes } };
}
function response(request: string): RecordingEvent {
  return { t: 2, kind: "response", request, bytes };
}
function data(
  request: string,
  stream: "stdin" | "stdout" | "upload" | "download" | "request" | "response",
): RecordingEvent {
  return { t: 2, kind: "data", request, channel: 0, stream, bytes };
}

const NOTHING: AnswersShown = { unmasked: new Map(), commands: new Map() };

async function seen(
  events: readonly RecordingEvent[],
  mayUnmask: (name: string) => boolean,
  log: AnswersShown = NOTHING,
  isWhole = true,
): Promise<RecordingEvent[]> {
  async function* source(): AsyncGenerator<RecordingEvent> {
    yield* events;
  }
  const given: RecordingEvent[] = [];
  for await (const event of asSeenBy(source(), log, { mayUnmask, isWhole })) given.push(event);
  return given;
}

const never = (): boolean => false;

test("who may unmask what is shown sees the recording as it is", async () => {
  const events = [command("r-1"), unmasked("r-1", "pii.email"), response("r-1")];
  assert.deepEqual(await seen(events, (name) => name === "pii.email"), events);
});

test("answers that show nothing unmasked are for every reader", async () => {
  const events = [
    command("r-1"),
    response("r-1"),
    data("r-1", "stdout"),
    { t: 3, kind: "end" } as const,
  ];
  assert.deepEqual(await seen(events, never), events);
});

test("an answer that shows what the reader may not unmask is not given, and only that one", async () => {
  const events: RecordingEvent[] = [
    command("r-1"),
    unmasked("r-1", "pii.email", "pii.name"),
    response("r-1"),
    response("r-1"),
    { t: 2, kind: "truncated", request: "r-1", length: 5, sha256: "x" },
    { t: 2, kind: "event", request: "r-1", type: "error", data: { text: "ada@example.com" } },
    { t: 2, kind: "event", request: "r-1", type: "held", data: { what: "select" } },
    command("r-2"),
    response("r-2"),
  ];
  const given = await seen(events, (name) => name === "pii.name");
  assert.deepEqual(
    given.map((event) => ("type" in event ? `${event.kind} ${event.type}` : event.kind)),
    ["command", "event unmasked", "event withheld", "event held", "command", "response"],
  );
  const [, , withheld] = given;
  assert.deepEqual(withheld?.kind === "event" && withheld.data.classes, ["pii.email"]);
  assert.ok(!JSON.stringify(given.slice(0, 5)).includes(bytes));
});

test("of streams, what was sent is given and what came back is not", async () => {
  for (const [stream, isGiven] of [
    ["upload", true],
    ["request", true],
    ["stdin", false],
    ["stdout", false],
    ["download", false],
    ["response", false],
  ] as const) {
    const given = await seen([unmasked("r-1", "secret.token"), data("r-1", stream)], never);
    assert.equal(given.at(-1)?.kind === "data", isGiven, stream);
  }
});

test("the log alone is enough: a recording that lost its word on it gives no more", async () => {
  const log = { unmasked: new Map([["r-1", ["pii.email"]]]), commands: new Map([["r-1", {}]]) };
  const given = await seen([command("r-1"), response("r-1")], never, log);
  assert.deepEqual(
    given.map(({ kind }) => kind),
    ["command", "event"],
  );
});

test("from the middle on, an answer of which nothing is known is not given", async () => {
  const log = { unmasked: new Map(), commands: new Map([["r-2", {}]]) };
  const events = [response("r-1"), response("r-2"), command("r-3"), response("r-3")];
  const given = await seen(events, () => true, log, false);
  assert.deepEqual(
    given.map(({ kind }) => kind),
    ["event", "response", "command", "response"],
  );
});

test("a malformed word on it withholds, whoever reads", async () => {
  const malformed: RecordingEvent = {
    ...{ t: 1, kind: "event", request: "r-1", type: UNMASKED_EVENT },
    data: { classes: "pii.email" },
  };
  const given = await seen([malformed, response("r-1")], () => true);
  assert.equal(given.at(-1)?.kind, "event");
});
