// The last part of the story: what happened can be replayed, proved and shown to be untouched, and the
// database's passwords are nowhere an agent could have looked.

import { cpSync, readdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { setTimeout as delay } from "node:timers/promises";
import type { RecordingLine } from "@custody/contract/sessions.ts";
import { verifiedLeaves } from "../conformance/resilience/leaves.ts";
import { runCustody, userEnvironment } from "../conformance/support/command-line.ts";
import { connectionEnvironment } from "./agent-connection.ts";
import { filesBelow, findSecrets, type Place } from "./leaks.ts";
import { actor, agentVariables, custody, must, type Play, type Step, said } from "./play.ts";

export const provedAfterwards: readonly Step[] = [
  {
    title: "The session is replayed: commands and responses",
    async run(play) {
      const session = play.sessions.get("ci-job");
      must(session !== undefined, "the CI job's session is not known");
      const dba = actor(play, "dba1");
      const result = await custody(play, dba, ["replay", session]);
      must(result.exitCode === 0, `replay failed: ${said(result)}`);
      const lines = result.lines as RecordingLine[];
      const text = decoded(lines).toString("latin1");
      must(
        lines.some((line) => line.kind === "command"),
        "there is no command in it",
      );
      must(/delete from orders/.test(text), "the DELETE is not in it");
      must(/DELETE 100/.test(text), "the server's answer is not in it");
      const rendered = await runCustody(["replay", session], { home: dba.home });
      play.screen.answer(rendered.stdout);
      play.screen.why("dbas-replay-sessions permits it, and each reading is itself an event.");
      return `${lines.length} events, the DELETE and its answer among them`;
    },
  },
  {
    title: "The audit log is verified, without the gateway",
    async run(play) {
      const report = await verify(play, join(play.stage.folder, "audit"));
      must(report.exitCode === 0, `verification failed: ${said(report)}`);
      const { size, root } = report.json as { size: number; root: string };
      play.screen.answer(`${size} records, root ${root}`);
      must(size > 20, `only ${size} records`);
      // Who asked is in every record, with how well each hop of the chain was known.
      const leaves = await verifiedLeaves(play.stage.gateway.dataFolder);
      const chain = leaves.find(
        (leaf) => leaf.event === "command.intent" && leaf.chain?.length === 3,
      );
      const known = chain?.chain?.map((hop) => `${hop.k} ${hop.s}, ${hop.p}`) ?? [];
      play.screen.answer(known.join("\n"));
      must(
        chain?.chain?.map((hop) => hop.p).join() === "attested,attested,bearer",
        `a record knows the sub-agent's chain as ${known.join(" > ")}`,
      );
      return `${size} records: every hash, the signature and the rules between records hold`;
    },
  },
  {
    title: "One byte of a copy is changed, and verification names the record",
    async run(play) {
      const copy = join(play.stage.folder, "audit-changed");
      cpSync(join(play.stage.folder, "audit"), copy, { recursive: true });
      const record = changeOneByte(copy);
      const report = await verify(play, copy, false);
      must(report.exitCode !== 0, "the changed copy verifies");
      const { problems } = report.json as { problems: { index?: number; message: string }[] };
      play.screen.answer(problems.map(({ message }) => message).join("\n"));
      must(
        problems.some(({ index }) => index === record),
        `record ${record} is not named`,
      );
      return `record ${record} is the one that was changed, and the one that is named`;
    },
  },
  {
    title: "Evidence about the session is taken away, and checked without the gateway",
    async run(play) {
      const session = play.sessions.get("ci-job");
      must(session !== undefined, "the CI job's session is not known");
      const dba = actor(play, "dba1");
      const folder = join(play.stage.folder, "evidence");
      const made = await custody(play, dba, [
        ...["evidence", "export", "--session", session, "--out", folder],
      ]);
      must(made.exitCode === 0, `export failed: ${said(made)}`);
      const key = ["--key", verifierKey(play)];
      const report = await custody(play, dba, ["evidence", "verify", folder, ...key]);
      must(report.exitCode === 0, `it does not verify: ${said(report)}`);
      const { proved } = report.json as { proved: string[] };
      play.screen.answer(proved.join("\n"));
      must(
        proved.some((one) => /approval of corp\//.test(one)),
        "it does not say who approved the DELETE",
      );
      const page = readFileSync(join(folder, "index.html"), "utf8");
      must(page.includes("delete from orders"), "the page does not show the DELETE");
      const records = join(folder, "records.ndjson");
      writeFileSync(records, readFileSync(records, "utf8").replace(/^.*\n/, ""));
      const cut = await custody(play, dba, ["evidence", "verify", folder, ...key]);
      must(cut.exitCode !== 0, "without its first record it verifies too");
      play.screen.why(
        "The log has the digest of what was exported: nothing can be left out of it.",
      );
      return `${proved.length} things proved; with one record left out, refused`;
    },
  },
  {
    title: "The database's passwords are nowhere an agent could look",
    run: noSecretsAnywhere,
  },
];

/** A copy of the log, once it has stood still, then `custody audit verify` on it. */
async function verify(play: Play, folder: string, copy = true) {
  const { gateway } = play.stage;
  if (copy) {
    await settled(join(gateway.dataFolder, "log", "checkpoint"));
    cpSync(join(gateway.dataFolder, "log"), folder, { recursive: true });
  }
  const key = verifierKey(play);
  return await custody(play, actor(play, "dba1"), ["audit", "verify", folder, "--key", key]);
}

function verifierKey({ stage }: Play): string {
  return readFileSync(join(stage.gateway.dataFolder, "keys", "log.vkey"), "utf8").trim();
}

async function settled(file: string): Promise<void> {
  let before = "";
  for (let round = 0; round < 20; round++) {
    await delay(600);
    const now = readFileSync(file, "utf8");
    if (now === before) return;
    before = now;
  }
}

/** Flips a bit inside a record in the middle of the first bundle of entries; returns its index. */
function changeOneByte(log: string): number {
  const folder = join(log, "tile", "entries");
  const name = readdirSync(folder, { recursive: true, encoding: "utf8" })
    .filter((path) => /^0+(\.p\/\d+)?$/.test(path) && !path.endsWith(".p"))
    .sort((a, b) => a.length - b.length || Number(a.split("/")[1]) - Number(b.split("/")[1]))
    .at(-1);
  must(name !== undefined, "the log has no entries");
  const bytes = readFileSync(join(folder, name));
  // C2SP tlog-tiles: each entry is preceded by its length, 16 bits, big-endian.
  const starts: number[] = [];
  for (let at = 0; at < bytes.length; at += 2 + bytes.readUInt16BE(at)) starts.push(at + 2);
  const record = Math.floor(starts.length / 2);
  const place = (starts[record] ?? 0) + 20;
  bytes[place] = (bytes[place] ?? 0) ^ 0x01;
  writeFileSync(join(folder, name), bytes);
  return record;
}

/** The recordings' lines with the bytes they carry, decoded. */
function decoded(lines: readonly RecordingLine[]): Buffer {
  const parts: Buffer[] = [];
  for (const line of lines) {
    parts.push(Buffer.from(JSON.stringify(line)));
    const fields: unknown[] = [
      line.bytes,
      ...(Array.isArray(line.parameters) ? line.parameters : []),
    ];
    for (const field of fields)
      if (typeof field === "string") parts.push(Buffer.from(field, "base64"));
  }
  return Buffer.concat(parts);
}

async function noSecretsAnywhere(play: Play): Promise<string> {
  const { stage, screen } = play;
  const places = [...agentPlaces(play), ...(await recordingPlaces(play)), ...gatewayPlaces(play)];
  for (const { name, bytes } of places)
    must(bytes.length > 0, `nothing was captured of ${name}: the search would prove nothing`);
  const { secrets } = play;
  must(secrets.size > stage.secrets.size, "no secret of a session's role was captured");
  const found = findSecrets(secrets, places);
  screen.asked("the demo", `$ search for ${[...secrets.keys()].join("; ")}`);
  const total = places.reduce((sum, { bytes }) => sum + bytes.length, 0);
  screen.answer(
    `${places.length} places, ${Math.ceil(total / 1024)} KiB: ${[...new Set(places.map((place) => place.name))].slice(0, 8).join(", ")}, …`,
  );
  must(found.length === 0, found.join("\n"));
  // The search can find: the same one sees the password where it belongs.
  const own = { name: "its own file", bytes: readFileSync(join(stage.folder, "admin-password")) };
  must(findSecrets(stage.secrets, [own]).length > 0, "the search does not find what is there");
  screen.why("The gateway holds the credential; a session's own role and password die with it.");
  return `no form of ${secrets.size} secrets in ${places.length} places`;
}

/** What the agents had and saw: environment, wire, output. */
function agentPlaces(play: Play): Place[] {
  const places: Place[] = [...play.seenByAgents];
  for (const who of play.actors.values()) {
    if (who.handle === undefined) continue;
    const variables = {
      ...userEnvironment(who.home, agentVariables(play.stage, who)),
      ...connectionEnvironment(play.stage, who.handle),
    };
    places.push({
      name: `${who.name}'s environment`,
      bytes: Buffer.from(JSON.stringify(variables)),
    });
  }
  for (const [name, connection] of play.connections)
    places.push({ name: `${name}'s wire`, bytes: connection.received() });
  return places;
}

async function recordingPlaces(play: Play): Promise<Place[]> {
  const places: Place[] = [];
  for (const [name, session] of play.sessions) {
    const result = await runCustody(["replay", session, "--json"], {
      home: actor(play, "dba1").home,
    });
    const bytes = decoded(result.lines as RecordingLine[]);
    places.push({ name: `${name}'s recording`, bytes });
  }
  return places;
}

/** The gateway's files, its own words and its arguments; keys are secret by design and left out. */
function gatewayPlaces(play: Play): Place[] {
  const { gateway } = play.stage;
  const isKey = (path: string) => path.startsWith("keys") || path.startsWith("ca");
  const files = filesBelow(gateway.dataFolder, isKey).filter(({ bytes }) => bytes.length > 0);
  const places = files.map(({ name, bytes }) => ({ name: `data/${name}`, bytes }));
  places.push({ name: "the gateway's log", bytes: Buffer.from(gateway.output()) });
  for (const file of ["cmdline", "environ"]) {
    const path = `/proc/${gateway.pid}/${file}`;
    if (process.platform === "linux") places.push({ name: path, bytes: readFileSync(path) });
  }
  return places;
}
