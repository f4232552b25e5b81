"""kill -9 at random moments of the daemon and of its Kubo, under load from several clients, while another replica follows.

After each restart everything acknowledged is there exactly once, what was not acknowledged is there at most once, and the
daemon is ready within a second. PTWOP_KILLS and PTWOP_SEED choose how often and with which chance.
"""

import collections
import contextlib
import json
import os
import random
import sys
import threading
import time
import unittest

import fixtures
import kubo_nodes
from daemon import Daemon, RpcError, wait_until

KILLS = int(os.environ.get("PTWOP_KILLS", 40))
SEED = int(os.environ.get("PTWOP_SEED", random.SystemRandom().randrange(1 << 32)))
TIME_LIMIT_S = 600
FULL_CHECK_EVERY = 10
CLIENTS = 4
WINDOW = 24
READY_LIMIT_S = 1.0
TYPES = ("log", "count", "kv")


class Client:
    """Adds, puts and logs over one connection until it breaks; remembers what was sent and what was acknowledged."""

    def __init__(self, name):
        self.client = name
        self.number = 0
        self.sent = {}          # request -> (method, parameters)
        self.acknowledged = {}  # request -> result
        self.fresh = []         # acknowledged, and not looked at yet
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
            self.fresh.append(reply["id"])

    def count(self, method, requests):
        return sum(self.sent[request][0] == method for request in requests)


def everything(daemon):
    """All of kv as a dict, and how often each value stands in the log."""
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
    return kv, log


class Killed(unittest.TestCase):
    def check_sums(self, daemon, clients):
        for client in clients:
            self.assertIsNone(client.failure)
            value = daemon.call("count.get", channel="count", key=client.client)["value"]
            done, sent = (client.count("count.add", requests) for requests in (client.acknowledged, client.sent))
            self.assertTrue(done <= value <= sent, f"{client.client}: {done} <= {value} <= {sent}")

    def check_fresh(self, daemon, clients):
        """What was acknowledged since the last look is there."""
        for client in clients:
            fresh, client.fresh = client.fresh, []
            calls = {"kv.put": lambda request, _: ("kv.get", {"channel": "kv", "key": request}),
                     "log.add": lambda _, result: ("log.get", {"channel": "log", "id": result["id"]})}
            fresh = [request for request in fresh if client.sent[request][0] in calls]
            outcomes = daemon.pipeline([calls[client.sent[request][0]](request, client.acknowledged[request])
                                        for request in fresh])
            for request, outcome in zip(fresh, outcomes):
                self.assertNotIsInstance(outcome, RpcError, f"{request}: {outcome}")
                self.assertEqual(outcome["value"], client.sent[request][1]["value"])

    def check_all(self, daemon, clients):
        """Between acknowledged and sent, all of it, nothing twice."""
        kv, log = everything(daemon)
        self.assertLessEqual(max(log.values(), default=0), 1, "an entry twice")
        for client in clients:
            for request in client.acknowledged:
                method, params = client.sent[request]
                if method == "kv.put":
                    self.assertEqual(kv.get(request), params["value"])
                elif method == "log.add":
                    self.assertEqual(log[request], 1, request)
            self.assertLessEqual({name for name in (*kv, *log) if name.startswith(client.client)}, set(client.sent))

    def test_under_load(self):
        print(f"  PTWOP_SEED={SEED}")
        rng = random.Random(SEED)
        with contextlib.ExitStack() as stack:
            folder = fixtures.temporary_folder(stack)
            binary = fixtures.needs_kubo()
            kubos = [kubo_nodes.KuboNode(binary, folder / name) for name in ("k1", "k2")]
            for node in kubos:
                stack.callback(node.kill)
                node.start()
            kubo_nodes.connect(*kubos)
            daemon, other = (Daemon(folder / name, kubo=node) for name, node in zip("ab", kubos))
            for one in (daemon, other):
                stack.callback(one.kill)
                one.start()
                wait_until(lambda: fixtures.connected(one))
            for kind in TYPES:
                fixtures.share(kind, kind, daemon, other)
            clients = [Client(f"client {number}") for number in range(CLIENTS)]
            killed = collections.Counter()
            slowest = 0.0
            for kill in range(1, KILLS + 1):
                for client in clients:
                    if not (kill > 1 and client.thread.is_alive()):
                        client.start(daemon)
                time.sleep(rng.uniform(0, 0.5))
                if rng.random() < 0.2:  # the clients go on meanwhile
                    killed["Kubo"] += 1
                    kubos[0].kill()
                    kubos[0].start()
                    kubo_nodes.connect(*kubos)
                    continue
                killed["daemon"] += 1
                daemon.kill()
                for client in clients:
                    client.thread.join(10)
                began = time.monotonic()
                daemon.start()
                slowest = max(slowest, time.monotonic() - began)
                self.assertLess(slowest, READY_LIMIT_S)
                self.check_sums(daemon, clients)
                self.check_fresh(daemon, clients)
                if killed["daemon"] % FULL_CHECK_EVERY == 0:
                    self.check_all(daemon, clients)
                    print(f"  {kill} of {KILLS}", file=sys.stderr, flush=True)
            daemon.kill()
            for client in clients:
                client.thread.join(10)
            daemon.start()

            acknowledged = sum(len(client.acknowledged) for client in clients)
            self.assertGreater(acknowledged, 100 * killed["daemon"])
            # All of it again: the first results, and what was not acknowledged is done now, once.
            for client in clients:
                outcomes = daemon.pipeline(list(client.sent.values()))
                self.assertFalse([one for one in outcomes if isinstance(one, RpcError)])
                for request, outcome in zip(client.sent, outcomes):
                    self.assertEqual(client.acknowledged.setdefault(request, outcome), outcome)
            for kind in TYPES:
                fixtures.wait_for(other, kind, daemon.call("channel.clock", channel=kind)["at"], timeout_ms=90_000)
            for one in (daemon, other):
                self.check_all(one, clients)
                self.check_sums(one, clients)
            self.assertEqual(everything(daemon), everything(other))
            for kind in TYPES:
                self.assertEqual(len(fixtures.lists_of(other, kind, daemon)), 1, "a restart continues its list")
            wait_until(lambda: daemon.call("system.info")["outbox"] == 0, 60)
            print(f"  {acknowledged} writes acknowledged; {killed['daemon']} times the daemon and {killed['Kubo']} times its "
                  f"Kubo killed; ready after {slowest:.2f} s at most")


if __name__ == "__main__":
    unittest.main()
