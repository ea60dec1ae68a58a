// Plays an attempt against the real gateway and says what is wrong with what came of it.

import { once } from "node:events";
import { readFileSync } from "node:fs";
import { connect } from "node:net";
import { setTimeout as delay } from "node:timers/promises";
import {
  bind,
  describePortal,
  execute,
  parse,
  query,
  sync,
} from "@custody/wire/postgres/frontend.ts";
import { encodeCancelRequest } from "@custody/wire/postgres/startup.ts";
import { type Attempt, CATALOGUE_AGE_MS, type Extended } from "./attempt.ts";
import { type AttackStage, DATABASE } from "./stage.ts";
import { openWire, type Told, type Wire } from "./wire.ts";

/** A sentence each; none when the gateway held. */
export async function attack(stage: AttackStage, attempt: Attempt): Promise<string[]> {
  for (let left = attempt.retries ?? 0; ; left--) {
    const wrong = await attackOnce(stage, attempt);
    const leaked = wrong.some((sentence) => sentence.startsWith("LEAKED"));
    if (wrong.length === 0 || leaked || left === 0) return wrong;
  }
}

async function attackOnce(stage: AttackStage, attempt: Attempt): Promise<string[]> {
  const wires: Wire[] = [];
  try {
    return await play(stage, attempt, wires);
  } finally {
    for (const wire of wires) await wire[Symbol.asyncDispose]();
    if (attempt.undo !== undefined) {
      await stage.outside(attempt.undo);
      // A stream is judged by what is known just then.
      if (attempt.startup?.replication === undefined) await delay(CATALOGUE_AGE_MS);
    }
  }
}

async function play(stage: AttackStage, attempt: Attempt, wires: Wire[]): Promise<string[]> {
  let last = await enter(stage, attempt, wires);
  for (const step of attempt.steps) {
    const wire = wires.at(-1);
    if (wire === undefined || wire.closed) break;
    if (typeof step === "object" && "session" in step) last = await enter(stage, attempt, wires);
    else if (typeof step === "object" && "outside" in step) await stage.outside(step.outside);
    else if (typeof step === "object" && "written" in step)
      last = await write(stage, wire, step.written);
    else if (typeof step === "object" && "pauseMs" in step) await delay(step.pauseMs);
    else if (typeof step === "object" && "approvedLater" in step)
      last = await approveLater(stage, wire, step.approvedLater);
    else if (typeof step === "object" && "unlessHeld" in step)
      last = (await runUnlessHeld(stage, wire, step.unlessHeld)).told;
    else last = await say(wire, step);
  }
  const wrong = judge(attempt, last, wires.at(-1)?.closed === true);
  for (const wire of wires) {
    for (const found of stage.canaries.find(wire.received())) wrong.push(`LEAKED: ${found}`);
  }
  if (attempt.holds !== undefined) {
    const [row] = await stage.outside(attempt.holds);
    if (Object.values(row ?? {})[0] !== true) wrong.push(`no longer true: ${attempt.holds}`);
  }
  return wrong;
}

async function enter(
  stage: AttackStage,
  attempt: Attempt,
  wires: Wire[],
): Promise<readonly Told[]> {
  const { wire, greeting } = await openWire({
    ...stage.gateway.postgres,
    ca: readFileSync(stage.gateway.caFile, "utf8"),
    parameters: { user: "shop", database: DATABASE, ...attempt.startup },
    password: stage.handles[attempt.as ?? "wide"],
  });
  wires.push(wire);
  return greeting;
}

async function say(
  wire: Wire,
  step: string | Extended | { frames: readonly Buffer[]; readies: number },
): Promise<readonly Told[]> {
  if (typeof step === "string") {
    wire.send(query(step));
    return await wire.until(1, copiesNow);
  }
  if ("frames" in step) {
    wire.send(Buffer.concat(step.frames));
    return await wire.until(step.readies);
  }
  wire.send(Buffer.concat(extended(step)));
  return await wire.until(1);
}

/** CopyInResponse, CopyBothResponse: the server waits for us, or for changes. */
function copiesNow({ type }: Told): boolean {
  return type === "G" || type === "W";
}

let marks = 0;

/**
 * The publication has the table marks in it: when the row written last is in the stream, so is what came before.
 * What the stream is made of is no row of an answer; values in it are searched for as everywhere.
 */
async function write(
  stage: AttackStage,
  wire: Wire,
  sql: string | readonly string[],
): Promise<readonly Told[]> {
  for (const one of typeof sql === "string" ? [sql] : sql) await stage.outside(one);
  const mark = `mark ${++marks};`;
  await stage.outside(`insert into marks values ('${mark}')`);
  const told = await wire.until(1, ({ body, type }) => type === "d" && body.includes(mark));
  return told.filter(({ type }) => type !== "d");
}

export function extended(step: Extended): Buffer[] {
  const { values = [], binary = false, describe = true, maxRows = 0 } = step;
  return [
    parse("", step.extended),
    bind({
      portal: "",
      statement: "",
      parameterFormats: [],
      parameters: values.map((value) => (value === null ? null : Buffer.from(value))),
      resultFormats: binary ? [1] : [],
    }),
    ...(describe ? [describePortal("")] : []),
    execute("", maxRows),
    sync(),
  ];
}

/** Held, cancelled, and approved afterwards: the approval is there to be spent. */
async function approveLater(
  stage: AttackStage,
  wire: Wire,
  statement: string,
): Promise<readonly Told[]> {
  const { told, request } = await runUnlessHeld(stage, wire, statement);
  if (request === undefined) throw new Error(`was not held: ${statement}`);
  await stage.approve(request);
  return told;
}

async function runUnlessHeld(
  stage: AttackStage,
  wire: Wire,
  statement: string,
): Promise<{ told: readonly Told[]; request: string | undefined }> {
  wire.send(query(statement));
  const told = [...(await wire.until(1, ({ type }) => type === "N"))];
  const request = /h-[0-9a-z]+/.exec(told.at(-1)?.fields?.get("D") ?? "")?.[0];
  if (request === undefined) return { told, request };
  const { processId, key } = wire.cancelKey;
  const { host, port } = stage.gateway.postgres;
  const socket = connect({ host, port });
  await once(socket, "connect");
  socket.end(encodeCancelRequest(processId, key));
  told.push(...(await wire.until(1)));
  socket.destroy();
  return { told, request };
}

function judge({ must, says }: Attempt, told: readonly Told[], closed: boolean): string[] {
  const errors = told.filter(({ type }) => type === "E");
  const rows = told.filter(({ type }) => type === "D" || type === "d");
  const messages = errors.map(({ fields }) => `${fields?.get("C")} ${fields?.get("M")}`);
  const said = `${told.map(({ type }) => type).join("")} ${messages.join("; ")}`;
  const isSaid = says === undefined || messages.some((message) => says.test(message));
  const must_ = (holds: boolean) => (holds && isSaid ? [] : [`must be ${must}, was: ${said}`]);
  switch (must) {
    case "denied":
      return must_(errors.length > 0 && rows.length === 0 && !closed);
    case "masked":
      return must_(errors.length === 0 && rows.some(isMasked) && !closed);
    case "scrubbed":
      return must_(messages.some((message) => message.includes("withheld")) && !closed);
    case "closed":
      return must_(closed && rows.length === 0);
    case "harmless":
      return must_(errors.length === 0 && !closed);
  }
}

/** A value is a mask or NULL. */
function isMasked({ type, body }: Told): boolean {
  if (type !== "D") return false;
  return body.includes("[masked ") || body.includes(Buffer.of(0xff, 0xff, 0xff, 0xff));
}
