// What commands do, as policies see it.

import assert from "node:assert/strict";
import { describe, test } from "node:test";
import { GatewayError } from "../base/errors.ts";
import {
  attributesOf,
  type DecidedCommand,
  rawLineEffect,
  readArgv,
  readLine,
} from "./decide-command.ts";
import { interpret } from "./interpret.ts";
import { loadGrammars } from "./load-grammars.ts";
import type { CommandEffect } from "./scope.ts";

const grammars = loadGrammars();

function decided(line: string): DecidedCommand {
  const reading = readLine(Buffer.from(line), grammars);
  assert.ok(reading.ok, reading.ok ? "" : `${line}: ${reading.refusal.message}`);
  return reading.command;
}

function refusal(line: string, with_ = grammars): string {
  const reading = readLine(Buffer.from(line), with_);
  assert.ok(!reading.ok, line);
  return reading.refusal.message;
}

function only(line: string): CommandEffect {
  const [effect, ...others] = decided(line).effects;
  assert.ok(effect !== undefined && others.length === 0, line);
  return effect;
}

describe("effects", () => {
  test("a program, its words and a line that can be matched", () => {
    const effect = only("systemctl 'restart' \"nginx\"");
    assert.equal(effect.line, "systemctl restart nginx");
    assert.equal(effect.subcommand, "restart");
    assert.deepEqual(effect.arguments, ["restart", "nginx"]);
    assert.equal(effect.known, true);
    assert.equal(only("systemctl restart status").subcommand, "restart");
    assert.equal(only("systemctl -n 5 status nginx").subcommand, "status");
  });

  test("options have one name each, however they are written", () => {
    for (const line of [
      "rm -rf /a",
      "rm -fr /a",
      "rm -r -f /a",
      "rm --recursive --force /a",
      "rm /a -Rf",
    ])
      assert.deepEqual([...only(line).options].sort(), ["-f", "-r"], line);
    assert.deepEqual(only("rm -- -rf").options, []);
    assert.deepEqual(only("find /a -name x -delete").options, ["-name", "-delete"]);
  });

  test("paths are read and written as the grammar says", () => {
    const paths = (line: string) => {
      const { reads, writes, pathsKnown } = only(line);
      return { reads, writes, pathsKnown };
    };
    assert.deepEqual(paths("cp -r /a/./b //c /d/"), {
      ...{ reads: ["/a/b", "/c"], writes: ["/d"], pathsKnown: true },
    });
    assert.deepEqual(paths("cp -t /d /a"), { reads: ["/a"], writes: ["/d"], pathsKnown: true });
    assert.deepEqual(paths("mv /a /b"), { reads: ["/a"], writes: ["/a", "/b"], pathsKnown: true });
    assert.deepEqual(paths("dd if=/a of=/b bs=1M"), {
      ...{ reads: ["/a"], writes: ["/b"], pathsKnown: true },
    });
    assert.deepEqual(paths("sed -i s/a/b/ /a"), {
      reads: ["/a"],
      writes: ["/a"],
      pathsKnown: true,
    });
    assert.deepEqual(paths("grep -f /p /a").reads, ["/p", "/a"]);
    assert.deepEqual(paths("grep /p /a").reads, ["/a"]);
    assert.deepEqual(paths("find /a -delete"), { reads: ["/a"], writes: ["/a"], pathsKnown: true });
    assert.deepEqual(paths("curl -sd @/a -o /b http://x/"), {
      ...{ reads: ["/a"], writes: ["/b"], pathsKnown: true },
    });
    assert.deepEqual(paths("sort -o/b /a"), { reads: ["/a"], writes: ["/b"], pathsKnown: true });
    assert.deepEqual(paths("sort --output=/b /a").writes, ["/b"]);
    assert.deepEqual(paths("cat -").reads, []);
  });

  test("a redirection is an effect of its own", () => {
    const { effects } = decided("cat /a > /b 2>> '/c d' < /e 3<> /f");
    assert.deepEqual(
      effects.map(({ program, line, reads, writes }) => [program, line, reads, writes]),
      [
        ["cat", "cat /a", ["/a", "/e", "/f"], ["/b", "/c d", "/f"]],
        [">", "> /b", [], ["/b"]],
        [">", ">> '/c d'", [], ["/c d"]],
        ["<", "< /e", ["/e"], []],
        [">", "<> /f", ["/f"], ["/f"]],
      ],
    );
    assert.equal(decided("cat /a > b").effects[1]?.pathsKnown, false);
    assert.equal(only("cat /a > /dev/null 2>&1").writes.length, 0);
    assert.deepEqual(
      decided("sudo sh -c 'id > /b'").effects.map(({ program, user, depth }) => [
        program,
        user,
        depth,
      ]),
      [
        ["sudo", undefined, 0],
        ["sh", "root", 1],
        ["id", "root", 2],
        [">", "root", 2],
      ],
    );
  });

  test("what has no grammar, or is not where the system keeps it, is code", () => {
    for (const line of [
      "frobnicate",
      "/tmp/ls",
      "python3.11 x",
      "vim.tiny x",
      "cd /a && git status",
      "git -C /a log",
    ])
      assert.equal(decided(line).effects.at(-1)?.kind, "exec_code", line);
    for (const line of ["/usr/bin/ls", "git log", "bash5 -c id"])
      assert.equal(decided(line).effects.at(-1)?.kind, "exec", line);
    assert.equal(only("/tmp/ls").known, false);
    // Of the same kind as what it is named for, as far as that refuses, and not known for it.
    assert.equal(only("cp2 /a /b").kind, "exec_code");
    assert.match(refusal("bash5 -c 'id; $(id)'"), /substitution/);
  });

  test("what is not known of paths is said", () => {
    for (const line of [
      "cat a",
      "cat /a/../b",
      "cat /proc/self/root/etc/shadow",
      "cat /dev/fd/3",
      "unknown /a",
      "cat --odd /a",
      "tar xf /a",
      "git status",
      "rm -f ../a",
    ])
      assert.equal(only(line).pathsKnown, false, line);
    assert.deepEqual(only("cat /a/../b").reads, ["/b"]);
  });

  test("a folder that was changed to is where paths start, as long as it is certain", () => {
    const reads = (line: string) =>
      decided(line)
        .effects.map((effect) => effect.reads)
        .at(-1);
    assert.deepEqual(reads("cd /srv && cat a"), ["/srv/a"]);
    assert.deepEqual(reads("cd /srv && true && cat a"), ["/srv/a"]);
    for (const line of [
      "cd /srv; cat a",
      "cd /srv || cat a",
      "cd srv && cat a",
      "cd /srv | cat a",
      "cd /srv & cat a",
      "cd /srv && true || cat a",
      "cat a && cd /srv",
    ]) {
      const { reads: found, pathsKnown } =
        decided(line).effects.find(({ program }) => program === "cat") ?? only(line);
      assert.deepEqual([found, pathsKnown], [[], false], line);
    }
    assert.deepEqual(only("env -C /srv").reads, ["/srv"]);
    assert.deepEqual(reads("env -C /srv cat a"), ["/srv/a"]);
  });

  test("programs are named by where they are", () => {
    assert.equal(only("/usr/bin/ls /").program, "ls");
    assert.equal(only("/tmp/ls /").program, "/tmp/ls");
    assert.equal(only("/tmp/ls /").line, "/tmp/ls /");
    // The grammar is that of its name: a shell elsewhere is a shell.
    assert.equal(only("/opt/bin/bash").kind, "exec_code");
  });

  test("a name longer than a path can be is none: names are looked into", () => {
    const name = `a${".1".repeat(2047)}`;
    assert.equal(only(name).known, false);
    assert.match(refusal(`${name}.1`), /is not the name of a program/);
    assert.match(refusal(`/${"a".repeat(4096)}`), /is not the name of a program/);
  });

  test("a version at the end of a name says nothing of its kind", () => {
    for (const name of ["python3.11", "python3", "python-3.11", "python"])
      assert.equal(only(`${name} -c x`).kind, "exec_code", name);
    for (const name of ["sed4", "sed-4", "sed.4-8"]) {
      // By the grammar of sed: a script with e runs programs.
      assert.equal(only(`${name} 1e`).kind, "exec_code", name);
      assert.deepEqual(only(`${name} -n p /etc/motd`).reads, ["/etc/motd"], name);
    }
    assert.deepEqual(only("sed4x -n p /etc/motd").reads, []);
  });

  test("what find removes is written down once, however often it is said", () => {
    const words = ["find", "/a", "/b", ...Array.from({ length: 400 }, () => "-delete")];
    const scope = {
      ...{ grammars, depth: 0, launchers: [], user: undefined, host: undefined, environment: [] },
      ...{ directory: undefined, moved: false, background: false, placeholder: undefined },
      ...{ open: false, effects: [] },
    };
    const never = () => assert.fail("find starts nothing here");
    const done = interpret("find", "find", words, scope, { script: never, words: never });
    assert.deepEqual(done.writes, ["/a", "/b"]);
  });

  test("launchers are followed, with who and where", () => {
    const { effects } = decided("sudo -u www env LANG=C nice -n 5 systemctl status nginx");
    assert.deepEqual(
      effects.map(({ program }) => program),
      ["sudo", "env", "nice", "systemctl"],
    );
    const inner = effects.at(-1);
    assert.deepEqual(
      [inner?.user, inner?.depth, inner?.launchers, inner?.environment, inner?.line],
      ["www", 3, ["sudo", "env", "nice"], ["LANG=C"], "systemctl status nginx"],
    );
    assert.equal(effects[0]?.user, undefined);
    assert.equal(decided("sudo id").effects[1]?.user, "root");
    assert.equal(decided("ssh -p 22 web cat /a").effects[1]?.host, "web");
    assert.deepEqual(decided("su -c 'id -u' web").effects[1]?.user, "web");
  });

  test("lines inside of words are sent in their canonical form", () => {
    assert.equal(decided("sh -c 'p  a'").line, "'sh' '-c' ''\\''p'\\'' '\\''a'\\'''");
    assert.equal(decided("su --command='p a'").line, "'su' '--command='\\''p'\\'' '\\''a'\\'''");
    // Words that a remote shell would read are one word, and that is canonical.
    assert.equal(
      decided("ssh web p 'a b'").line,
      "'ssh' 'web' ''\\''p'\\'' '\\''a'\\'' '\\''b'\\'''",
    );
  });

  test("words of the input are marked and nowhere they could be options", () => {
    assert.deepEqual(
      decided("xargs cat").effects.map(({ open }) => open),
      [false, true],
    );
    assert.deepEqual(
      decided("find /a -exec cat {} +").effects.map(({ open }) => open),
      [false, true],
    );
    assert.match(refusal("xargs rm"), /put -- at the end/);
    assert.match(refusal("xargs -I{} rm {}"), /put -- before it/);
    assert.equal(decided("xargs -I{} rm -- {}").effects[1]?.pathsKnown, false);
  });

  test("code is told from programs", () => {
    for (const line of [
      "sh",
      "sh x.sh",
      "python3 x.py",
      "awk 1",
      "vi",
      "sed s/a/b/e",
      "git commit",
      "ssh web",
    ])
      assert.equal(only(line).kind, "exec_code", line);
    for (const line of ["python3 --version", "sed s/a/b/g /a", "git commit -m a", "crontab -l"])
      assert.equal(only(line).kind, "exec", line);
  });

  test("what goes on in the background is said", () => {
    assert.equal(decided("sleep 5 &").background, true);
    assert.deepEqual(
      decided("sleep 5 & id").effects.map(({ background }) => background),
      [true, false],
    );
    assert.equal(decided("sh -c 'sleep 5 &'").background, true);
  });
});

describe("a list of words", () => {
  const read = (...words: string[]) =>
    readArgv(
      words.map((word) => Buffer.from(word)),
      grammars,
    );
  test("is decided as it is, without a shell", () => {
    const reading = read("ls", "$HOME", "; rm -rf /");
    assert.ok(reading.ok);
    assert.deepEqual(reading.command.argv, ["ls", "$HOME", "; rm -rf /"]);
    assert.equal(reading.command.effects.length, 1);
  });
  test("has its lines rewritten", () => {
    const reading = read("sh", "-c", "id;  id -u");
    assert.ok(reading.ok);
    assert.deepEqual(reading.command.argv, ["sh", "-c", "'id' ; 'id' '-u'"]);
    assert.equal(reading.command.effects.length, 3);
  });
  test("is refused where a line would be", () => {
    for (const words of [
      [],
      [""],
      ["sh", "-c", "$(id)"],
      ["./a"],
      ["a\u0000b"],
      ["env", "LD_PRELOAD=x", "a"],
    ])
      assert.equal(read(...words).ok, false, JSON.stringify(words));
  });
});

test("a line as it is, is code of a shell", () => {
  const effect = rawLineEffect(Buffer.from("for a in *; do id; done"));
  assert.deepEqual([effect?.kind, effect?.program, effect?.pathsKnown], ["exec_code", "sh", false]);
  assert.equal(rawLineEffect(Buffer.from([0xff])), undefined);
  assert.equal(rawLineEffect(Buffer.from("a\u202eb")), undefined);
});

test("the attributes are of the kinds that policies have", () => {
  const attributes = attributesOf(only("cat /a"));
  assert.deepEqual([attributes.user, attributes.host, attributes.subcommand], ["", "", ""]);
});

describe("grammars of operators", () => {
  const text = (lines: string) => [{ name: "mine.yaml", text: lines }];
  test("add to the shipped ones, and take their place", () => {
    const mine = loadGrammars(
      text(
        'programs:\n  deployer:\n    options: { "-e --env": name }\n    subcommands: { "plan, apply": { operands: [read] } }\n  ls:\n    operands: []\nenvironment: { APP_ENV: "dev|prod" }\ndirectories: [/opt/tools/bin]\nbuiltins: [odd]\n',
      ),
    );
    const reading = readLine(
      Buffer.from("APP_ENV=prod /opt/tools/bin/deployer -e x plan /a"),
      mine,
    );
    assert.ok(reading.ok);
    const [effect] = reading.command.effects;
    assert.deepEqual(
      [effect?.program, effect?.subcommand, effect?.reads],
      ["deployer", "plan", ["/a"]],
    );
    for (const line of [
      "ls -l",
      "deployer destroy",
      "deployer --en x plan /a",
      "APP_ENV=x deployer plan /a",
      "odd",
    ])
      refusal(line, mine);
  });
  test("that are wrong are refused by name and place", () => {
    for (const wrong of [
      "programs: { a: { odd: 1 } }",
      "programs: [",
      "odd: 1",
      'environment: { A: "(" }',
      'programs: { a: { options: { "-a": { takes: text, matches: "(" } } } }',
      "programs: { a: { operands: [odd] } }",
    ])
      assert.throws(
        () => loadGrammars(text(wrong)),
        (thrown) =>
          thrown instanceof GatewayError &&
          thrown.code === "configuration" &&
          /mine\.yaml/.test(thrown.message),
        wrong,
      );
  });
});
