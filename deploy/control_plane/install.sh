# What is done once: packages, configuration, databases, accounts. Each step has a marker in $DONE.
# shellcheck shell=bash

install_host_packages() {
    local names missing
    names=$(packages_of host)
    missing=$(for name in $names; do
        dpkg-query -W -f '${Status}' "$name" 2>/dev/null | grep ' installed$' >/dev/null || echo "$name"
    done)
    [[ -n $missing ]] || return 0
    apt-get -q update
    # packages must not start a libvirtd of theirs here; a machine with systemd starts it itself
    # shellcheck disable=SC2086 # a list of words
    DEBIAN_FRONTEND=noninteractive apt-get -q -y -o DPkg::Lock::Timeout=300 \
        --no-install-recommends install $missing
}

build_novalet() {
    local options=()
    # a build folder that tests/run made keeps its tests
    [[ -e $SOURCE/build/release/CMakeCache.txt ]] || options=(-DNOVALET_TESTS=OFF)
    (cd "$SOURCE" && cmake --preset release "${options[@]}")
    cmake --build "$SOURCE/build/release" --target novalet
}

prepare_root() {
    [[ -e $DONE/bootstrap ]] || { bootstrap_root; touch "$DONE/bootstrap"; }
    mount_root
    local packages
    packages=$DONE/packages.$(fingerprint "$PIECES/packages/control-plane")
    [[ -e $packages ]] || {
        install_in_root control-plane
        in_root root apt-get clean
        touch "$packages"
    }
}

# ---- configuration ----------------------------------------------------------------------------

# Passwords of the broker's users are stored salted and hashed, in RabbitMQ's own form.
broker_hash() {
    local salt=$RANDOM$RANDOM
    { printf '%.4s' "${salt}0000"; printf '%.4s%s' "${salt}0000" "$(secret broker)" |
        openssl dgst -sha256 -binary; } | base64 -w 0
}

api_service() { # api_service NAME USER WSGI-FILE PORT PROCESSES THREADS [MORE LINES]
    # shellcheck disable=SC2034 # the template names them
    local UWSGI_NAME=$1 UWSGI_USER=$2 UWSGI_FILE=$3 UWSGI_PORT=${PORT[$4]} \
        UWSGI_PROCESSES=$5 UWSGI_THREADS=$6 UWSGI_MORE=${7:-}
    mkdir -p "$ROOT/etc/novalet-demo"
    render "$PIECES/etc/novalet-demo/uwsgi.ini" >"$ROOT/etc/novalet-demo/$1.ini"
}

configure_api_services() {
    # uploads of unknown length
    local chunked='http-auto-chunked = true
http-chunked-input = true
http-raw-body = true
wsgi-manage-chunked-input = true'
    # neutron-api answers one connection once: its clients are told so
    local neutron='add-header = Connection: close
paste = config:/etc/neutron/api-paste.ini
pyargv = --config-file=/etc/neutron/neutron.conf --config-file=/etc/neutron/plugins/ml2/ml2_conf.ini'
    api_service keystone keystone keystone-wsgi-public identity 2 2
    api_service placement-api placement placement-api placement 1 4
    api_service glance-api glance glance-wsgi-api image 2 1 "$chunked"
    api_service neutron-api neutron neutron-api network 2 1 "$neutron"
    api_service nova-api nova nova-api-wsgi compute 2 1
}

configure() {
    # shellcheck disable=SC2034 # the template names it
    local BROKER_HASH
    BROKER_HASH=$(broker_hash)
    render_to /etc/mysql/mariadb.conf.d/99-demo.cnf mysql
    render_to /etc/rabbitmq/rabbitmq-env.conf rabbitmq
    render_to /etc/rabbitmq/rabbitmq.conf rabbitmq
    render_to /etc/rabbitmq/definitions.json rabbitmq
    render_to /etc/keystone/keystone.conf keystone
    render_to /etc/glance/glance-api.conf glance
    render_to /etc/placement/placement.conf placement
    render_to /etc/neutron/neutron.conf neutron
    render_to /etc/neutron/plugins/ml2/ml2_conf.ini neutron
    render_to /etc/neutron/plugins/ml2/linuxbridge_agent.ini neutron
    render_to /etc/neutron/dhcp_agent.ini neutron
    render_to /etc/nova/nova.conf nova
    render_to /etc/openstack/clouds.yaml root
    configure_api_services
    install -m 755 "$PIECES/ebtables" "$ROOT/usr/local/sbin/ebtables"
    local owner folder
    while read -r owner folder; do
        mkdir -p "$ROOT$folder"
        id_in_root "$owner" >/dev/null
        chroot "$ROOT" chown "$owner:" "$folder"
    done <<'FOLDERS'
neutron /var/lib/neutron
neutron /var/lib/neutron/lock
nova /var/lib/nova
nova /var/lib/nova/lock
glance /var/lib/glance/images
FOLDERS
    write_transport_url
}

write_transport_url() { # for novalet: the broker's URL with its password, as a file of its own
    (umask 077; printf 'rabbit://compute:%s@127.0.0.1:%s/' "$(secret broker)" "${PORT[broker]}" \
        >"$SECRETS/transport_url")
}

# ---- databases --------------------------------------------------------------------------------

# shellcheck disable=SC2120 # statements as -e STATEMENT, or on standard input
sql() { in_root root mariadb --batch --skip-column-names "$@"; }

create_databases() {
    local name user password
    password=$(secret database)
    for name in keystone glance placement neutron nova nova_api nova_cell0; do
        user=${name%%_*}
        # on standard input: arguments can be read by everybody
        sql <<SQL
CREATE DATABASE IF NOT EXISTS $name CHARACTER SET utf8mb3;
GRANT ALL ON $name.* TO '$user'@'127.0.0.1' IDENTIFIED BY '$password';
GRANT ALL ON $name.* TO '$user'@'localhost' IDENTIFIED BY '$password';
SQL
    done
}

fill_keystone() {
    in_root keystone keystone-manage db_sync
    in_root root keystone-manage fernet_setup --keystone-user keystone --keystone-group keystone
    in_root root keystone-manage credential_setup --keystone-user keystone --keystone-group keystone
    in_root keystone env "OS_BOOTSTRAP_PASSWORD=$(secret admin)" keystone-manage bootstrap \
        --bootstrap-public-url "$(identity_url)/" --bootstrap-internal-url "$(identity_url)/" \
        --bootstrap-region-id "$REGION"
}

fill_nova() {
    in_root nova nova-manage api_db sync
    in_root nova nova-manage cell_v2 map_cell0 --database_connection \
        "mysql+pymysql://nova:$(secret database)@127.0.0.1:${PORT[database]}/nova_cell0?charset=utf8"
    in_root nova nova-manage cell_v2 list_cells | grep ' cell1 ' >/dev/null ||
        in_root nova nova-manage cell_v2 create_cell --name cell1
    in_root nova nova-manage db sync
}

fill_others() {
    in_root glance glance-manage db_sync
    in_root placement placement-manage db sync
    in_root neutron neutron-db-manage --config-file /etc/neutron/neutron.conf \
        --config-file /etc/neutron/plugins/ml2/ml2_conf.ini upgrade heads
}

fill_databases() { # two at a time: there are two cores
    create_databases
    (set -e; fill_others) &
    local others=$!
    fill_keystone
    fill_nova
    wait "$others"
}

# ---- accounts and catalog ---------------------------------------------------------------------

id_by_name() { # id_by_name SERVICE PATH KEY NAME: empty when there is none
    api "$1" GET "$2" | jq -r --arg key "$3" --arg name "$4" \
        'first(.[$key][] | select(.name == $name) | .id) // empty'
}

create_account() { # create_account NAME PROJECT-ID ROLE-ID…
    local name=$1 project=$2 user role
    shift 2
    user=$(id_by_name identity "/v3/users?name=$name" users "$name")
    [[ -n $user ]] || user=$(jq -n --arg name "$name" --rawfile password "$SECRETS/$name" \
        '{user: {name: $name, password: $password, domain_id: "default"}}' |
        api identity POST /v3/users @- | jq -r .user.id)
    for role; do
        api identity PUT "/v3/projects/$project/users/$user/roles/$role"
    done
}

create_endpoints() { # create_endpoints TYPE NAME PORT-NAME [PATH]
    local service interface
    service=$(id_by_name identity "/v3/services?type=$1" services "$2")
    [[ -n $service ]] || service=$(jq -n --arg type "$1" --arg name "$2" \
        '{service: {type: $type, name: $name}}' | api identity POST /v3/services @- |
        jq -r .service.id)
    [[ $(api identity GET "/v3/endpoints?service_id=$service" | jq '.endpoints | length') -eq 0 ]] ||
        return 0
    for interface in public internal; do
        jq -n --arg service "$service" --arg interface "$interface" --arg region "$REGION" \
            --arg url "http://127.0.0.1:${PORT[$3]}${4:-}" '{endpoint: {service_id: $service,
                interface: $interface, region_id: $region, url: $url}}' |
            api identity POST /v3/endpoints @- >/dev/null
    done
}

fill_catalog() {
    log_in
    local project admin service name
    project=$(id_by_name identity '/v3/projects?name=service' projects service)
    [[ -n $project ]] || project=$(api identity POST /v3/projects \
        '{"project": {"name": "service", "domain_id": "default"}}' | jq -r .project.id)
    service=$(id_by_name identity '/v3/roles?name=service' roles service)
    [[ -n $service ]] || service=$(api identity POST /v3/roles '{"role": {"name": "service"}}' |
        jq -r .role.id)
    admin=$(id_by_name identity '/v3/roles?name=admin' roles admin)
    for name in nova glance placement neutron; do
        create_account "$name" "$project" "$admin" "$service"
    done
    create_endpoints image glance image
    create_endpoints placement placement placement
    create_endpoints network neutron network
    create_endpoints compute nova compute /v2.1
}
