"""A proxy in front of Kubo's API that delays, cuts, truncates, repeats, garbles and refuses: nothing is lost, nothing doubled,
the daemon stays as it is, and once the API is well again everything arrives."""

import contextlib
import os
import random
import socket
import threading
import time
import unittest

import fixtures
import kubo_nodes
from daemon import Daemon, RpcError, wait_until

BAD_S = float(os.environ.get("PTWOP_BAD_S", 20))
SEED = int(os.environ.get("PTWOP_SEED", random.SystemRandom().randrange(1 << 32)))
TIME_LIMIT_S = 300 + int(BAD_S)
SETTLE_S = 90 + int(BAD_S)  # what piled up meanwhile has to get through
RESIDENT_MAX_BYTES = 150 << 20


class BadApi:
    """A TCP proxy in front of a Kubo node's API. While `bad`, each request has its chance of a fault."""

    FAULTS = ("delay", "cut", "truncate", "repeat", "garble", "refuse", "error", "swallow")

    def __init__(self, node, seed):
        self.target = ("127.0.0.1", node.api_port)
        self.rng = random.Random(seed)
        self.bad = False
        self.done = {name: 0 for name in self.FAULTS}
        self.sockets = set()
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.api = f"/ip4/127.0.0.1/tcp/{self.listener.getsockname()[1]}"
        threading.Thread(target=self._accept, daemon=True).start()

    def close(self):
        self.listener.close()
        for one in list(self.sockets):
            one.close()

    def _accept(self):
        with contextlib.suppress(OSError):
            while True:
                client, _ = self.listener.accept()
                threading.Thread(target=self._serve, args=[client], daemon=True).start()

    def _fault(self, share=0.3):
        if not self.bad or self.rng.random() > share:
            return None
        fault = self.rng.choice(self.FAULTS)
        self.done[fault] += 1
        return fault

    def _serve(self, client):
        """One connection of the daemon's. A fault is chosen anew whenever the daemon speaks after Kubo did."""
        upstream = None
        with contextlib.suppress(OSError), client:
            upstream = socket.create_connection(self.target)
            self.sockets |= {client, upstream}
            state = {"fault": None, "answered": True}
            threading.Thread(target=self._answer, args=[client, upstream, state], daemon=True).start()
            while data := client.recv(1 << 16):
                if state["answered"]:
                    state["fault"], state["answered"] = self._fault(), False
                    if state["fault"] == "refuse":
                        break
                    if state["fault"] == "error":
                        body = b'{"Message":"not today","Code":0,"Type":"error"}'
                        client.sendall(b"HTTP/1.1 500 Internal Server Error\r\nContent-Type: application/json\r\n"
                                       b"Connection: close\r\nContent-Length: %d\r\n\r\n%b" % (len(body), body))
                        break
                    if state["fault"] == "repeat":
                        self._say_twice(data)
                if state["fault"] != "swallow":  # else Kubo never hears of it
                    upstream.sendall(data)
        for one in (client, upstream):
            if one:
                with contextlib.suppress(OSError):
                    one.shutdown(socket.SHUT_RDWR)
                one.close()
                self.sockets.discard(one)

    def _say_twice(self, data):
        with contextlib.suppress(OSError), socket.create_connection(self.target) as twice:
            twice.sendall(data)
            twice.settimeout(0.2)
            twice.recv(1 << 16)

    def _answer(self, client, upstream, state):
        with contextlib.suppress(OSError):
            while data := upstream.recv(1 << 16):
                state["answered"] = True
                fault = state["fault"]
                if fault is None and b"\r\n\r\n" not in data[:2048]:
                    fault = self._fault(0.02)  # in the middle of a stream
                if fault == "delay":
                    time.sleep(self.rng.uniform(0, 2))
                elif fault == "garble":
                    at = self.rng.randrange(len(data))
                    data = data[:at] + bytes([data[at] ^ (1 << self.rng.randrange(8))]) + data[at + 1:]
                elif fault == "truncate":
                    client.sendall(data[: self.rng.randrange(len(data))])
                    break
                elif fault == "cut":
                    break
                client.sendall(data)
        with contextlib.suppress(OSError):
            client.shutdown(socket.SHUT_RDWR)


class BadKubo(unittest.TestCase):
    def test_a_bad_api(self):
        print(f"  PTWOP_SEED={SEED}")
        with contextlib.ExitStack() as stack:
            folder = fixtures.temporary_folder(stack)
            binary = fixtures.needs_kubo()
            k1, k2 = (kubo_nodes.KuboNode(binary, folder / name) for name in ("k1", "k2"))
            for node in (k1, k2):
                stack.callback(node.kill)
                node.start()
            kubo_nodes.connect(k1, k2)
            api = BadApi(k1, SEED)
            stack.callback(api.close)
            a, b = Daemon(folder / "a", kubo=api.api), Daemon(folder / "b", kubo=k2)
            for one in (a, b):
                stack.callback(one.kill)
                one.start()
                wait_until(lambda: fixtures.connected(one))
            fixtures.share("count", "count", a, b)
            fixtures.share("kv", "kv", a, b)
            api.bad = True
            rng = random.Random(SEED)
            sums = {a: 0, b: 0}
            end = time.monotonic() + BAD_S
            number = 0
            while time.monotonic() < end:
                for one in (a, b):
                    by = rng.randrange(1000)
                    one.call("count.add", channel="count", by=by)
                    sums[one] += by
                number += 1
                # Small ones ride inline, large ones go by their CID.
                a.call("kv.put", channel="kv", key=f"k{number}", value="x" * rng.choice((10, 1000, 200_000)))
                time.sleep(rng.uniform(0, 0.1))
            self.assertGreater(sum(api.done.values()), 20, api.done)
            self.assertLess(a.resident_bytes(), RESIDENT_MAX_BYTES)
            api.bad = False
            for one, other in ((a, b), (b, a)):
                with other.connect(timeout_s=SETTLE_S + 30) as connection:
                    for channel in ("count", "kv"):
                        at = one.call("channel.clock", channel=channel)["at"]
                        connection.call("channel.wait", channel=channel, at=at, timeout_ms=1000 * SETTLE_S)
            for one in (a, b):
                self.assertEqual(one.call("count.get", channel="count")["value"], sum(sums.values()))
            for n in range(1, number + 1):
                self.assertEqual(b.call("kv.get", channel="kv", key=f"k{n}"), a.call("kv.get", channel="kv", key=f"k{n}"))
            wait_until(lambda: a.call("system.info")["outbox"] == 0, SETTLE_S)
            # A bit that fell in a pubsub message makes a forgery of it; nothing else was to be refused.
            self.assertLessEqual(set(a.call("system.stats")["refused"]), {"kubo", "forged_message", "malformed_message", "not_canonical"})
            print(f"  {api.done}; {number} rounds; {a.resident_bytes() >> 20} MiB resident")


if __name__ == "__main__":
    unittest.main()
