# The control plane's REST APIs by curl and jq: the openstack command takes seconds for each call.
# shellcheck shell=bash

log_in() { # a token of the administrator, kept as a header in $DEMO/token
    local headers
    headers=$(jq -n --rawfile password "$SECRETS/admin" '{auth: {
            identity: {methods: ["password"], password: {user: {
                name: "admin", domain: {name: "Default"}, password: $password}}},
            scope: {project: {name: "admin", domain: {name: "Default"}}}}}' |
        curl --silent --show-error --fail --noproxy '*' --max-time 60 --output /dev/null \
            --dump-header - -H 'Content-Type: application/json' --data @- \
            "$(identity_url)/auth/tokens") || return 1
    (umask 077
        printf '%s' "$headers" | tr -d '\r' | sed -n 's/^X-Subject-Token:/X-Auth-Token:/Ip' \
            >"$DEMO/token")
}

# api SERVICE METHOD PATH [BODY|@-]: the answer's body; says what was refused and fails otherwise
api() {
    local service=$1 method=$2 path=$3 answer
    shift 3
    local more=()
    [[ $# -eq 0 ]] || more=(-H 'Content-Type: application/json' --data "$1")
    case $service in
        compute) more+=(-H 'OpenStack-API-Version: compute 2.93') ;;
        placement) more+=(-H 'OpenStack-API-Version: placement 1.36') ;;
    esac
    answer=$(curl --silent --show-error --fail-with-body --noproxy '*' --max-time 120 \
        -X "$method" -H "@$DEMO/token" -H 'Accept: application/json' "${more[@]}" \
        "http://127.0.0.1:${PORT[$service]}$path") || {
        say "$method $service $path: $answer"
        return 1
    }
    [[ -z $answer ]] || printf '%s\n' "$answer"
}

