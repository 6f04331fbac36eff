"""A host on gRPC's C core: starts a probe plugin, calls it under several authorities, and ends it.

    python3 host.py PLUGIN

Prints a line for each authority. Without one of its own, grpcio sends the socket's path.
"""

import os
import subprocess
import sys

import grpc

AUTHORITIES = [None, "localhost", "/tmp/plugin-1", "%2Ftmp%2Fplugin-1", "[", "a b", "unused:1"]
# A Payload whose field `data` is the five bytes of `hello`.
PAYLOAD = b"\x0a\x05hello"


def main():
    plugin = subprocess.Popen(
        sys.argv[1:], env=os.environ | {"PLUGIN_PROTOCOL_VERSIONS": "1"}, stdout=subprocess.PIPE
    )
    network, address = plugin.stdout.readline().decode().split("|")[2:4]
    for authority in AUTHORITIES:
        options = [] if authority is None else [("grpc.default_authority", authority)]
        with grpc.insecure_channel(f"{network}:{address}", options=options) as channel:
            echo = channel.unary_unary("/plugwire.probe.v1.Probe/Echo")
            assert echo(PAYLOAD, timeout=60) == PAYLOAD
            # The second call refers to what the first one's headers have put into HPACK's table.
            assert echo(PAYLOAD, timeout=60) == PAYLOAD
            print("called", authority, flush=True)
    with grpc.insecure_channel(f"{network}:{address}") as channel:
        channel.unary_unary("/plugin.GRPCController/Shutdown")(b"", timeout=60)
    print("ended", plugin.wait(60))


main()
