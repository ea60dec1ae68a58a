// A delegation is revoked while sessions live below it, each with a statement running that waits for a lock:
// how long until the last client was told, until the last statement was ended on the server, and until the
// last backend is gone from pg_stat_activity. The last is held against the same number of direct sessions
// that one pg_terminate_backend ends: how fast processes end is the server's and the machine's.
//   node bench/revoke.ts [--json] [--runs N] [--sessions N] [--profile FOLDER]

import { readFileSync } from "node:fs";
import { setTimeout as delay } from "node:timers/promises";
import { parseArgs } from "node:util";
import pg from "pg";
import { Agent, request } from "undici";
import { type LiveStage, openLiveStage } from "./live-stage.ts";
import { median, printRows, type Row } from "./rows.ts";

const { values } = parseArgs({
  options: {
    json: { type: "boolean", default: false },
    runs: { type: "string", default: "3" },
    sessions: { type: "string", default: "1000" },
    profile: { type: "string" },
  },
});
const runs = Number(values.runs);
const sessions = Number(values.sessions);

/** Connections at once while the sessions are opened. */
const OPENING = 32;
const POLL_MS = 5;

interface Measured {
  readonly toldMs: number;
  readonly endedMs: number;
  readonly goneMs: number;
}

const through: Measured[] = [];
const direct: Measured[] = [];
for (let run = 0; run < runs; run++) await once();
const rows: Row[] = [
  rowOf("last client told", ({ toldMs }) => toldMs),
  rowOf("last statement ended", ({ endedMs }) => endedMs),
  rowOf("last backend gone", ({ goneMs }) => goneMs),
];
printRows(rows, values.json);

function rowOf(what: string, of: (one: Measured) => number): Row {
  const value = median(through.map(of));
  const peer = median(direct.map(of));
  return {
    name: `revoke ${sessions} sessions: ${what}`,
    unit: "ms",
    value,
    against: `direct and pg_terminate_backend, ${peer.toFixed(0)} ms`,
    ratio: value / peer,
    runs,
  };
}

async function once(): Promise<void> {
  await using stage = await openLiveStage({ sessions, depth: 2, profileFolder: values.profile });
  const [above, below] = stage.hops;
  if (above === undefined || below === undefined) throw new Error("no delegations");
  const watcher = new pg.Client(stage.postgres.connection("bench"));
  await watcher.connect();
  const blocker = new pg.Client(stage.postgres.connection("bench"));
  await blocker.connect();
  await blocker.query("begin; select * from counters for update");
  const login = {
    ...stage.postgres.connection("bench"),
    user: "bench_direct",
    password: stage.directPassword,
  };
  direct.push(
    await measure(
      watcher,
      "bench_direct",
      () => new pg.Client(login),
      async () => {
        await blocker.query(
          "select pg_terminate_backend(pid) from pg_stat_activity where usename = 'bench_direct'",
        );
      },
    ),
  );
  const api = await revoker(stage);
  through.push(
    await measure(
      watcher,
      "custody",
      () => stage.client(below.handle),
      () => api.revoke(above.id),
    ),
  );
  await blocker.end();
  await watcher.end();
  await api.close();
}

async function measure(
  watcher: pg.Client,
  user: string,
  client: () => pg.Client,
  end: () => Promise<void>,
): Promise<Measured> {
  const clients = await openAll(client);
  const told = clients.map((one, index) =>
    one.query("update counters set value = value + 1 where id = $1", [index + 1]).then(
      () => Promise.reject(new Error("a statement that waited for a lock went through")),
      () => undefined,
    ),
  );
  const count = async (and: string) => {
    const { rows: found } = await watcher.query(
      `select count(*)::int as n from pg_stat_activity where starts_with(usename, '${user}') ${and}`,
    );
    return Number(found[0]?.n);
  };
  const waiting = "and wait_event_type = 'Lock'";
  await until(async () => (await count(waiting)) === sessions);
  const startedMs = performance.now();
  const passed = () => performance.now() - startedMs;
  const watch = async () => {
    await until(async () => (await count(waiting)) === 0);
    const endedMs = passed();
    await until(async () => (await count("")) === 0);
    return [endedMs, passed()] as const;
  };
  const [toldMs, [endedMs, goneMs]] = await Promise.all([
    Promise.all(told).then(passed),
    watch(),
    end(),
  ]);
  return { toldMs, endedMs, goneMs };
}

async function openAll(make: () => pg.Client): Promise<readonly pg.Client[]> {
  const clients = Array.from({ length: sessions }, make);
  const waiting = [...clients];
  const open = async (): Promise<void> => {
    for (let client = waiting.pop(); client !== undefined; client = waiting.pop()) {
      client.on("error", () => undefined);
      await client.connect();
    }
  };
  await Promise.all(Array.from({ length: OPENING }, open));
  return clients;
}

/** A connection to the control API that is open already: how a command line starts is not measured. */
async function revoker(stage: LiveStage) {
  const { token } = JSON.parse(await stage.custody("token"));
  const agent = new Agent({ connect: { ca: readFileSync(stage.gateway.caFile, "utf8") } });
  const headers = { authorization: `Bearer ${token}`, "content-type": "application/json" };
  const warm = await request(`${stage.gateway.url}/v1/whoami`, { dispatcher: agent, headers });
  await warm.body.dump();
  return {
    async revoke(id: string): Promise<void> {
      const url = `${stage.gateway.url}/v1/delegations/${id}/revoke`;
      const answer = await request(url, { method: "POST", dispatcher: agent, headers, body: "{}" });
      if (answer.statusCode !== 200) throw new Error(await answer.body.text());
      await answer.body.dump();
    },
    close: () => agent.close(),
  };
}

async function until(holds: () => Promise<boolean>): Promise<void> {
  while (!(await holds())) await delay(POLL_MS);
}
