// PostgreSQL's JDBC driver (Debian's libpostgresql-jdbc-java), unmodified: the cases are in JdbcCases.java.
// CUSTODY_JAVA_SHARE names another folder of jars than /usr/share/java.

import { spawnSync } from "node:child_process";
import { existsSync, mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { basename, join } from "node:path";
import { fileURLToPath } from "node:url";
import { type Program, programClient } from "./programs.ts";

const JARS = process.env.CUSTODY_JAVA_SHARE ?? "/usr/share/java";

/** A class with the name of its file, on the driver's path. */
export function compiledJava(source: string): Program | { readonly why: string } {
  if (!existsSync(join(JARS, "postgresql.jar"))) return { why: "the JDBC driver is not installed" };
  if (spawnSync("javac", ["-version"]).status !== 0) return { why: "there is no Java compiler" };
  const classes = mkdtempSync(join(tmpdir(), "custody-jdbc-"));
  process.on("exit", () => rmSync(classes, { recursive: true, force: true }));
  const path = ["postgresql", "scram-client", "scram-common", "saslprep", "stringprep"]
    .map((name) => join(JARS, `${name}.jar`))
    .join(":");
  const done = spawnSync("javac", ["-cp", path, "-d", classes, source], { encoding: "utf8" });
  if (done.status !== 0) return { why: done.stderr };
  return {
    command: "java",
    args: ["-XX:TieredStopAtLevel=1", "-cp", `${path}:${classes}`, basename(source, ".java")],
  };
}

export const jdbc = programClient(
  "JDBC",
  compiledJava(fileURLToPath(new URL("JdbcCases.java", import.meta.url))),
);
