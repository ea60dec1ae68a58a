// The log's files as they lie on disk (C2SP tlog-tiles), each shard a log of its own, the tail of leaves, and
// health.
//
// The head and its key hold nothing about anybody and are open, for witnesses and monitors. Tiles and
// entries name chains, so they want a right to replay or administer. A path is matched whole against
// the form the specification gives, before it comes near the file system.

import { readFile } from "node:fs/promises";
import { join } from "node:path";
import { isShardName } from "@custody/evidence/core/log-shard.ts";
import type { FastifyReply } from "fastify";
import { listShards } from "../audit/log-shards.ts";
import { GatewayError } from "../base/errors.ts";
import type { Chain } from "../delegation/chain.ts";
import { leafChain } from "../delegation/leaf-chain.ts";
import type { ApiDeps } from "./deps.ts";
import { createTail, sendLines } from "./ndjson.ts";
import type { Router } from "./routing.ts";

// <level or "entries">/<index in groups of three, all but the last with an x>[.p/<width>]
const TILE = /^(?:entries|[0-9]|[1-5][0-9]|6[0-3])(?:\/x\d{3}){0,5}\/\d{3}(?:\.p\/[1-9]\d{0,2})?$/;
const TAIL_LIMIT = 1000;
const ALIVE_MS = 15_000;
const ENDED = { error: { code: "revoked", message: "your sign-in has ended" } };

export function addAuditRoutes(router: Router, deps: ApiDeps): void {
  const { logDirectory, vkey, journal } = deps.evidence;
  const sendHead = async (reply: FastifyReply, ...path: string[]): Promise<string> => {
    reply.type("text/plain; charset=utf-8").header("cache-control", "no-cache");
    return (await fileOf(join(logDirectory, ...path))).toString("utf8");
  };
  const sendTile = async (reply: FastifyReply, folder: string, path: string) => {
    if (!TILE.test(path)) throw new GatewayError("not_found", "there is no such tile");
    const bytes = await fileOf(join(logDirectory, folder, "tile", ...path.split("/")));
    // A tile never changes, a partial one neither; who may read it is asked each time it is fetched.
    reply.header("cache-control", "private, max-age=31536000, immutable");
    return reply.type("application/octet-stream").send(bytes);
  };
  router.anyone("checkpoint", ({ reply }) => sendHead(reply, "checkpoint"));
  router.anyone("cosigned", ({ reply }) => sendHead(reply, "cosigned"));
  router.anyone("vkey", async ({ reply }) => {
    reply.type("text/plain; charset=utf-8");
    return `${vkey().trim()}\n`;
  });
  router.anyone("shards", async () => ({ shards: listShards(logDirectory, vkey()) }));
  router.anyone("shardCheckpoint", ({ parameters, reply }) =>
    sendHead(reply, shardIn(parameters), "checkpoint"),
  );
  router.anyone("shardCosigned", ({ parameters, reply }) =>
    sendHead(reply, shardIn(parameters), "cosigned"),
  );
  router.stream("tile", async ({ chain, parameters, reply }) => {
    assertMayRead(deps, chain);
    return sendTile(reply, "", parameters["*"] ?? "");
  });
  router.stream("shardTile", async ({ chain, parameters, reply }) => {
    assertMayRead(deps, chain);
    return sendTile(reply, shardIn(parameters), parameters["*"] ?? "");
  });
  router.stream("events", async ({ chain, onEnd, request, reply }) => {
    assertMayRead(deps, chain);
    journal.append({ event: "audit.read", chain: leafChain(chain) });
    await journal.settled();
    const tail = createTail(TAIL_LIMIT, ALIVE_MS);
    const stop = journal.tail((leafJson) => tail.push(leafJson));
    onEnd(() => {
      stop();
      tail.push(JSON.stringify(ENDED));
      tail.end();
    });
    request.raw.socket.once("close", () => {
      stop();
      tail.close();
    });
    return sendLines(reply, tail);
  });
  router.anyone("healthz", async () => ({ status: "ok" as const }));
  router.anyone("readyz", async ({ reply }) => {
    const checks = Object.entries(deps.outside.ready());
    const ready = checks.every(([, ok]) => ok);
    if (!ready) reply.code(503);
    return {
      status: ready ? ("ready" as const) : ("not_ready" as const),
      checks: Object.fromEntries(
        checks.map(([name, ok]) => [name, ok ? ("ok" as const) : ("failed" as const)]),
      ),
    };
  });
}

function shardIn({ shard = "" }: Readonly<Record<string, string>>): string {
  if (!isShardName(shard)) throw new GatewayError("not_found", "there is no such shard");
  return shard;
}

function assertMayRead(deps: ApiDeps, chain: Chain): void {
  const { authority } = deps;
  if (authority.mayAdminister(chain) || authority.mayReplay(chain, undefined)) return;
  throw new GatewayError("forbidden", "the log's entries are for who may replay or administer");
}

async function fileOf(path: string): Promise<Buffer> {
  try {
    return await readFile(path);
  } catch (thrown) {
    if (["ENOENT", "EISDIR", "ENOTDIR"].includes(Object(thrown).code))
      throw new GatewayError("not_found", "there is no such file in the log", { cause: thrown });
    throw new GatewayError("evidence_unavailable", "the log cannot be read", { cause: thrown });
  }
}
