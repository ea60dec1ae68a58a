// Random words for programs that read and write files: their real options, near misses, and scripts that
// would do more.

export const PROGRAMS: Readonly<Record<string, readonly string[]>> = {
  cp: words(
    "-a -r -f -n -u -t -T -b --backup=t --backup -S ~ -S.bak --parents -l -s -p -d -- -tv --suffix=~x",
  ),
  mv: words("-f -n -t -T -b -S -- -v --suffix ~q --backup --target-directory"),
  ln: words("-s -f -t -T -n -- -b -S -r"),
  install: words("-d -D -m 600 -t -T -b -S ~ -C -- -p -o root"),
  tee: words("-a -i -p -- -ai"),
  sort: words("-o -u -k 1 -t x -T -r -n -m -c -s --output -ro -S 1M --"),
  uniq: words("-c -d -f 1 -s 2 -w 3 -- -u -i"),
  shuf: words("-n 1 -e -o -r -i 1-3 --"),
  split: words("-b 1 -l 2 -n 3 -a 4 -d --"),
  sed: [
    ...words(
      "-n -i -i.bak -e -f p d $p -E -s -z -u --posix -ne -ie --in-place=.b --expression=p -ni --",
    ),
    ...["s/1/2/", "s/1/id >evil/e", "w evil", "1e evil", "1,2d;p", "y/12/34/", "s/[12]/z/g"],
  ],
  dd: words("if=a of=b of=new bs=1 count=2 conv=notrunc seek=1 oflag=append status=none of=d/c"),
  touch: words("-c -d now -t 202001010101 -r -a -m -h --"),
  truncate: words("-s 3 -c -r -o --"),
  mkdir: words("-p -m 700 -v --"),
  rm: words("-r -f -d -v -- -rf -R"),
  rmdir: words("-p -v --"),
  chmod: words("-R 600 u+x -v -c --reference a-x -- 755"),
  gzip: words("-k -d -f -c -r -t -l -1 -9 -n -v --"),
  xxd: words("-p -r -l 4 -c 2 -s 1 -plain -u -b"),
  mktemp: words("-d -u -p -t --suffix x.XXXX -q"),
  shred: words("-u -n 1 -z -s 2 -f -x -v"),
  find: words(
    "-name * -delete -type f -maxdepth 1 -print -fprint -fls -fprintf %p -fprint0 -newer -o ! ( ) " +
      "-exec -execdir rm cat touch {} ; + -- -prune -depth",
  ),
  tar: words(
    "-c -x -t -f cf xf tf czf -C -r -u -v -k -O --exclude q -P -cf -xf --one-top-level " +
      "--strip-components 1 -X --mode 600 -h -p",
  ),
  grep: words("-e x -f -r -l -c -n -m 1 -A 2 --include q -o -v --color=always -R --"),
  diff: words("-u -r -q --"),
  cat: words("-n -A -b -s --"),
  tail: words("-n 1 -c +2 -q"),
  file: words("-b -i -f -m -L"),
  md5sum: words("-c -b"),
  env: words("-C cp rm touch LANG=C"),
};

function words(text: string): readonly string[] {
  return text.split(" ");
}
