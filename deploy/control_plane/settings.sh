# Where things are and what they are called. Sourced by deploy/demo and by the end-to-end tests.
# shellcheck shell=bash disable=SC2034

# Everything the demo writes is below one folder; what has to survive a reboot is in there too.
DEMO=${NOVALET_DEMO_DIR:-/var/lib/novalet-demo}
ROOT=$DEMO/root           # the control plane's own Debian
RUN=$DEMO/run             # pid files
LOG=$DEMO/log             # one log per service
DONE=$DEMO/done           # a marker per finished step of the installation
SECRETS=$DEMO/secrets     # one password per file, readable by root only
STATE=$DEMO/state         # novalet's state_path
INSTANCES=$DEMO/instances # guests' disks, the same path inside and outside of the root
AGENT_CONFIG=$DEMO/novalet.yaml

SOURCE=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)
PIECES=$SOURCE/deploy/control_plane
BINARY=${NOVALET_BINARY:-$SOURCE/build/release/novalet}

SUITE=bookworm            # Debian 12: OpenStack Zed
COMPUTE_HOST=demo-host    # novalet, L2 agent and DHCP agent report under this name
REGION=RegionOne
IMAGE=demo-guest FLAVOR=m1.nano NETWORK=demo
LIBVIRT_URI=qemu:///system

# name → port on 127.0.0.1; all are moved together when one of them is taken (ports.sh)
declare -A PORT=([database]=3306 [broker]=5672 [broker_peers]=25672 [broker_names]=4369
    [identity]=5000 [image]=9292 [placement]=8778 [network]=9696 [compute]=8774 [console]=6080
    [telemetry]=9177)
