# Configuration files: templates below etc/ with {{PORT_x}}, {{SECRET_x}}, {{NAME}}
# (a setting) and a line {{auth USER}}.
# shellcheck shell=bash

# secret NAME: a password of this demo, made at the first use; never printed by any verb
secret() {
    local file=$SECRETS/$1
    [[ -e $file ]] || (umask 077; head -c 18 /dev/urandom | base64 | tr '+/' '-_' | tr -d '\n' >"$file")
    cat "$file"
}

identity_url() { echo "http://127.0.0.1:${PORT[identity]}/v3"; }

auth_block() { # auth_block USER: how a service logs in at Keystone
    cat <<EOF
auth_type = password
auth_url = $(identity_url)
username = $1
password = $(secret "$1")
project_name = service
user_domain_name = Default
project_domain_name = Default
region_name = $REGION
EOF
}

# render TEMPLATE: to standard output; an unknown placeholder is an error
render() {
    local line name value
    while IFS= read -r line || [[ -n $line ]]; do
        if [[ $line =~ ^\{\{auth\ ([a-z]+)\}\}$ ]]; then
            auth_block "${BASH_REMATCH[1]}"
            continue
        fi
        while [[ $line =~ ^(.*)\{\{([A-Za-z_]+)\}\}(.*)$ ]]; do
            name=${BASH_REMATCH[2]}
            case $name in
                PORT_*) value=${PORT[${name#PORT_}]} ;;
                SECRET_*) value=$(secret "${name#SECRET_}") ;;
                *) value=${!name} ;;
            esac
            line=${BASH_REMATCH[1]}$value${BASH_REMATCH[3]}
        done
        printf '%s\n' "$line"
    done <"$1"
}

# render_to FILE-IN-ROOT GROUP: the template of the same path, readable by the service only
render_to() {
    local file=$ROOT$1
    mkdir -p "${file%/*}"
    (umask 077; render "$PIECES$1" >"$file.new")
    chmod 640 "$file.new"
    chown "root:$(chroot "$ROOT" getent group "$2" | cut -d: -f3)" "$file.new"
    mv "$file.new" "$file"
}
