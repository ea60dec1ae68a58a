// THREATS.md, "Framing and connections".

import {
  bind,
  close,
  copyData,
  copyDone,
  describePortal,
  execute,
  flush,
  parse,
  query,
  sync,
} from "@custody/wire/postgres/frontend.ts";
import { type Attempt, each } from "./attempt.ts";

/** A frame of any type and any claimed length. */
function frame(type: number, length: number, body: Buffer = Buffer.alloc(0)): Buffer {
  const head = Buffer.alloc(5);
  head[0] = type;
  head.writeInt32BE(length, 1);
  return Buffer.concat([head, body]);
}

function run(statement: string, portal: string): Buffer[] {
  return [
    bind({ portal, statement, parameterFormats: [], parameters: [], resultFormats: [] }),
    execute(portal, 0),
  ];
}

const GARBAGE = each("length taken at its word", "closed", {
  "frame-unknown-type": [{ frames: [frame(0x7a, 4)], readies: 1 }],
  "frame-negative-length": [{ frames: [frame(0x51, -1)], readies: 1 }],
  "frame-short-length": [{ frames: [frame(0x51, 3)], readies: 1 }],
  "frame-huge-length": [{ frames: [frame(0x51, 0x7fffffff)], readies: 1 }],
  "frame-password-again": [{ frames: [frame(0x70, 6, Buffer.from("x\0"))], readies: 1 }],
  "frame-server-type": [{ frames: [frame(0x54, 4)], readies: 1 }],
  "frame-text-without-end": [{ frames: [frame(0x51, 8, Buffer.from("abcd"))], readies: 1 }],
  "frame-text-with-rest": [{ frames: [frame(0x51, 10, Buffer.from("a\0bcd\0"))], readies: 1 }],
  "frame-hidden-query": [
    { frames: [frame(0x53, 40, query("select lower(email) from customers"))], readies: 1 },
  ],
  "frame-bind-counts": [
    { frames: [frame(0x42, 4 + 2 + 2 + 2, Buffer.from("0000ffffffff", "hex"))], readies: 1 },
  ],
  "frame-bind-negative-value": [
    {
      frames: [
        parse("", "select $1::text"),
        frame(0x42, 4 + 2 + 2 + 2 + 4 + 2, Buffer.from("000000000001fffffffe0000", "hex")),
      ],
      readies: 1,
    },
  ],
  "frame-startup-inside": [
    { frames: [Buffer.from("0000000804d2162f", "hex"), Buffer.alloc(0x0804)], readies: 1 },
  ],
});

const PIPELINES: Attempt[] = [
  ...each("desynchronised replies", "denied", {
    "pipe-function-call": [
      { frames: [frame(0x46, 14, Buffer.from("00000e42000000000000", "hex"))], readies: 1 },
    ],
    "pipe-denied-in-the-middle": [
      {
        frames: [
          parse("", "update scratch set word = 'moved'"),
          ...run("", ""),
          parse("", "select lower(email) from customers"),
          ...run("", ""),
          sync(),
        ],
        readies: 1,
      },
    ],
    "pipe-error-then-denied": [
      {
        frames: [
          parse("a", "select id from orders"),
          parse("", "select 1/0"),
          ...run("", ""),
          parse("b", "select lower(email) from customers"),
          ...run("b", ""),
          sync(),
          ...run("b", ""),
          sync(),
        ],
        readies: 2,
      },
    ],
    "pipe-set-local": [
      {
        frames: [
          parse("", "set local standard_conforming_strings = off"),
          ...run("", ""),
          parse("", "select '\\' || lower(email) from customers --'"),
          ...run("", ""),
          sync(),
        ],
        readies: 1,
      },
    ],
    "pipe-portal-of-skipped-bind": [
      "begin",
      { frames: [parse("a", "select id from orders"), ...run("a", "p"), sync()], readies: 1 },
      {
        frames: [
          parse("", "syntax error"),
          parse("b", "select first_mail()"),
          ...run("b", "p"),
          sync(),
          execute("p", 0),
          sync(),
        ],
        readies: 2,
      },
    ],
    "pipe-sync-in-copy": [
      "copy scratch from stdin",
      {
        frames: [
          copyData(Buffer.from("1\tx\n")),
          sync(),
          query("select lower(email) from customers"),
        ],
        readies: 2,
      },
    ],
    "pipe-query-hidden-in-copy": [
      "copy scratch from stdin",
      {
        frames: [
          copyData(query("select lower(email) from customers")),
          copyDone(),
          query("select lower(email) from customers"),
        ],
        readies: 2,
      },
    ],
    "pipe-copy-data-without-copy": [
      {
        frames: [copyData(Buffer.from("1\tx\n")), query("select lower(email) from customers")],
        readies: 1,
      },
    ],
    "pipe-missing-statement": [{ frames: [...run("nothing", ""), sync()], readies: 1 }],
    "pipe-missing-portal": [
      { frames: [describePortal("nothing"), execute("nothing", 0), sync()], readies: 1 },
    ],
  }),
  ...each("desynchronised replies", "masked", {
    "pipe-flush": [
      {
        frames: [parse("", "select email from customers"), ...run("", ""), flush(), sync()],
        readies: 1,
      },
    ],
    "pipe-two-portals": [
      {
        frames: [
          parse("a", "select email, id from customers"),
          parse("b", "select id, email from customers"),
          ...run("a", "p"),
          ...run("b", "q"),
          sync(),
        ],
        readies: 1,
      },
    ],
    "pipe-statement-replaced": [
      {
        frames: [
          parse("", "select id from customers"),
          parse("", "select email from customers"),
          ...run("", ""),
          sync(),
        ],
        readies: 1,
      },
    ],
    "pipe-statement-closed-and-made-again": [
      {
        frames: [
          parse("s", "select id from orders"),
          close("statement", "s"),
          parse("s", "select email from customers"),
          ...run("s", ""),
          sync(),
        ],
        readies: 1,
      },
    ],
    "pipe-portal-in-parts": [
      {
        frames: [
          parse("", "select email from customers order by id"),
          bind({
            portal: "p",
            statement: "",
            parameterFormats: [],
            parameters: [],
            resultFormats: [1],
          }),
          execute("p", 1),
          execute("p", 1),
          execute("p", 0),
          sync(),
        ],
        readies: 1,
      },
    ],
    "pipe-fetch-from-portal": [
      "begin",
      {
        frames: [
          parse("", "select email from customers"),
          bind({
            portal: "p",
            statement: "",
            parameterFormats: [],
            parameters: [],
            resultFormats: [],
          }),
          sync(),
        ],
        readies: 1,
      },
      "fetch all from p",
    ],
    "pipe-queries-at-once": [
      {
        frames: [
          query("select email from customers"),
          query("select 1"),
          query("select phone from customers"),
        ],
        readies: 3,
      },
    ],
  }),
];

export const FRAMING: readonly Attempt[] = [...GARBAGE, ...PIPELINES];
