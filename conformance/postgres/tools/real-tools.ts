// Tools and frameworks themselves, where the machine has them: Active Record, SQLAlchemy and Django from Debian, and
// what JDBC's metadata, which DBeaver and DataGrip are built on, asks; Prisma from npm. Each case must come out as without Custody.

import { spawnSync } from "node:child_process";
import { fileURLToPath } from "node:url";
import type { Client } from "../cases.ts";
import { compiledJava } from "../jdbc.ts";
import { type Program, programClient } from "../programs.ts";
import { prisma } from "./prisma.ts";

const file = (name: string) => fileURLToPath(new URL(name, import.meta.url));

/** Debian's own: another Python of the machine's has none of its packages. */
const PYTHON = "/usr/bin/python3";

export function realTools(): Client[] {
  return [
    programClient("Active Record", ruby()),
    programClient("SQLAlchemy", python("sqlalchemy")),
    programClient("Django", python("django")),
    programClient("JDBC metadata", compiledJava(file("MetadataCases.java"))),
    prisma(),
  ];
}

function ruby(): Program | { readonly why: string } {
  const found = spawnSync("ruby", ["-e", "require 'active_record'; require 'pg'"]);
  if (found.status !== 0) return { why: "ruby-activerecord and ruby-pg are not installed" };
  return { command: "ruby", args: [file("rails-cases.rb")] };
}

function python(name: string): Program | { readonly why: string } {
  const found = spawnSync(PYTHON, ["-c", `import psycopg2, ${name}`]);
  if (found.status !== 0) return { why: `python3-${name} and python3-psycopg2 are not installed` };
  return { command: PYTHON, args: [file("python-cases.py"), name] };
}
