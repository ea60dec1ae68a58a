import assert from "node:assert/strict";
import test from "node:test";
import type { ParticipantView } from "../../session/control.ts";
import { SharedTerminals } from "./shared-terminals.ts";

function staged() {
  const views: [string, ParticipantView][] = [];
  const records: string[] = [];
  const typed: string[] = [];
  const told: string[] = [];
  const terminals = new SharedTerminals({
    show: (participant, view) => void views.push([participant, view]),
    record: (request, type, data) =>
      void records.push(`${request} ${type} ${JSON.stringify(data)}`),
  });
  let takes = true;
  /** Who waits to be shown what was there before. */
  const asked: (() => void)[] = [];
  const open = (requestId: string) =>
    terminals.open({
      requestId,
      size: { columns: 80, rows: 24, widthPixels: 0, heightPixels: 0 },
      screen: {
        show: (callback) =>
          void asked.push(() =>
            callback({ columns: 80, rows: 24, bytes: Buffer.from("$ before") }),
          ),
      },
      type(bytes) {
        if (takes) typed.push(`${requestId} ${bytes}`);
        return takes;
      },
      tell: (line) => void told.push(line),
    });
  const shownTo = (participant: string) =>
    views
      .filter(([who]) => who === participant)
      .map(([, view]) => (view.kind === "output" ? `${Buffer.from(view.bytes)}` : view.kind));
  return {
    ...{ terminals, open, records, typed, told, shownTo },
    drawn: () => asked.splice(0).forEach((draw) => void draw()),
    stall() {
      takes = false;
    },
  };
}

const who = "corp/olga";

test("who comes sees the screen as it is, then all of it, until the shell ends", () => {
  const { drawn, open, shownTo, terminals, told } = staged();
  const shell = open("r-1");
  shell.output(Buffer.from("$ before\r\n"));
  terminals.act({ act: "join", participant: "p-1", who, mode: "observer" });
  shell.output(Buffer.from("is in what is drawn"));
  drawn();
  shell.output(Buffer.from("$ after\r\n"));
  shell.resized({ columns: 90, rows: 30, widthPixels: 0, heightPixels: 0 });
  shell.close();
  shell.close();
  assert.deepEqual(shownTo("p-1"), ["size", "$ before", "$ after\r\n", "size", "end"]);
  assert.deepEqual(told, ["Custody: corp/olga watches this shell"]);
});

test("who left, or whose shell ended, before they were shown it is shown nothing", () => {
  const { drawn, open, records, shownTo, terminals } = staged();
  const shell = open("r-1");
  terminals.act({ act: "join", participant: "p-1", who, mode: "observer" });
  terminals.act({ act: "join", participant: "p-2", who, mode: "observer" });
  terminals.act({ act: "leave", participant: "p-1" });
  shell.close();
  drawn();
  assert.deepEqual([shownTo("p-1"), shownTo("p-2")], [[], ["end"]]);
  assert.equal(records.filter((record) => record.includes("left")).length, 1);
});

test("a peer types, others do not, and a shell that takes nothing keeps nothing of it", () => {
  const { open, records, stall, terminals, typed } = staged();
  open("r-1");
  for (const mode of ["observer", "peer", "moderator"] as const) {
    terminals.act({ act: "join", participant: mode, who, mode });
    terminals.act({ act: "type", participant: mode, bytes: Buffer.from(mode) });
  }
  terminals.act({ act: "type", participant: "nobody", bytes: Buffer.from("x") });
  assert.deepEqual(typed, ["r-1 peer"]);
  stall();
  terminals.act({ act: "type", participant: "peer", bytes: Buffer.from("y") });
  assert.deepEqual(
    records.filter((record) => record.includes("typed")),
    ['r-1 typed {"who":"corp/olga","bytes":4}'],
  );
});

test("who left sees nothing more; a shell that comes later is another", () => {
  const { drawn, open, shownTo, terminals, told } = staged();
  const first = open("r-1");
  terminals.act({ act: "join", participant: "p-1", who, mode: "peer" });
  drawn();
  open("r-2").output(Buffer.from("second"));
  terminals.act({ act: "leave", participant: "p-1" });
  first.output(Buffer.from("later"));
  assert.deepEqual(shownTo("p-1"), ["size", "$ before"]);
  assert.equal(told.at(-1), "Custody: corp/olga has left");
});

test("without a shell there is nothing to be seen", () => {
  const { shownTo, terminals } = staged();
  terminals.act({ act: "join", participant: "p-1", who, mode: "observer" });
  assert.deepEqual(shownTo("p-1"), ["end"]);
});
