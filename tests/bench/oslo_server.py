"""The RPC server that novalet's is measured against: oslo.messaging's, as nova-compute runs it
(eventlet, Nova's exchange and access policy), with the same trivial method. Without Nova's
serializers, which would only cost it time. The broker's URL is read from standard input.

usage: oslo_server.py HOST
"""
import eventlet

eventlet.monkey_patch()

import sys  # noqa: E402

from oslo_config import cfg  # noqa: E402
import oslo_messaging  # noqa: E402


class BaseApi:
    target = oslo_messaging.Target(namespace="baseapi", version="1.1")

    def ping(self, context, arg):
        return {"service": "compute", "arg": arg}


def main():
    url = sys.stdin.readline().strip()
    conf = cfg.ConfigOpts()
    conf([], project="nova", default_config_files=[])
    oslo_messaging.set_transport_defaults("nova")
    transport = oslo_messaging.get_rpc_transport(conf, url=url)
    server = oslo_messaging.get_rpc_server(
        transport,
        oslo_messaging.Target(topic="compute", server=sys.argv[1]),
        [BaseApi()],
        executor="eventlet",
        access_policy=oslo_messaging.DefaultRPCAccessPolicy,
    )
    server.start()
    server.wait()


main()
