// Our log held against the target's own: a real PostgreSQL that logs as JSON and as CSV, a client that
// comes through the gateway and one that does not; Kubernetes' and sshd's logs in their own forms.

import assert from "node:assert/strict";
import { cpSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, describe, test } from "node:test";
import { setTimeout as delay } from "node:timers/promises";
import { decodeLeaf } from "@custody/evidence/core/leaf.ts";
import { logRecords } from "@custody/evidence/node/prove.ts";
import { type ReconcileReport, reconcile } from "@custody/evidence/node/reconcile.ts";
import { openJournal } from "@custody/gateway/audit/journal-writer.ts";
import { openLog } from "@custody/gateway/audit/log.ts";
import { systemClock } from "@custody/gateway/base/clock.ts";
import pg from "pg";
import { openPeers, type Peer } from "../postgres/peers.ts";
import { runCustody } from "../support/command-line.ts";

const folder = mkdtempSync(join(tmpdir(), "custody-reconcile-"));
after(() => rmSync(folder, { recursive: true, force: true }));

async function say(peer: Peer, ...statements: string[]): Promise<void> {
  const ssl = { ca: readFileSync(peer.caFile, "utf8") };
  const { user, password, database, port } = peer;
  const client = new pg.Client({ host: "localhost", port, user, password, database, ssl });
  await client.connect();
  for (const text of statements)
    await client.query(text.includes("$1") ? { text, values: [7] } : text).catch(() => undefined);
  await client.end();
}

const WAIT_MS = 30_000;

/** What throws has not come to it yet: a log is copied while it is written. */
async function until(holds: () => boolean): Promise<void> {
  for (const untilMs = Date.now() + WAIT_MS; ; await delay(100))
    try {
      if (holds()) return;
      assert.ok(Date.now() < untilMs, "it did not come");
    } catch (error) {
      if (Date.now() >= untilMs) throw error;
    }
}

test("what went round the gateway is found, in both of PostgreSQL's forms", async () => {
  await using peers = await openPeers({
    ...{ logging_collector: "on", log_destination: "jsonlog,csvlog", log_directory: "kept" },
    ...{ log_statement: "all", log_connections: "on" },
  });
  const { log_directory: kept } = (
    await peers.server.query(
      "postgres",
      "select current_setting('data_directory') || '/' || current_setting('log_directory') as log_directory",
    )
  )[0] as { log_directory: string };
  await say(
    peers.gateway,
    "select 1 as through",
    "select $1::int as \"with 'quotes'\"",
    "drop table nothing",
  );
  await say(peers.direct, "select 2 as round,\n  'line \"break\"'");
  const log = join(folder, "log");
  await until(() => {
    rmSync(log, { recursive: true, force: true });
    cpSync(join(peers.process.dataFolder, "log"), log, { recursive: true });
    const events = [...logRecords(log)].map(({ entry }) => decodeLeaf(entry).event);
    const count = (event: string) => events.filter((one) => one === event).length;
    return count("command.intent") >= 2 && count("session.opened") === count("session.closed");
  });
  for (const form of ["json", "csv"]) {
    const [name] = readdirSync(kept).filter((one) => one.endsWith(`.${form}`));
    assert.ok(name);
    const file = join(kept, name);
    await until(() => readFileSync(file, "utf8").includes("select 2 as round"));
    const asked = ["audit", "reconcile", "--log", log, "--target", "suite", "--json"];
    const result = await runCustody(
      [...asked, "--postgres", file, "--own", "custody_admin", "postgres"],
      { home: folder },
    );
    assert.equal(result.exitCode, 5, result.stdout + result.stderr);
    const report = result.json as ReconcileReport;
    assert.equal(report.unreadable, 0);
    assert.deepEqual(report.notInLog, []);
    assert.deepEqual(report.notAtTarget, []);
    assert.ok(report.matched >= 3, `${report.matched} matched`);
    assert.ok(report.own > 0);
    assert.deepEqual([...new Set(report.withoutUs.map(({ who }) => who))], ["direct"]);
    assert.ok(report.withoutUs.some(({ what }) => what.startsWith("select 2 as round,\n")));
    const clean = join(folder, `clean.${form}`);
    const lines = readFileSync(file, "utf8").split("\n");
    const ofDirect = new Set(report.withoutUs.flatMap(({ line }) => [line, line - 1]));
    const kept2 = lines.filter((line, at) => !ofDirect.has(at + 1) && !/\bdirect\b/.test(line));
    writeFileSync(clean, kept2.join("\n"));
    const whole = await reconcile({
      ...{ log, target: "suite", kind: "postgres", file: clean },
      own: ["custody_admin", "postgres"],
    });
    assert.deepEqual(whole.withoutUs, [], form);
    const forged = join(folder, `forged.${form}`);
    writeFileSync(forged, kept2.join("\n").replaceAll("as through", "as forged!"));
    const other = await reconcile({
      ...{ log, target: "suite", kind: "postgres", file: forged },
      own: ["custody_admin", "postgres"],
    });
    assert.ok(other.notInLog.some(({ what }) => what.includes("forged!")));
  }
});

describe("a log of", () => {
  const chain = [{ d: "d-1", s: "corp/1", k: "user", p: "attested" }] as const;

  async function logOf(target: string, name: string): Promise<string> {
    const directory = join(folder, name);
    const onFailure = (error: Error): never => {
      throw error;
    };
    const journal = await openJournal({ directory, worker: 0, clock: systemClock, onFailure });
    const journals = [{ worker: 0, journal }];
    const log = await openLog({ dataDirectory: directory, journals, onFailure, intervalMs: 10 });
    const about = { session: "s-abcd", target, chain } as const;
    journal.append({ ...about, event: "session.opened" });
    const request = "r-abcd-1";
    journal.append({
      ...about,
      event: "command.intent",
      request,
      decision: "permit",
      command: "x",
    });
    journal.append({ event: "command.outcome", session: "s-abcd", request, outcome: "ok" });
    journal.append({ ...about, event: "session.closed" });
    await journal.settled();
    await log.sync();
    await journal[Symbol.asyncDispose]();
    await log[Symbol.asyncDispose]();
    return log.directory;
  }

  test("Kubernetes, by the Audit-ID", async () => {
    const log = await logOf("cluster", "k8s");
    const file = join(folder, "audit.jsonl");
    const event = (auditID: string, username: string, stage = "ResponseComplete") =>
      JSON.stringify({
        ...{ kind: "Event", apiVersion: "audit.k8s.io/v1", auditID, stage, verb: "get" },
        ...{ requestURI: "/api/v1/pods", user: { username } },
        requestReceivedTimestamp: "2026-11-01T00:00:00.000000Z",
      });
    const lines = [
      event("r-abcd-1", "corp/1", "RequestReceived"),
      event("r-abcd-1", "corp/1"),
      event("r-abcd-2", "corp/1"),
      event("7f7a9d5e-0000-4000-8000-000000000000", "kubernetes-admin"),
      event("8f7a9d5e-0000-4000-8000-000000000000", "system:kube-scheduler"),
      "not JSON",
    ];
    writeFileSync(file, `${lines.join("\n")}\n`);
    const report = await reconcile({
      ...{ log, target: "cluster", kind: "kubernetes", file },
      own: ["system:kube-scheduler"],
    });
    assert.equal(report.matched, 1);
    assert.equal(report.own, 1);
    assert.equal(report.unreadable, 1);
    assert.deepEqual(
      report.notInLog.map(({ line }) => line),
      [3],
    );
    assert.deepEqual(
      report.withoutUs.map(({ who }) => who),
      ["kubernetes-admin"],
    );
    assert.equal(report.ok, false);
  });

  test("sshd, by the certificate's key id", async () => {
    const log = await logOf("web-1", "sshd");
    const file = join(folder, "auth.log");
    const accepted = (id: string) =>
      `Nov  1 10:00:00 web-1 sshd[812]: Accepted publickey for root from 192.0.2.1 port 5022 ssh2: ED25519-CERT SHA256:abc ID ${id} (serial 7) CA ED25519 SHA256:def`;
    const lines = [
      "Nov  1 09:59:59 web-1 sshd[811]: Server listening on 0.0.0.0 port 22.",
      accepted("custody s-abcd corp/ann > ci"),
      accepted("custody s-zzzz corp/ann > ci"),
      accepted("somebody else's"),
      "2026-11-01T10:00:00.123456+00:00 web-1 sshd-session[900]: Accepted password for root from 192.0.2.9 port 1 ssh2",
    ];
    writeFileSync(file, lines.join("\n"));
    const report = await reconcile({ log, target: "web-1", kind: "sshd", file, own: [] });
    assert.equal(report.matched, 1);
    assert.equal(report.passed, 1);
    assert.deepEqual(
      report.notInLog.map(({ line }) => line),
      [3],
    );
    assert.deepEqual(
      report.withoutUs.map(({ line }) => line),
      [4, 5],
    );
  });
});
