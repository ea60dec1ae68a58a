#!/usr/bin/env bash
# The script of the action: the inputs are in STEP_*, the platform's own in ACTIONS_ID_TOKEN_REQUEST_*.
# https://docs.github.com/actions/reference/openid-connect-reference
set -euo pipefail

if [ -z "${ACTIONS_ID_TOKEN_REQUEST_URL:-}" ]; then
  echo "custody: this job gets no OIDC token; give it permissions: id-token: write" >&2
  exit 2
fi

work=$(mktemp -d)
export CUSTODY_HOME=$work/home
cleanup() {
  "$STEP_CUSTODY" logout >/dev/null 2>&1 || true
  rm -rf "$work"
}
trap cleanup EXIT

trust=()
if [ -n "$STEP_CA" ]; then
  printf '%s\n' "$STEP_CA" >"$work/ca.pem"
  trust=(--ca-file "$work/ca.pem")
fi

# The request's credential goes in by standard input, where no list of processes shows it; so does the
# token, out of the answer {"value":"<JWT>"}.
printf 'header = "Authorization: bearer %s"\n' "$ACTIONS_ID_TOKEN_REQUEST_TOKEN" |
  curl --fail --silent --show-error --config - --get \
    --data-urlencode "audience=$STEP_AUDIENCE" "$ACTIONS_ID_TOKEN_REQUEST_URL" |
  sed -n 's/.*"value" *: *"\([A-Za-z0-9._-]*\)".*/\1/p' |
  "$STEP_CUSTODY" login "$STEP_URL" ${trust[@]+"${trust[@]}"} --token-file - --token-type jwt >/dev/null

printf '%s\n' "$STEP_RUN" >"$work/step"
read -r -a targets <<<"$STEP_TARGET"
read -r -a resources <<<"$STEP_RESOURCES"
options=(--target "${targets[@]}" --ttl "$STEP_TTL" --name "$STEP_NAME")
if [ ${#resources[@]} -gt 0 ]; then options+=(--resources "${resources[@]}"); fi
if [ -n "$STEP_WHY" ]; then options+=(--why "$STEP_WHY"); fi
"$STEP_CUSTODY" run "${options[@]}" -- bash -eo pipefail "$work/step"
