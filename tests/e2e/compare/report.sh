# What the control plane knows of the compute host, as lines "path<TAB>value" that can be compared.
# shellcheck shell=bash

# JSON inside JSON is opened. The order of lists says nothing, so an element has no number; a list of
# words inside a list is one value.
report_as_lines() {
    jq -r '
        def opened: if type == "string" and test("^\\s*[\\[{]") then (fromjson? // .) else . end;
        def is_row: type == "array" and length > 0 and all(type != "object" and type != "array");
        walk(opened) | walk(if type == "array" then map(if is_row then map(tostring) | join("/") else . end)
            else . end)
        | . as $report | paths(type != "object" and type != "array" or length == 0) as $path
        | "\($path | map(if type == "number" then "[]" else . end) | join("."))\t\($report
            | getpath($path) | tojson)"'
}

compute_node_record() { # the row of nova.compute_nodes
    local columns
    columns=$(sql -e "SET SESSION group_concat_max_len = 100000; SELECT GROUP_CONCAT(CONCAT('\'', column_name, '\', ', column_name))
        FROM information_schema.columns WHERE table_schema = 'nova' AND table_name = 'compute_nodes'")
    sql --raw -e "SELECT JSON_OBJECT($columns)
        FROM nova.compute_nodes WHERE host = '$COMPUTE_HOST' AND deleted = 0"
}

host_report() { # host_report: everything, as one document
    local provider hypervisor
    provider=$(provider_id)
    hypervisor=$(api compute GET /v2.1/os-hypervisors | jq -r '.hypervisors[0].id')
    jq -n \
        --argjson node "$(compute_node_record)" \
        --argjson service "$(api compute GET "/v2.1/os-services?binary=nova-compute&host=$COMPUTE_HOST")" \
        --argjson record "$(sql -e "SELECT JSON_OBJECT('version', version, 'topic', topic,
            'disabled_reason', disabled_reason) FROM nova.services
            WHERE host = '$COMPUTE_HOST' AND deleted = 0")" \
        --argjson hypervisor "$(api compute GET "/v2.1/os-hypervisors/$hypervisor?with_servers=false")" \
        --argjson statistics "$(curl --silent --noproxy '*' -H "@$DEMO/token" \
            -H 'OpenStack-API-Version: compute 2.79' \
            "http://127.0.0.1:${PORT[compute]}/v2.1/os-hypervisors/statistics")" \
        --argjson providers "$(api placement GET /resource_providers)" \
        --argjson inventories "$(api placement GET "/resource_providers/$provider/inventories")" \
        --argjson traits "$(api placement GET "/resource_providers/$provider/traits")" \
        --argjson aggregates "$(api placement GET "/resource_providers/$provider/aggregates")" \
        --argjson usages "$(api placement GET "/resource_providers/$provider/usages")" \
        '{compute_node: $node, service: $service.services[0], service_record: $record,
          hypervisor: $hypervisor.hypervisor, statistics: $statistics.hypervisor_statistics,
          placement: {providers: [$providers.resource_providers[].name],
              inventories: $inventories.inventories, traits: $traits.traits,
              aggregates: $aggregates.aggregates, usages: $usages.usages}}'
}
