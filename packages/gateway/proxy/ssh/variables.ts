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
  ...["PATH", "IFS", "ENV", "SHELLOPTS", "CDPATH", "GLOBIGNORE", "EXECIGNORE", "FIGNORE", "FCEDIT"],
  ...["ZDOTDIR", "FPATH", "NULLCMD", "READNULLCMD", "INPUTRC", "POSIXLY_CORRECT", "TIMEFMT"],
  ...["HOME", "SHELL", "USER", "LOGNAME", "PWD", "OLDPWD", "TMPDIR", "TMP", "TEMP"],
  // The C library.
  ...["LOCPATH", "GCONV_PATH", "NLSPATH", "HOSTALIASES", "RES_OPTIONS", "LOCALDOMAIN"],
  // Programs that start others.
  ...["EDITOR", "VISUAL", "PAGER", "BROWSER", "TAPE", "RSH", "TERMCAP", "CLASSPATH", "SCREENRC"],
  ...["EXINIT", "GNUPGHOME", "XAUTHORITY", "CC", "CXX", "CPP", "AR", "AS", "SHELLCHECK_OPTS"],
  ...["GCC_EXEC_PREFIX", "COMPILER_PATH", "LIBRARY_PATH", "CPATH", "GOFLAGS", "GOENV", "GOPROXY"],
  ...["KUBECONFIG", "OPENSSL_CONF", "OPENSSL_ENGINES", "OPENSSL_MODULES", "CURL_HOME", "WGETRC"],
]);

const NEVER_LIKE =
  /^(BASH|PS\d|PROMPT|RPROMPT|RPS\d|HIST|MAIL|ZSH|VIM|NVIM|EMACS|NPM_|npm_|PIP_|CARGO|RUST|AWS_(CONFIG|SHARED|CONTAINER|WEB)|ANSIBLE_|DBUS_|ERL_|PERL|PYTHON|RUBY|GEM_|BUNDLE_|NODE_|JAVA|_JAVA|JDK_|LUA_|PHP|AWK|GIT_|LD_|DYLD_|BASH_FUNC_|MALLOC_|GLIBC_|LESS|MAN|SUDO_|SSH_|SYSTEMD_|TERMINFO|XDG_|DOCKER_|RSYNC_|PG|MYSQL_|MAKE|TAR_)|(PAGER|EDITOR|_ASKPASS|_RSH|_OPTIONS|_OPTS|PRELOAD)$/;
