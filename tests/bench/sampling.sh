# Samples, what they mean, and the report: medians, spread and ratios.
# shellcheck shell=bash

# bench, figure, unit, what is better, the least ratio the design asks for (- = none), text.
# A ratio says how many times better novalet is.
FIGURES='
pss   pss.rest        MiB  lower  10 PSS at rest
pss   pss.booted      MiB  lower  10 PSS after the first boot
start start.consuming s    lower  20 exec until consuming requests
start start.up        s    lower  20 exec until reported up
start start.cpu       s    lower  -  CPU time until reported up
idle  idle.cpu        s    lower  50 CPU time in ten idle minutes
idle  idle.messages   1    lower  5  AMQP messages in ten idle minutes, both ways
idle  idle.sent       1    lower  -  of these sent
idle  idle.requests   1    lower  5  HTTP requests in ten idle minutes
rpc   rpc.per_core    1/s  higher 20 calls for each CPU second of the server
rpc   rpc.throughput  1/s  higher -  calls for each second, server pinned to one core
boot  boot.total      s    lower  -  POST until ACTIVE, image cached
boot  boot.agent      s    lower  -  of this since the agent took it over
boot  boot.cpu        s    lower  5  CPU time of the agent in it
'

sample() { # sample FIGURE AGENT VALUE
    printf '%s\t%s\t%s\n' "$1" "$2" "$3" >>"$WORK/samples"
    say "   $1 $2: $3"
}

# calculate EXPRESSION [VARIABLE=NUMBER…]: by awk, six digits after the point
calculate() {
    local expression=$1 options=()
    shift
    local pair
    for pair; do options+=(-v "$pair"); done
    awk "${options[@]}" "BEGIN { printf \"%.6f\", $expression }"
}

report_json() {
    [[ -e $WORK/samples ]] || fail 'nothing was measured'
    jq -n --rawfile figures <(printf '%s' "$FIGURES") --rawfile samples "$WORK/samples" \
        --arg runs "$RUNS" --arg seconds "$IDLE_SECONDS" --arg cpus "$(nproc)" \
        --arg before "$LOAD_BEFORE" --arg after "$(cut -d ' ' -f 1-3 /proc/loadavg)" \
        --arg version "$("$BINARY" --version 2>/dev/null | head -n 1)" '
        def median: sort | if length == 0 then null
            elif length % 2 == 1 then .[(length - 1) / 2]
            else (.[length / 2 - 1] + .[length / 2]) / 2 end;
        def summary: if length == 0 then null
            else {median: median, min: min, max: max, samples: .} end;
        ($samples | split("\n") | map(select(. != "") | split("\t"))) as $all
        | def of($figure; $agent): [$all[] | select(.[0] == $figure and .[1] == $agent)
            | .[2] | tonumber] | summary;
        {
            novalet: $version,
            machine: {cpus: ($cpus | tonumber), load_before: $before, load_after: $after},
            runs: ($runs | tonumber),
            idle_seconds: ($seconds | tonumber),
            figures: [$figures | split("\n")[] | select(. != "") | [splits(" +")]
                | {bench: .[0], figure: .[1], unit: .[2], better: .[3],
                    target: (if .[4] == "-" then null else .[4] | tonumber end),
                    text: (.[5:] | join(" "))}
                | . + {novalet: of(.figure; "novalet"), nova_compute: of(.figure; "nova-compute")}
                | select(.novalet != null)
                | . + {ratio: (
                    (if .better == "lower" then [.nova_compute.median, .novalet.median]
                        else [.novalet.median, .nova_compute.median] end) as [$over, $under]
                    | if $over == null or $under == null or $under == 0 then null
                        else $over / $under end)}
                # none at all is better by any ratio
                | . + {met: (if .target == null or .nova_compute == null then null
                    elif .novalet.median == 0 and .better == "lower" then true
                    else .ratio != null and .ratio >= .target end)}]
        }'
}

report_table() { # the same for people
    report_json | jq -r '
        def short: if . == null then "-"
            elif . >= 1000 then (. | round | tostring)
            elif . >= 10 then (. * 10 | round / 10 | tostring)
            else (. * 1000 | round / 1000 | tostring) end;
        def spread: if . == null then "-" else "\(.median | short) (\(.min | short)…\(.max | short))" end;
        (.figures[] | [.figure, "\(.text) [\(.unit)]", (.novalet | spread), (.nova_compute | spread),
            (.ratio | short), (if .target == null then "" else "≥ \(.target)" end),
            ({"true": "met", "false": "missed"}[.met | tostring] // "")]),
        ["", "\(.runs) runs, \(.machine.cpus) CPUs, load \(.machine.load_before) before and \(.machine.load_after) after"]
        | @tsv' | awk -F '\t' '
        BEGIN { row("FIGURE", "", "novalet", "nova-compute", "RATIO", "TARGET", "") }
        $1 == "" { print $2; next }
        { row($1, $2, $3, $4, $5, $6, $7) }
        function row(a, b, c, d, e, f, g) {
            line = sprintf("%-16s %-56s %-22s %-22s %7s  %-6s %s", a, b, c, d, e, f, g)
            sub(/ +$/, "", line)
            print line
        }'
}
