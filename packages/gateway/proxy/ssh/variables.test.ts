import assert from "node:assert/strict";
import test from "node:test";
import { maySet } from "./variables.ts";

test("what starts, loads or finds programs is nobody's to set", () => {
  for (const name of [
    ...["PATH", "BASH_ENV", "ENV", "ZDOTDIR", "FPATH", "LD_PRELOAD", "PERL5OPT", "PYTHONPATH"],
    ...["GIT_SSH_COMMAND", "GIT_EXTERNAL_DIFF", "SYSTEMD_PAGER", "LESSOPEN", "MANPAGER", "EDITOR"],
    ...["SUDO_EDITOR", "SUDO_ASKPASS", "RSYNC_RSH", "OPENSSL_CONF", "GREP_OPTIONS", "TAR_OPTIONS"],
    ...["MAVEN_OPTS", "NODE_OPTIONS", "POSIXLY_CORRECT", "XDG_CONFIG_HOME", "PGSERVICEFILE"],
    ...[
      "PS1",
      "PS0",
      "PROMPT_COMMAND",
      "MAILPATH",
      "HISTFILE",
      "BASH_LOADABLES_PATH",
      "GLOBIGNORE",
    ],
    ...["VIMINIT", "EXINIT", "GOFLAGS", "CC", "npm_config_script_shell", "PIP_INDEX_URL", "DBUS_X"],
    ...["AWS_CONFIG_FILE", "AWS_SHARED_CREDENTIALS_FILE", "ANSIBLE_CONFIG", "GCC_EXEC_PREFIX"],
  ])
    assert.equal(maySet(name), false, name);
});

test("what says how things look or names a ticket is a policy's", () => {
  for (const name of [
    "LANG",
    "LC_ALL",
    "TZ",
    "COLORTERM",
    "NO_COLOR",
    "DEPLOY_TICKET",
    "COLUMNS",
    "AWS_REGION",
  ])
    assert.equal(maySet(name), true, name);
});
