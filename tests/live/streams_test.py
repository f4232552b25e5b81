"""The second lane: streams between daemons through real Kubo nodes, beside pubsub and in its place."""

import contextlib
import json
import os
import pathlib
import socket
import time
import unittest

import fixtures
import kubo_nodes
from daemon import Daemon, wait_until
from fixtures import connected, identity, share, wait_for


def lane(daemon, channel, peer):
    """How `daemon` reaches `peer` in a channel; None where it has not heard of it."""
    peers = daemon.call("channel.info", channel=channel)["peers"]
    return next((one["lane"] for one in peers if one["id"] == identity(peer)), None)


def streams(daemon):
    return daemon.call("system.stats")["streams"]


def listeners(node):
    return json.loads(node.rpc("p2p/ls"))["Listeners"] or []


def port_of(daemon, node):
    """Where a daemon listens for its identity's name: of its entries the port is the same in all."""
    ports = {one["TargetAddress"] for one in listeners(node) if one["ListenAddress"].startswith("/p2p/")}
    inodes = {os.readlink(f"/proc/{daemon.process.pid}/fd/{fd}") for fd in os.listdir(f"/proc/{daemon.process.pid}/fd")
              if os.path.islink(f"/proc/{daemon.process.pid}/fd/{fd}")}
    for line in pathlib.Path("/proc/net/tcp").read_text().splitlines():
        field = line.split()
        if field[3] == "0A" and f"socket:[{field[9]}]" in inodes:
            port = int(field[1].split(":")[1], 16)
            if f"/ip4/127.0.0.1/tcp/{port}" in ports:
                return port
    raise AssertionError("no such port")


class StreamsCase(unittest.TestCase):
    """Two connected Kubo nodes a test; daemons beside them."""

    pubsub = True

    def setUp(self):
        binary = fixtures.needs_kubo()
        self.stack = contextlib.ExitStack()
        self.addCleanup(self.stack.close)
        self.folder = fixtures.temporary_folder(self.stack)
        self.k1, self.k2 = (kubo_nodes.KuboNode(binary, self.folder / name, pubsub=self.pubsub) for name in ("k1", "k2"))
        for node in (self.k1, self.k2):
            self.stack.callback(node.kill)
            node.start()
        kubo_nodes.connect(self.k1, self.k2)
        self.name = self._testMethodName.removeprefix("test_")[:60]

    def daemon(self, name, kubo):
        daemon = Daemon(self.folder / name, kubo=kubo)
        self.stack.callback(daemon.kill)
        daemon.start()
        wait_until(lambda: connected(daemon))
        return daemon

    def linked(self, a, b, timeout_s=30):
        wait_until(lambda: lane(a, self.name, b) == lane(b, self.name, a) == "stream", timeout_s)

    def fill(self, daemon, batches, key="k"):
        """Batches of 100 entries of 400 hex digits; the last token."""
        calls = []
        for batch in range(batches):
            ops = [{"put": {"key": f"{key}{batch:05}-{number:03}", "value": os.urandom(200).hex()}} for number in range(100)]
            calls.append(("kv.batch", {"channel": self.name, "ops": ops}))
        outcomes = daemon.pipeline(calls)
        for outcome in outcomes:
            if isinstance(outcome, Exception):
                raise outcome
        return outcomes[-1]["at"]


class BesidePubsub(StreamsCase):
    def test_bulk_goes_over_the_stream(self):
        a, b = self.daemon("a", self.k1), self.daemon("b", self.k2)
        share("first", "kv", a, b)
        wait_until(lambda: streams(a)["open"] == streams(b)["open"] == 1)
        self.assertIs(a.call("system.info")["kubo"]["streams"], True)
        address = a.call("channel.create", name=self.name, type="kv")["address"]
        a.call("channel.grant", channel=self.name, id=identity(b), role="write")
        at = self.fill(a, 200)  # 8 MB
        b.call("channel.join", address=address, name=self.name)
        wait_for(b, self.name, at)
        sent = streams(a)["bytes_sent"]
        print(f"\n  over the stream: {sent} bytes", flush=True)
        self.assertGreater(sent, 4_000_000)  # hex digits, compressed
        self.assertEqual(lane(a, self.name, b), "stream")
        self.assertEqual(streams(a)["refused"], 0)

    def test_falls_back_when_kubo_goes_and_comes_back(self):
        a, b = self.daemon("a", self.k1), self.daemon("b", self.k2)
        share(self.name, "kv", a, b)
        self.linked(a, b)
        at = self.fill(a, 100)
        self.k2.kill()
        wait_until(lambda: not connected(b))
        wait_until(lambda: lane(a, self.name, b) == "pubsub", 40)
        self.fill(a, 20, "later")
        at = self.fill(a, 1, "last")
        self.k2.start()
        kubo_nodes.connect(self.k1, self.k2)
        wait_for(b, self.name, at)
        wait_for(a, self.name, b.call("kv.put", channel=self.name, key="from b", value=1)["at"])
        self.linked(a, b, 40)

    def test_without_streams_in_kubo_nothing_is_amiss(self):
        self.k2.stop()
        self.k2.config("Experimental.Libp2pStreamMounting", False)
        self.k2.start()
        kubo_nodes.connect(self.k1, self.k2)
        a, b = self.daemon("a", self.k1), self.daemon("b", self.k2)
        share(self.name, "kv", a, b)
        wait_for(b, self.name, self.fill(a, 20))
        self.assertIs(b.call("system.info")["kubo"]["streams"], False)
        self.assertEqual((lane(a, self.name, b), lane(b, self.name, a)), ("pubsub", "pubsub"))
        self.assertIsNone(b.call("system.info")["kubo"]["trouble"])

    def test_a_stranger_at_the_port_gets_nothing(self):
        a, b = self.daemon("a", self.k1), self.daemon("b", self.k2)
        share(self.name, "kv", a, b)
        self.linked(a, b)
        port = port_of(a, self.k1)
        for call in (b"GET / HTTP/1.1\r\n\r\n" + b" " * 100, os.urandom(56), b"ptwopst\x01" + os.urandom(5000)):
            with socket.create_connection(("127.0.0.1", port), timeout=10) as stranger:
                with contextlib.suppress(OSError):
                    stranger.sendall(call)
                    self.assertEqual(stranger.recv(100), b"")
        self.assertGreaterEqual(streams(a)["refused"], 3)
        # Many who say nothing: they are put out, and neither cost much nor keep others out.
        before = a.resident_bytes()
        with contextlib.ExitStack() as silent:
            for _ in range(400):
                silent.enter_context(socket.create_connection(("127.0.0.1", port), timeout=10))
            wait_for(b, self.name, a.call("kv.put", channel=self.name, key="k", value=1)["at"])
            b.restart()
            wait_until(lambda: connected(b))
            self.linked(a, b)
            late = silent.enter_context(socket.create_connection(("127.0.0.1", port), timeout=10))
            self.assertEqual(late.recv(100), b"")  # after 5 s of silence
        self.assertLess(a.resident_bytes() - before, 8 << 20)

    def test_two_beside_one_kubo_and_what_a_killed_one_left(self):
        a, c = self.daemon("a", self.k1), self.daemon("c", self.k1)
        share(self.name, "kv", a, c)
        self.linked(a, c)
        before = listeners(self.k1)
        mine = {one["Protocol"] for one in before if one["TargetAddress"].endswith(f"/{port_of(a, self.k1)}")}
        self.k1.rpc("p2p/listen", arg=["/x/somebody-else", "/ip4/127.0.0.1/tcp/9"])
        a.kill()
        a.start()
        wait_until(lambda: connected(a))
        self.linked(a, c)
        wait_for(c, self.name, a.call("kv.put", channel=self.name, key="k", value=1)["at"])

        def settled():
            port = f"/{port_of(a, self.k1)}"
            now = listeners(self.k1)
            names = [one["Protocol"] for one in now]
            return len(names) == len(set(names)) and "/x/somebody-else" in names and mine & {
                one["Protocol"] for one in now if one["TargetAddress"].endswith(port)}
        wait_until(settled, 15)
        self.assertFalse([one for one in listeners(self.k1) if one["ListenAddress"].startswith("/ip4/")])


class WithoutPubsub(StreamsCase):
    pubsub = False

    def test_writes_arrive_and_members_find_each_other(self):
        a, b, c = self.daemon("a", self.k1), self.daemon("b", self.k2), self.daemon("c", self.k1)
        share(self.name, "kv", a, b, c)
        for at_, of in ((a, b), (b, a), (b, c), (c, b), (a, c), (c, a)):
            wait_for(of, self.name, at_.call("kv.put", channel=self.name, key="k", value=1)["at"])
        times = []
        for step in range(20):
            began = time.monotonic()
            wait_for(b, self.name, a.call("kv.put", channel=self.name, key="k", value=step)["at"])
            times.append(time.monotonic() - began)
        print(f"\n  seen by the other without pubsub: median {sorted(times)[10] * 1000:.1f} ms", flush=True)
        self.assertLess(sorted(times)[10], 1)
        at = self.fill(a, 50)
        wait_for(b, self.name, at)
        # A second channel while the streams are there.
        share(self.name + "-2", "log", b, a)
        wait_for(b, self.name + "-2", a.call("log.add", channel=self.name + "-2", value=1)["at"])

    def test_back_after_a_restart_of_all(self):
        a, b = self.daemon("a", self.k1), self.daemon("b", self.k2)
        share(self.name, "kv", a, b)
        wait_for(a, self.name, b.call("kv.put", channel=self.name, key="k", value=1)["at"])
        for daemon in (a, b):
            daemon.stop()
        for node in (self.k1, self.k2):
            node.stop()
        for node in (self.k1, self.k2):
            node.start()  # nobody connects them: the daemons know where they were
        for daemon in (a, b):
            daemon.start()
        wait_for(b, self.name, a.call("kv.put", channel=self.name, key="k", value=2)["at"])

    def test_one_has_pubsub_and_the_other_has_not(self):
        self.k1.stop()
        self.k1.config("Pubsub.Enabled", True)
        self.k1.start()
        kubo_nodes.connect(self.k1, self.k2)
        a, b = self.daemon("a", self.k1), self.daemon("b", self.k2)
        share(self.name, "kv", a, b)
        wait_for(b, self.name, a.call("kv.put", channel=self.name, key="k", value=1)["at"])
        wait_for(a, self.name, b.call("kv.put", channel=self.name, key="k", value=2)["at"])


if __name__ == "__main__":
    unittest.main()
