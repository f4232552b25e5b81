"""kill -9 under load, a few times: what was acknowledged is there exactly once, and a request repeated does nothing."""

import collections
import contextlib
import json
import random
import threading
import time
import unittest

import fixtures
from daemon import Daemon, RpcError

ROUNDS = 5
CLIENTS = 4
WINDOW = 24


class Client:
    """Adds, puts and logs over one connection until it breaks; remembers what was sent and what was acknowledged."""

    def __init__(self, name):
        self.client = name
        self.number = 0
        self.sent = {}          # request -> (method, parameters)
        self.acknowledged = {}  # request -> result
        self.failure = None

    def start(self, daemon):
        self.thread = threading.Thread(target=self.run, args=[daemon], daemon=True)
        self.thread.start()

    def next_call(self):
        self.number += 1
        request = f"{self.client}-{self.number}"
        method, params = (("kv.put", {"channel": "kv", "key": request, "value": self.number}),
                          ("count.add", {"channel": "count", "key": self.client}),
                          ("log.add", {"channel": "log", "value": request}))[self.number % 3]
        return request, method, {**params, "request": request}

    def run(self, daemon):
        try:
            with daemon.connect(validate=False) as connection:
                while True:
                    self.exchange(connection, [self.next_call() for _ in range(WINDOW)])
        except OSError:
            pass  # killed
        except BaseException as error:
            self.failure = error

    def exchange(self, connection, calls):
        """What was answered before the end counts, also when the rest was not."""
        self.sent.update((request, (method, params)) for request, method, params in calls)
        requests = [{"jsonrpc": "2.0", "id": request, "method": method, "params": params}
                    for request, method, params in calls]
        connection.send(b"".join(json.dumps(request).encode() + b"\n" for request in requests))
        for _ in calls:
            reply = connection.read_reply()
            self.acknowledged[reply["id"]] = reply["result"]


class Killed(unittest.TestCase):
    def check(self, daemon, clients):
        """Between acknowledged and sent, all of it."""
        kv, log = {}, collections.Counter()
        for method, found in (("kv.list", lambda entry: kv.update({entry["key"]: entry["value"]})),
                              ("log.list", lambda entry: log.update([entry["value"]]))):
            after = None
            while True:
                page = daemon.call(method, channel=method.split(".")[0], limit=1000, after=after)
                for entry in page["entries"]:
                    found(entry)
                if (after := page["next"]) is None:
                    break
        self.assertLessEqual(max(log.values(), default=0), 1, "an entry twice")
        for client in clients:
            self.assertIsNone(client.failure)
            adds = collections.Counter(method for method, _ in client.sent.values())["count.add"]
            done = collections.Counter(client.sent[request][0] for request in client.acknowledged)["count.add"]
            value = daemon.call("count.get", channel="count", key=client.client)["value"]
            self.assertTrue(done <= value <= adds, f"{client.client}: {done} <= {value} <= {adds}")
            for request in client.acknowledged:
                method, params = client.sent[request]
                if method == "kv.put":
                    self.assertEqual(kv.get(request), params["value"])
                elif method == "log.add":
                    self.assertEqual(log[request], 1)
            self.assertLessEqual({name for name in (*kv, *log) if name.startswith(client.client)}, set(client.sent))

    def test_under_load(self):
        rng = random.Random(3)
        with contextlib.ExitStack() as stack:
            daemon = Daemon(fixtures.temporary_folder(stack) / "d")
            stack.callback(daemon.kill)
            daemon.start()
            for kind in ("log", "count", "kv"):
                daemon.call("channel.create", name=kind, type=kind)
            clients = [Client(f"client {number}") for number in range(CLIENTS)]
            for _ in range(ROUNDS):
                for client in clients:
                    client.start(daemon)
                time.sleep(rng.uniform(0.1, 0.6))
                daemon.kill()
                for client in clients:
                    client.thread.join(10)
                daemon.start()
                self.check(daemon, clients)

            acknowledged = sum(len(client.acknowledged) for client in clients)
            self.assertGreater(acknowledged, 200)
            # All of it again: the first results, and what was not acknowledged is done now, once.
            for client in clients:
                outcomes = daemon.pipeline(list(client.sent.values()))
                self.assertFalse([one for one in outcomes if isinstance(one, RpcError)])
                for request, outcome in zip(client.sent, outcomes):
                    self.assertEqual(client.acknowledged.setdefault(request, outcome), outcome)
            self.check(daemon, clients)
            lists = daemon.call("channel.info", channel="log")["lists"]
            self.assertEqual(len([one for one in lists if not one.get("control")]), 1, "a restart continues its list")
            print(f"  {acknowledged} writes acknowledged, {ROUNDS} times killed")


if __name__ == "__main__":
    unittest.main()
