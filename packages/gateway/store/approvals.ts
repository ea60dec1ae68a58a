// Requests for approval and votes in SQLite (approval/request.ts says what is asked of it).

import type { Requirement } from "../access/operation.ts";
import type {
  ApprovalRequest,
  ApprovalStore,
  PreviewPart,
  RequestState,
  Vote,
} from "../approval/request.ts";
import type { Chain } from "../delegation/chain.ts";
import {
  type Database,
  numberOf,
  optionalNumber,
  optionalText,
  type Parameters,
  type Row,
  textOf,
} from "./database.ts";

const INSERT_SQL = `
  INSERT INTO requests (id, binding, delegation_id, session_id, request_id, target, account, what,
    command, command_truncated, parameters_json, preview_json, requirements_json, chain_json, justification,
    state, created_at, expires_at)
  VALUES ($id, $binding, $delegation, $session, $request, $target, $account, $what,
    $command, $truncated, $parameters, $preview, $requirements, $chain, $justification,
    $state, $created, $expires)`;

const LIVE = "state IN ('waiting', 'approved')";

const LIVE_UNDER_SQL = `
  WITH RECURSIVE below (id) AS (
    SELECT id FROM delegations WHERE id = $delegationId
    UNION
    SELECT child.id FROM delegations AS child JOIN below ON child.parent_id = below.id
  )
  SELECT * FROM requests WHERE ${LIVE} AND delegation_id IN (SELECT id FROM below)
  LIMIT $limit`;

// In the order of an index, so that nothing is sorted: a row may be as long as its command.
const BEHIND = "(created_at, id) < ($at, $id)";
const NEWEST = "ORDER BY created_at DESC, id DESC LIMIT $limit";

export function createApprovalStore(database: Database): ApprovalStore {
  const read = (row: Row): ApprovalRequest => requestOf(database, row);
  return {
    atomically: (work) => database.transaction(work),
    insert(request) {
      database.run(INSERT_SQL, parametersOf(request));
    },
    find(id) {
      const row = database.get("SELECT * FROM requests WHERE id = $id", { id });
      return row === undefined ? undefined : read(row);
    },
    findLive(binding, delegationId) {
      const row = database.get(
        `SELECT * FROM requests
         WHERE delegation_id = $delegationId AND binding = $binding AND ${LIVE}`,
        { binding, delegationId },
      );
      return row === undefined ? undefined : read(row);
    },
    countLive(delegationId) {
      const row = database.get(
        `SELECT count(*) AS n FROM requests WHERE delegation_id = $delegationId AND ${LIVE}`,
        { delegationId },
      );
      return numberOf(row ?? {}, "n");
    },
    list(state, limit, after) {
      // The first is behind this: no time is later.
      const { createdAtMs: at, id } = after ?? { createdAtMs: Number.MAX_SAFE_INTEGER, id: "" };
      const rows =
        state === undefined
          ? database.all(`SELECT * FROM requests WHERE ${BEHIND} ${NEWEST}`, { at, id, limit })
          : database.all(`SELECT * FROM requests WHERE state = $state AND ${BEHIND} ${NEWEST}`, {
              ...{ state, at, id, limit },
            });
      return rows.map(read);
    },
    overdue: (nowMs, limit) =>
      database
        .all(`SELECT * FROM requests WHERE ${LIVE} AND expires_at <= $nowMs LIMIT $limit`, {
          nowMs,
          limit,
        })
        .map(read),
    liveUnder: (delegationId, limit) =>
      database.all(LIVE_UNDER_SQL, { delegationId, limit }).map(read),
    addVote: (id, vote) =>
      database.run(
        `INSERT INTO votes (request_id, person, entity_id, delegation_id, vote, policies_json, reason,
           at)
         VALUES ($id, $person, $entity, $delegation, $vote, $policies, $reason, $at) ON CONFLICT DO NOTHING`,
        {
          id,
          person: vote.person,
          entity: vote.entityId,
          delegation: vote.delegationId ?? null,
          vote: vote.vote,
          policies: JSON.stringify(vote.policyIds),
          reason: vote.reason ?? null,
          at: vote.atMs,
        },
      ) === 1,
    move: (id, from, to, endedAtMs) =>
      database.run(
        "UPDATE requests SET state = $to, ended_at = $ended WHERE id = $id AND state = $from",
        { id, from, to, ended: endedAtMs ?? null },
      ) === 1,
    spend: (id, binding, nowMs) =>
      database.run(
        `UPDATE requests SET state = 'spent', ended_at = $nowMs
         WHERE id = $id AND binding = $binding AND state = 'approved' AND expires_at > $nowMs`,
        { id, binding, nowMs },
      ) === 1,
  };
}

function parametersOf(request: ApprovalRequest): Parameters {
  return {
    id: request.id,
    binding: request.binding,
    delegation: request.delegationId,
    session: request.sessionId,
    request: request.requestId,
    target: request.target,
    account: request.account,
    what: request.what,
    command: request.command,
    truncated: Number(request.commandTruncated),
    parameters: JSON.stringify(request.parameters),
    preview: JSON.stringify(request.preview ?? []),
    requirements: JSON.stringify(request.requirements),
    chain: JSON.stringify(request.chain),
    justification: request.justification ?? null,
    state: request.state,
    created: request.createdAtMs,
    expires: request.expiresAtMs,
  };
}

function requestOf(database: Database, row: Row): ApprovalRequest {
  const id = textOf(row, "id");
  return {
    id,
    binding: textOf(row, "binding"),
    delegationId: textOf(row, "delegation_id"),
    chain: JSON.parse(textOf(row, "chain_json")) as Chain,
    sessionId: textOf(row, "session_id"),
    requestId: textOf(row, "request_id"),
    target: textOf(row, "target"),
    account: textOf(row, "account"),
    what: textOf(row, "what"),
    command: textOf(row, "command"),
    commandTruncated: numberOf(row, "command_truncated") === 1,
    parameters: JSON.parse(textOf(row, "parameters_json")) as (string | null)[],
    preview: JSON.parse(textOf(row, "preview_json")) as PreviewPart[],
    requirements: JSON.parse(textOf(row, "requirements_json")) as Requirement[],
    justification: optionalText(row, "justification"),
    state: textOf(row, "state") as RequestState,
    createdAtMs: numberOf(row, "created_at"),
    expiresAtMs: numberOf(row, "expires_at"),
    endedAtMs: optionalNumber(row, "ended_at"),
    votes: database
      .all("SELECT * FROM votes WHERE request_id = $id ORDER BY at, person", { id })
      .map(voteOf),
  };
}

function voteOf(row: Row): Vote {
  return {
    person: textOf(row, "person"),
    entityId: textOf(row, "entity_id"),
    delegationId: optionalText(row, "delegation_id"),
    vote: textOf(row, "vote") as Vote["vote"],
    policyIds: JSON.parse(textOf(row, "policies_json")) as string[],
    reason: optionalText(row, "reason"),
    atMs: numberOf(row, "at"),
  };
}
