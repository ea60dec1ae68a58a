// Sessions, live and past, and their recordings. Reading a recording is an event of its own, on record
// before its first line is sent.

import type { TerminalLine } from "@custody/contract/sessions.ts";
import { GatewayError } from "../base/errors.ts";
import type { Lanes } from "../base/lanes.ts";
import { type Chain, leafOf, rootOf } from "../delegation/chain.ts";
import { leafChain } from "../delegation/leaf-chain.ts";
import type { ParticipantView } from "../session/control.ts";
import type { SessionRow } from "../session/store.ts";
import type { ApiDeps, ShellPlace } from "./deps.ts";
import { createTail, linesOf, sendLines } from "./ndjson.ts";
import type { Router } from "./routing.ts";
import { searchSessions } from "./session-search.ts";
import { sessionView } from "./views.ts";

/** Of a shell, for somebody whose connection is slow; beyond it they see a gap. */
const SHOWN_LIMIT = 200;
const ALIVE_MS = 15_000;
const MAX_LISTED = 500;
/** The newest sessions, of which a filter takes some. */
const MAX_FILTERED = 10_000;

export function addSessionRoutes(router: Router, deps: ApiDeps, lanes: Lanes): void {
  const { registry, store } = deps.sessions;
  const view = (row: SessionRow) => sessionView(row, registry.get(row.id));

  router.holder("sessions", async ({ chain, query, request }) => {
    const under = deps.authority.mayAdminister(chain) ? undefined : leafOf(chain).delegationId;
    const isFiltered = Object.entries(query).some(([name, value]) => name !== "state" && value);
    const of = { under, state: query.state };
    using _turn = await lanes.enter(rootOf(chain).subject);
    if (!isFiltered) return { sessions: store.list({ ...of, limit: MAX_LISTED }).map(view) };
    const { rows, searched } = await searchSessions(
      deps,
      { chain, clientAddress: request.ip },
      store.ids({ ...of, limit: MAX_FILTERED }),
      query,
    );
    const sessions = rows.slice(0, MAX_LISTED).map(view);
    return { sessions, ...(searched === undefined ? {} : { searched }) };
  });
  router.holder("session", async ({ chain, parameters }) =>
    view(visible(deps, chain, parameters.id)),
  );
  router.holder("endSession", async ({ chain, parameters, body, request }) => {
    const row = endable(deps, chain, parameters.id, request.ip);
    const why = body.reason === undefined ? "" : `: ${body.reason}`;
    const message = `${leafOf(chain).id} ended this session${why}`;
    const ended = registry.end(row.id, { code: "revoked", message, hint: undefined });
    return { session: view(store.find(row.id) ?? row), ended };
  });
  addShellRoutes(router, deps);
  router.stream("recording", async ({ chain, parameters, query, request, reply }) => {
    const row = store.find(parameters.id ?? "");
    if (row === undefined || !deps.authority.mayReplay(chain, row.target)) {
      const seen = row !== undefined && isOwn(chain, row);
      if (seen) throw new GatewayError("forbidden", "policies do not let you replay this session");
      throw notFound();
    }
    deps.evidence.journal.append({
      event: "recording.read",
      session: row.id,
      target: row.target,
      chain: leafChain(chain),
    });
    await deps.evidence.journal.settled();
    const mayUnmask = (name: string) => deps.authority.mayUnmask(chain, row, request.ip, name);
    const events = deps.evidence.readRecording(
      row.id,
      mayUnmask,
      query.from,
      query.screen !== undefined,
    );
    return sendLines(reply, linesOf(events, deps.outside.onFault));
  });
}

/** Watching live shells and taking part in them (session/participants.ts). */
function addShellRoutes(router: Router, deps: ApiDeps): void {
  const { participants, registry, store } = deps.sessions;
  router.stream("joinSession", async ({ chain, parameters, body, request, reply }) => {
    const row = store.find(parameters.id ?? "");
    const { mode } = body;
    if (row === undefined || !deps.authority.mayTakePart(chain, placeOf(row, request.ip), mode)) {
      if (row !== undefined && isOwn(chain, row))
        throw new GatewayError("forbidden", `policies do not let you join as ${mode}`);
      throw notFound();
    }
    const session = registry.get(row.id);
    if (session === undefined || row.protocol !== "ssh")
      throw new GatewayError("not_found", "this is no live session with a shell");
    const tail = createTail(SHOWN_LIMIT, ALIVE_MS);
    const participant = await participants.join({ session, chain, mode }, (view) => {
      tail.push(JSON.stringify(terminalLine(view)));
      if (view.kind === "end") tail.end();
    });
    tail.push(JSON.stringify({ kind: "joined", participant }));
    request.raw.socket.once("close", () => {
      participants.leave(participant);
      tail.close();
    });
    return sendLines(reply, tail);
  });
  router.holder("typeInSession", async ({ chain, parameters, body }) => {
    participants.type(parameters.id ?? "", chain, Buffer.from(body.bytes, "base64"));
    return {};
  });
}

function terminalLine(view: ParticipantView): TerminalLine {
  if (view.kind !== "output") return view;
  return { kind: "output", bytes: Buffer.from(view.bytes).toString("base64") };
}

function placeOf({ target, account }: SessionRow, clientAddress: string): ShellPlace {
  return { target, account, clientAddress };
}

/** A moderator ends what they may watch. */
function endable(deps: ApiDeps, chain: Chain, id: string | undefined, address: string): SessionRow {
  const row = deps.sessions.store.find(id ?? "");
  const isModerated =
    row?.protocol === "ssh" &&
    deps.authority.mayTakePart(chain, placeOf(row, address), "moderator");
  return isModerated ? row : visible(deps, chain, id);
}

function visible(deps: ApiDeps, chain: Chain, id: string | undefined): SessionRow {
  const row = deps.sessions.store.find(id ?? "");
  if (row !== undefined && (isOwn(chain, row) || deps.authority.mayAdminister(chain))) return row;
  throw notFound();
}

function isOwn(chain: Chain, row: SessionRow): boolean {
  const me = leafOf(chain).delegationId;
  return row.chain.hops.some(({ delegationId }) => delegationId === me);
}

function notFound(): GatewayError {
  return new GatewayError("not_found", "there is no such session, or not for you");
}
