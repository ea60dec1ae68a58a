// Variables no client sets on a host, whatever policies say: what changes how programs start, load, look
// things up or read their options. A shell, a pager, an editor or a loader named by one of them would run
// what nobody decided. A list of names cannot be whole: that a variable may be set is a policy's to say,
// one by one.

/** Whether a policy may permit it. */
export function maySet(name: string): boolean {
  return !NEVER.has(name) && !NEVER_LIKE.test(name);
}

const NEVER: ReadonlySet<string> = new Set([
  // Shells: where they look, what they read first, how they read.
  ...["PATH", "IFS", "ENV", "BASH_ENV", "SHELLOPTS", "BASHOPTS", "PS4", "PROMPT_COMMAND", "CDPATH"],
  ...["ZDOTDIR", "FPATH", "NULLCMD", "READNULLCMD", "INPUTRC", "HISTFILE", "POSIXLY_CORRECT"],
  ...["HOME", "SHELL", "USER", "LOGNAME", "PWD", "OLDPWD", "TMPDIR", "TMP", "TEMP"],
  // The C library.
  ...["LOCPATH", "GCONV_PATH", "NLSPATH", "HOSTALIASES", "RES_OPTIONS", "LOCALDOMAIN"],
  // Programs that start others.
  ...["EDITOR", "VISUAL", "FCEDIT", "PAGER", "BROWSER", "TAPE", "RSH", "TERMCAP", "CLASSPATH"],
  ...["KUBECONFIG", "OPENSSL_CONF", "OPENSSL_ENGINES", "OPENSSL_MODULES", "CURL_HOME", "WGETRC"],
]);

const NEVER_LIKE =
  /^(PERL|PYTHON|RUBY|GEM_|BUNDLE_|NODE_|JAVA|_JAVA|JDK_|LUA_|PHP|AWK|GIT_|LD_|DYLD_|BASH_FUNC_|MALLOC_|GLIBC_|LESS|MAN|SUDO_|SSH_|SYSTEMD_|TERMINFO|XDG_|DOCKER_|RSYNC_|PG|MYSQL_|MAKE|TAR_)|(PAGER|EDITOR|_ASKPASS|_RSH|_OPTIONS|_OPTS|PRELOAD)$/;
