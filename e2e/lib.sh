# Sourced by the end-to-end tests. Needs WKUBE and KUBECTL. Everything listens on free loopback ports and lives in
# temporary folders; at the end only what this test started is stopped.
set -uo pipefail
ROOT=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
: "${WKUBE:?path to the wkube binary}" "${KUBECTL:?path to kubectl}"
passed=0 failed=0 UP=
pass() { passed=$((passed + 1)); printf 'ok    %s\n' "$1"; }
fail() { failed=$((failed + 1)); printf 'FAIL  %s\n' "$1"; printf '%s\n' "${2:-}" | head -c 1500 | sed 's/^/      | /'; }

# holds NAME REGEX COMMAND...: the command succeeds and its output matches
holds() {
    local name=$1 regex=$2 out; shift 2
    if out=$(timeout "${LIMIT:-30}" "$@" 2>&1) && grep -qE -- "$regex" <<<"$out"; then pass "$name"; else fail "$name" "$out"; fi
}
# refused NAME REGEX COMMAND...: the command fails and says why
refused() {
    local name=$1 regex=$2 out; shift 2
    if out=$(timeout "${LIMIT:-30}" "$@" 2>&1); then fail "$name (it succeeded)" "$out"
    elif grep -qE -- "$regex" <<<"$out"; then pass "$name"; else fail "$name" "$out"; fi
}
# becomes NAME SECONDS REGEX COMMAND...: the output matches before the time is over
becomes() {
    local name=$1 end=$((SECONDS + $2)) regex=$3 out; shift 3
    while :; do
        out=$(timeout 15 "$@" 2>&1) && grep -qE -- "$regex" <<<"$out" && { pass "$name"; return; }
        [ $SECONDS -ge $end ] && { fail "$name" "$out"; return 1; }
        sleep 0.2
    done
}
# script COMMAND...: a program that prints `ok WHAT` for each thing that held, and fails at the first that did not
script() {
    local line what="$* starts"
    while IFS= read -r line; do
        case $line in "ok "*) what=${line#ok }; pass "$what" ;; *) printf '%s\n' "$line" >>"$SCRATCH/script.log" ;; esac
    done < <(timeout "${LIMIT:-180}" "$@" 2>&1; echo "exit $?")
    grep -qx 'exit 0' "$SCRATCH/script.log" || fail "what comes after: $what" "$(tail -25 "$SCRATCH/script.log")"
    rm -f "$SCRATCH/script.log"
}
free_port() { python3 "$ROOT/e2e/free_port.py" "$SCRATCH/ports"; } # every time another one

# The words of the tests are programs, not functions, so that `timeout` and `bash -c` can run them.
SCRATCH=$(mktemp -d)
trap '[ -n "$UP" ] && kill -9 "$UP" 2>/dev/null; rm -rf "$SCRATCH"' EXIT
word() { mkdir -p "$SCRATCH/bin"; printf '#!/usr/bin/env bash\n%s\n' "$2" >"$SCRATCH/bin/$1"; chmod +x "$SCRATCH/bin/$1"; }
export PATH=$SCRATCH/bin:$PATH WKUBE KUBECTL
word k 'exec "$KUBECTL" --kubeconfig "$KUBECONFIG" "$@"'
word w 'exec "$WKUBE" "$@"'
# web HOST PATH: a request through the gateway; prints the body in one line, then the status code
word web 'curl -s --noproxy "*" -m 10 -w " %{http_code}" -H "Host: $1" "http://$GATEWAY$2" | tr "\n" " "'

start() { # start [UP-FLAGS...]
    DIR=${DIR:-$SCRATCH/data} API=${API:-127.0.0.1:$(free_port)} GATEWAY=${GATEWAY:-127.0.0.1:$(free_port)}
    REGISTRY=${REGISTRY:-127.0.0.1:$(free_port)}
    export DIR API GATEWAY REGISTRY KUBECONFIG=$DIR/kubeconfig KUBECACHEDIR=$DIR/.kubectl-cache
    "$WKUBE" up --data-dir "$DIR" --api "$API" --gateway "$GATEWAY" --registry "$REGISTRY" ${WKUBE_UP_FLAGS:-} "$@" \
        >>"$DIR.log" 2>&1 &
    UP=$!
    local end=$((SECONDS + 60))
    until [ -s "$DIR/kubeconfig" ] && k get --raw /readyz >/dev/null 2>&1; do
        kill -0 $UP 2>/dev/null || { fail "start" "$(tail -5 "$DIR.log")"; return 1; }
        [ $SECONDS -lt $end ] || { fail "start: not ready in 60 s" "$(tail -5 "$DIR.log")"; return 1; }
        sleep 0.1
    done
}
stop() { # stop [SIGNAL]
    [ -n "$UP" ] || return 0
    {
        kill "-${1:-INT}" "$UP"
        timeout 20 tail --pid="$UP" -f /dev/null || { fail "stops within 20 s"; kill -9 "$UP"; }
        wait "$UP"
    } 2>/dev/null # the shell's own remark that it was killed
    UP=
}
finish() {
    stop
    printf '%d passed, %d failed\n' "$passed" "$failed"
    [ "$failed" = 0 ]
}
