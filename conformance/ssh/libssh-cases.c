// libssh as the client, built by the suite: both ways of signing in, statuses, half-closed input, two
// streams, a terminal that changes its size, many channels, SFTP both ways, a denial. Ends with "ok".

#include <errno.h>
#include <fcntl.h>
#include <libssh/libssh.h>
#include <libssh/sftp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define CHANNELS 50
#define FILE_BYTES 700000

static ssh_session session;

static void check(int holds, const char *what) {
  if (holds) return;
  fprintf(stderr, "%s: %s\n", what, session ? ssh_get_error(session) : "");
  exit(1);
}

static const char *given(const char *name) {
  const char *value = getenv(name);
  if (value == NULL) exit(2);
  return value;
}

static void open_session(int by_keyboard) {
  int port = atoi(given("PORT"));
  ssh_key key;
  unsigned char *hash;
  size_t length;
  session = ssh_new();
  ssh_options_set(session, SSH_OPTIONS_HOST, "127.0.0.1");
  ssh_options_set(session, SSH_OPTIONS_PORT, &port);
  ssh_options_set(session, SSH_OPTIONS_USER, "web-1");
  check(ssh_connect(session) == SSH_OK, "connect");
  check(ssh_get_server_publickey(session, &key) == SSH_OK, "host key");
  check(ssh_get_publickey_hash(key, SSH_PUBLICKEY_HASH_SHA256, &hash, &length) == 0, "hash");
  char *text = ssh_get_fingerprint_hash(SSH_PUBLICKEY_HASH_SHA256, hash, length);
  check(strcmp(text, given("FINGERPRINT")) == 0, "the host's key is another");
  ssh_string_free_char(text);
  ssh_clean_pubkey_hash(&hash);
  ssh_key_free(key);
  if (!by_keyboard) {
    check(ssh_userauth_password(session, NULL, given("SECRET")) == SSH_AUTH_SUCCESS, "password");
    return;
  }
  int state = ssh_userauth_kbdint(session, NULL, NULL);
  while (state == SSH_AUTH_INFO) {
    for (int n = 0; n < ssh_userauth_kbdint_getnprompts(session); n++)
      check(ssh_userauth_kbdint_setanswer(session, n, given("SECRET")) == 0, "answer");
    state = ssh_userauth_kbdint(session, NULL, NULL);
  }
  check(state == SSH_AUTH_SUCCESS, "keyboard-interactive");
}

static ssh_channel start(const char *line) {
  ssh_channel channel = ssh_channel_new(session);
  check(channel != NULL && ssh_channel_open_session(channel) == SSH_OK, "channel");
  check(ssh_channel_request_exec(channel, line) == SSH_OK, line);
  return channel;
}

static void ends(ssh_channel channel, int is_stderr, const char *wanted, int status) {
  char text[8192];
  int length = 0, got;
  while ((got = ssh_channel_read(channel, text + length, sizeof text - 1 - length, is_stderr)) > 0)
    length += got;
  check(got == 0, "read");
  text[length] = 0;
  if (strstr(text, wanted) == NULL) fprintf(stderr, "got: %s\n", text);
  check(strstr(text, wanted) != NULL, wanted);
  while (!ssh_channel_is_closed(channel) && ssh_channel_poll(channel, 0) != SSH_ERROR)
    ;
  check(ssh_channel_get_exit_status(channel) == status, "status");
  ssh_channel_free(channel);
}

static void terminal(void) {
  char text[512];
  int length = 0;
  ssh_channel channel = ssh_channel_new(session);
  check(ssh_channel_open_session(channel) == SSH_OK, "channel");
  check(ssh_channel_request_pty_size(channel, "xterm", 101, 33) == SSH_OK, "terminal");
  check(ssh_channel_request_exec(channel, "cat") == SSH_OK, "cat");
  check(ssh_channel_change_pty_size(channel, 77, 22) == SSH_OK, "size");
  check(ssh_channel_write(channel, "echoed\n", 7) == 7, "write");
  // The terminal's echo, then cat's own: both have the line's end turned into two bytes.
  while (length < 16) {
    int got = ssh_channel_read(channel, text + length, sizeof text - length, 0);
    check(got > 0, "read");
    length += got;
  }
  check(memcmp(text, "echoed\r\nechoed\r\n", 16) == 0, "echo");
  check(ssh_channel_write(channel, "\x04", 1) == 1, "end of input");
  ends(channel, 0, "", 0);
}

static void files(void) {
  char path[1024];
  static char sent[FILE_BYTES], got[FILE_BYTES];
  for (int n = 0; n < FILE_BYTES; n++) sent[n] = (char)(n * 31 + n / 256);
  snprintf(path, sizeof path, "%s/by-libssh", given("FOLDER"));
  sftp_session sftp = sftp_new(session);
  check(sftp != NULL && sftp_init(sftp) == SSH_OK, "sftp");
  sftp_file file = sftp_open(sftp, path, O_WRONLY | O_CREAT | O_TRUNC, 0600);
  check(file != NULL, "open to write");
  for (int at = 0, put; at < FILE_BYTES; at += put) {
    int rest = FILE_BYTES - at;
    put = (int)sftp_write(file, sent + at, rest < 30000 ? rest : 30000);
    check(put > 0, "write");
  }
  check(sftp_close(file) == SSH_OK, "close");
  file = sftp_open(sftp, path, O_RDONLY, 0);
  check(file != NULL, "open to read");
  for (int at = 0; at < FILE_BYTES;) {
    int read = (int)sftp_read(file, got + at, FILE_BYTES - at);
    check(read > 0, "read");
    at += read;
  }
  check(sftp_close(file) == SSH_OK && memcmp(sent, got, FILE_BYTES) == 0, "the same bytes");
  snprintf(path, sizeof path, "%s/secret/key", given("FOLDER"));
  check(sftp_open(sftp, path, O_RDONLY, 0) == NULL, "what is secret is not opened");
  check(sftp_get_error(sftp) == SSH_FX_PERMISSION_DENIED, "and the error says so");
  sftp_free(sftp);
}

int main(void) {
  ssh_channel many[CHANNELS];
  char line[64];
  ssh_init();
  open_session(0);
  ends(start("echo hello; exit 3"), 0, "hello\n", 3);
  ssh_channel sort = start("sort");
  check(ssh_channel_write(sort, "b\na\n", 4) == 4 && ssh_channel_send_eof(sort) == SSH_OK, "eof");
  ends(sort, 0, "a\nb\n", 0);
  ends(start("rm /nothing"), 1, "Nothing is removed here", 126);
  terminal();
  for (int n = 0; n < CHANNELS; n++) {
    snprintf(line, sizeof line, "echo number %d", n);
    many[n] = start(line);
  }
  for (int n = CHANNELS - 1; n >= 0; n--) {
    snprintf(line, sizeof line, "number %d\n", n);
    ends(many[n], 0, line, 0);
  }
  files();
  ssh_disconnect(session);
  ssh_free(session);
  open_session(1);
  ends(start("id -un"), 0, given("ACCOUNT"), 0);
  ssh_disconnect(session);
  ssh_free(session);
  puts("ok");
  return 0;
}
