# The ports the demo listens on. Some machines already have a database or a broker of their own:
# then all of the demo's ports are moved by the same number, which is kept in $DEMO/ports.
# shellcheck shell=bash

move_ports() { # move_ports NUMBER
    local name
    for name in "${!PORT[@]}"; do PORT[$name]=$((PORT[$name] + $1)); done
}

load_ports() {
    [[ ! -e $DEMO/ports ]] || move_ports "$(<"$DEMO/ports")"
}

taken_ports() { # taken_ports SHIFT: those of ours that somebody listens on
    local name port
    for name in "${!PORT[@]}"; do
        port=$((PORT[$name] + $1))
        ! ss -Hltn "sport = :$port" | grep . >/dev/null || echo "$name:$port"
    done
}

choose_ports() { # once, before anything is configured
    [[ ! -e $DEMO/ports ]] || return 0
    local shift taken
    for shift in ${NOVALET_DEMO_PORT_SHIFT:-0 1000 2000 7000 9000}; do
        taken=$(taken_ports "$shift" | tr '\n' ' ')
        [[ -z $taken ]] || { say "ports are taken on this machine: $taken"; continue; }
        echo "$shift" >"$DEMO/ports"
        [[ $shift -eq 0 ]] || say "all ports of the demo are moved by $shift"
        move_ports "$shift"
        return 0
    done
    fail "no free set of ports: stop what listens on them, or set NOVALET_DEMO_PORT_SHIFT=NUMBER"
}
