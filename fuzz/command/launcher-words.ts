// Random words for programs that start others: their real options, near misses, and what tests whether a
// word of one is taken for a word of another.

import type { Random } from "../postgres/random.ts";

const OPTIONS: Readonly<Record<string, readonly string[]>> = {
  env: "-i -u HOME -0 -C /tmp A=b LANG=C TZ=UTC -uHOME --unset=X -S evil - -- -iu -v".split(" "),
  nice: "-n 5 -n5 -5 --adjustment=3 -- -n-1".split(" "),
  nohup: ["--"],
  timeout: "5 -k 1 -s TERM -k1 --foreground -v -- 0.5 -t".split(" "),
  setsid: "-w -c -f --wait --".split(" "),
  stdbuf: "-o L -oL -i0 -e0 --".split(" "),
  ionice: "-c 2 -n 3 -c2 -t -p 1 --".split(" "),
  taskset: "-c 0 0x1 1 -a -p --".split(" "),
  flock: "lk -n -x -s -w 1 -c evil -o -F -E 3 -- 9".split(" "),
  xargs: [
    ..."-0 -n 1 -n1 -I {} -I{} -I% -L1 -P2 -r -t -x -d , -d\\n -a /dev/stdin -i -l -E evil".split(
      " ",
    ),
    ..."-- -s 200 % p% {}x".split(" "),
  ],
  find: [
    ...". f1 -name * -maxdepth 0 1 -exec -execdir -ok ; + {} ( ) ! -o -a -delete -print".split(" "),
    ..."-type f -quit -true -false , /dev/null".split(" "),
  ],
  sh: [
    ..."-c -e -u -x -l -ec -cx -- - +e evil -s -i --version".split(" "),
    ...["p a", "p a; p b", "p 'a b' && p c"],
  ],
  bash: [
    ..."-c -e -lc -o pipefail -euc -- - +e +O extglob --norc -s -i -O --version".split(" "),
    ...["p a", "p a | p b"],
  ],
};

const ANYWHERE = [
  "p",
  "p",
  "p",
  "a",
  "-x",
  "--evil",
  "evil",
  "$(evil)",
  "; evil",
  "A=b",
  "{}",
  "--",
];

const INPUTS = [
  ...["", "a\nb\n", "-evil\n--x\n", "evil\nevil\n", "{}\n%\n", "a b\n'c d'\n"],
  ...["-c\nevil\n", "A=b\nevil\n", ";\nevil\n"],
];

const MAX_LAUNCHERS = 4;

export function randomInput(random: Random): string {
  return random.pick(INPUTS);
}

/** A launcher with some of its options, and behind it another or a tell-tale. */
export function randomWords(random: Random, launchers: readonly string[], depth = 1): string[] {
  const name = random.pick(launchers);
  const words = [name];
  for (let left = random.below(6); left > 0; left--)
    words.push(random.below(4) > 0 ? random.pick(OPTIONS[name] ?? []) : random.pick(ANYWHERE));
  if (depth < MAX_LAUNCHERS && random.below(2) > 0)
    words.push(...randomWords(random, launchers, depth + 1));
  else {
    words.push(random.below(6) > 0 ? "p" : random.pick(["evil", "if"]));
    for (let left = random.below(4); left > 0; left--) words.push(random.pick(ANYWHERE));
  }
  if (name === "find" && random.below(2) > 0) words.push(random.below(3) > 0 ? ";" : "+");
  return words;
}
