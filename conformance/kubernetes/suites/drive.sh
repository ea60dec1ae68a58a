#!/usr/bin/env bash
# Runs one of Kubernetes' own test/cmd suites in a copy of its source, against the API server that
# SECURE_API_PORT names (with a path behind it for a gateway), in a namespace of its own if the third word is
# "namespace": drive.sh <folder> <function> <place>
set -o errexit -o nounset -o pipefail
cd "$1"
export TERM=xterm LANG=C
source hack/lib/init.sh
source hack/lib/test.sh
source test/cmd/legacy-script.sh
source inline.sh
# It looks at the server's handshake; that client certificates are taken is so for both.
kube::util::test_client_certificate_authentication_enabled() { :; }
kube::util::ensure-temp-dir
HOME="${KUBE_TEMP}"
kube::util::ensure-gnu-sed
CONTEXT=test
kubectl config set-credentials test-admin --token admin-token
kubectl config set-cluster local --insecure-skip-tls-verify --server "https://127.0.0.1:${SECURE_API_PORT}"
kubectl config set-context "${CONTEXT}" --user test-admin --cluster local
kubectl config use-context "${CONTEXT}"
export SUPPORTED_RESOURCES=("*")
if [ "$3" = namespace ]; then create_and_use_new_namespace; fi
# What the reports call themselves takes most short names: the suite's is written into the function.
eval "run_custody_tests() { $2; }"
WHAT=custody
runTests
