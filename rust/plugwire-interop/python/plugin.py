"""go-plugin's counter on gRPC's C core: it calls back its host to add, over a brokered connection.

Only what the messages of the protocol need is encoded, by hand.
"""

import os
import sys
import threading
from concurrent import futures

import grpc


def varint(number):
    encoded = bytearray()
    while number > 0x7F:
        encoded.append(number & 0x7F | 0x80)
        number >>= 7
    encoded.append(number)
    return bytes(encoded)


def fields(message):
    """Returns the fields of a message, by number."""
    found, at = {}, 0

    def read():
        nonlocal at
        number = shift = 0
        while True:
            byte = message[at]
            at += 1
            number |= (byte & 0x7F) << shift
            shift += 7
            if byte < 0x80:
                return number

    while at < len(message):
        key = read()
        value = read()
        if key & 7 == 2:
            value, at = message[at : at + value], at + value
        found[key >> 3] = value
    return found


def number(field, value):
    return varint(field << 3) + varint(value)


class Broker:
    """Learns from the host where it accepts each id."""

    def __init__(self):
        self.addresses = {}
        self.changed = threading.Condition()

    def start_stream(self, messages, context):
        for message in messages:
            connection = fields(message)
            with self.changed:
                name = connection[2].decode() + ":" + connection[3].decode()
                self.addresses[connection[1]] = name
                self.changed.notify_all()
        return
        yield

    def dial(self, id):
        with self.changed:
            self.changed.wait_for(lambda: id in self.addresses, timeout=60)
            return grpc.insecure_channel(self.addresses[id])


class Counter:
    def __init__(self, broker):
        self.broker = broker
        self.values = {}

    def get(self, message, context):
        return number(1, self.values.get(fields(message)[1], 0))

    def put(self, message, context):
        request = fields(message)
        key = request[2]
        with self.broker.dial(request[1]) as host:
            add = host.unary_unary("/proto.AddHelper/Sum")
            summands = number(1, self.values.get(key, 0)) + number(2, request[3])
            self.values[key] = fields(add(summands, timeout=60))[1]
        return b""


def main():
    assert os.environ["BASIC_PLUGIN"] == "hello"
    ended = threading.Event()
    broker = Broker()
    counter = Counter(broker)

    def shutdown(message, context):
        ended.set()
        return b""

    services = {
        "grpc.health.v1.Health": {"Check": grpc.unary_unary_rpc_method_handler(lambda *_: number(1, 1))},
        "plugin.GRPCController": {"Shutdown": grpc.unary_unary_rpc_method_handler(shutdown)},
        "plugin.GRPCBroker": {"StartStream": grpc.stream_stream_rpc_method_handler(broker.start_stream)},
        "proto.Counter": {
            "Get": grpc.unary_unary_rpc_method_handler(counter.get),
            "Put": grpc.unary_unary_rpc_method_handler(counter.put),
        },
    }
    server = grpc.server(futures.ThreadPoolExecutor(8))
    for name, methods in services.items():
        handler = grpc.method_handlers_generic_handler(name, methods)
        server.add_generic_rpc_handlers((handler,))
    socket = os.path.join(os.environ["PLUGIN_UNIX_SOCKET_DIR"], "plugin")
    server.add_insecure_port("unix:" + socket)
    server.start()
    print(f"1|1|unix|{socket}|grpc", flush=True)
    ended.wait()
    server.stop(grace=1).wait()
    os.remove(socket) if os.path.exists(socket) else None
    sys.exit(0)


main()
