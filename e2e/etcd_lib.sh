# Sourced after lib.sh by the tests that need an etcd: its members, servers on it, and their end.
declare -A pid peer client api registry
export ETCDCTL_API=3 SCRATCH CLUSTER=
trap 'disown -a; kill -9 "${pid[@]}" 2>/dev/null; rm -rf "$SCRATCH"' EXIT
# member NAME [FLAG...]: starts a member whose peers are all names in `peer`
member() {
    local all= name
    for name in "${!peer[@]}"; do all+=",$name=http://127.0.0.1:${peer[$name]}"; done
    INITIAL=${all#,}
    etcd --name "$1" --data-dir "$SCRATCH/etcd-$1" --initial-cluster "$INITIAL" --initial-cluster-state new \
        --listen-peer-urls "http://127.0.0.1:${peer[$1]}" --initial-advertise-peer-urls "http://127.0.0.1:${peer[$1]}" \
        --listen-client-urls "${SCHEME:-http}://127.0.0.1:${client[$1]}" --heartbeat-interval 50 --election-timeout 500 \
        --advertise-client-urls "${SCHEME:-http}://127.0.0.1:${client[$1]}" "${@:2}" >>"$SCRATCH/etcd-$1.log" 2>&1 &
    pid[$1]=$!
}
# cluster NAME...: starts these members as one cluster; CLUSTER is its address
cluster() {
    local name
    peer=() client=() CLUSTER=
    for name; do peer[$name]=$(free_port) client[$name]=$(free_port); CLUSTER+=",127.0.0.1:${client[$name]}"; done
    CLUSTER=${CLUSTER#,}
    for name; do member "$name"; done
    becomes "etcd is up ($*)" 30 'is healthy' ctl endpoint health
}
word ctl 'exec etcdctl --endpoints "$CLUSTER" "$@"'
end() { # end NAME [SIGNAL]
    [ -n "${pid[$1]:-}" ] || return 0
    { kill "-${2:-KILL}" "${pid[$1]}" && wait "${pid[$1]}"; } 2>/dev/null
    unset "pid[$1]"
}
# server NAME [FLAG...]: a server with a data directory of its own, at the same addresses each time
server() {
    api[$1]=${api[$1]:-127.0.0.1:$(free_port)} registry[$1]=${registry[$1]:-127.0.0.1:$(free_port)}
    "$WKUBE" server --data-dir "$SCRATCH/$1" --api "${api[$1]}" --registry "${registry[$1]}" \
        --store "etcd://$CLUSTER" "${@:2}" >>"$SCRATCH/$1.log" 2>&1 &
    pid[$1]=$!
    export KUBECONFIG=$SCRATCH/$1/kubeconfig
    becomes "the server is ready ($1)" 60 '^ok$' k get --raw /readyz
}
# starts FLAG...: a server that is expected to refuse; in $DATA, or a new data directory
word starts 'exec timeout 20 "$WKUBE" server --data-dir "${DATA:-$(mktemp -d -p "$SCRATCH")}" --api 127.0.0.1:0 --registry 127.0.0.1:0 "$@"'
# at SERVER ARG...: kubectl
word at 'KUBECONFIG=$SCRATCH/$1/kubeconfig exec k "${@:2}"'
