#!/bin/bash
source "$(dirname "$0")/scenario.sh"
source "$here/compare/report.sh"
begin 'the control plane sees of novalet what it sees of nova-compute on the same machine'
# Both are asked when they are new to the control plane and again with a server on them. What
# differs must be in compare/explained with its reason.

report_to() { # report_to NAME: $WORK/NAME.empty and $WORK/NAME.busy
    local id
    host_report >"$WORK/$1.empty.json"
    id=$(create_server e2e-compare)
    wait_for_active "$id"
    host_report >"$WORK/$1.busy.json"
    delete_server "$id"
    local state
    for state in empty busy; do
        report_as_lines <"$WORK/$1.$state.json" | sort >"$WORK/$1.$state"
    done
}

explained() { # removes the lines whose path is in the list
    local pattern _reason
    cp "$1" "$1.rest"
    while read -r pattern _reason; do
        [[ $pattern = '#' || -z $pattern ]] && continue
        awk -F '\t' -v p="$pattern" '{path = substr($1, 3)} path !~ p' "$1.rest" >"$1.next"
        mv "$1.next" "$1.rest"
    done <"$here/compare/explained"
    cat "$1.rest"
}

stop_agent
forget_compute
start_agent
report_to novalet
stop_agent
forget_compute
start_reference
report_to nova-compute
stop_reference
forget_compute
start_agent

unexplained=
for state in empty busy; do
    # "< path value" is nova-compute's, "> path value" is novalet's
    diff "$WORK/nova-compute.$state" "$WORK/novalet.$state" | grep '^[<>]' >"$WORK/$state" || true
    note "$state host: $(wc -l <"$WORK/nova-compute.$state") fields, $(wc -l <"$WORK/$state") lines differ"
    unexplained+=$(explained "$WORK/$state")
done
[[ -z $unexplained ]] || fail "differences (< nova-compute, > novalet) that nobody explained:
$unexplained"
expect_empty
