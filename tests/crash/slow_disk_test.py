"""A disk that is slow, and one that hangs: nothing is acknowledged before it is synced, reads and the loop go on meanwhile, and
`kill -9` in the middle of a sync loses nothing that was acknowledged.

slow_disk.cpp, loaded before libc, makes the daemon's own calls slow: that needs neither root nor a device.
"""

import contextlib
import json
import socket
import threading
import time
import unittest

import fixtures
from daemon import BUILD, Daemon, RpcError, wait_until

SHIM = BUILD / "tests/crash/libslow_disk.so"
HANG_MS = 3_600_000  # until the test lets it go
QUICK_S = 1.0        # generous: what is slow is for the benchmarks to say
ROUNDS = 8
CLIENTS = 4


class SlowDisk(Daemon):
    """Its writes and syncs take as long as `slow` says."""

    def __init__(self, folder, **environment):
        super().__init__(folder, environment={"LD_PRELOAD": str(SHIM), "PTWOP_SLOW_DISK": str(folder / "slow-disk"),
                                              **environment})
        self.control = folder / "slow-disk"

    def slow(self, sync_ms=0, write_ms=0):
        new = self.folder / "slow-disk.new"
        new.write_text(f"{sync_ms} {write_ms}\n")
        new.rename(self.control)

    def well(self):
        self.control.unlink(missing_ok=True)

    def start(self, **more):
        self.well()
        return super().start(**more)


class Pending:
    """One request on a connection of its own, whose answer may be long in coming."""

    def __init__(self, daemon, method, **params):
        self.connection = daemon.connect(validate=False)
        self.connection.send(json.dumps({"jsonrpc": "2.0", "id": 1, "method": method, "params": params}).encode() + b"\n")

    def answered(self, within_s):
        self.connection.socket.settimeout(within_s)
        with contextlib.suppress(TimeoutError, socket.timeout):
            self.reply = self.connection.read_reply()
            return True
        return False


class Notified:
    """In systemd's place: takes what the daemon tells it, at once."""

    def __init__(self, path):
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.socket.bind(str(path))
        self.socket.settimeout(0.2)
        self.lines = []
        self.thread = threading.Thread(target=self.run)

    def __enter__(self):
        self.ended = False
        self.thread.start()
        return self

    def __exit__(self, *_):
        self.ended = True
        self.thread.join()
        self.socket.close()

    def run(self):
        while not self.ended:
            with contextlib.suppress(TimeoutError, socket.timeout):
                self.lines += self.socket.recv(4096).decode().split("\n")

    def count(self, line):
        return self.lines.count(line)


class Writer:
    """Puts and counts until its connection breaks; remembers what was sent and what was acknowledged."""

    def __init__(self, name):
        self.writer = name
        self.sent, self.acknowledged = {}, {}
        self.failure = None

    def start(self, daemon):
        self.thread = threading.Thread(target=self.run, args=[daemon], daemon=True)
        self.thread.start()

    def run(self, daemon):
        try:
            with daemon.connect(validate=False) as connection:
                while True:
                    request = f"{self.writer}-{len(self.sent)}"
                    method, params = (("kv.put", {"channel": "kv", "key": request, "value": request}),
                                      ("count.add", {"channel": "count", "key": self.writer}))[len(self.sent) % 2]
                    self.sent[request] = (method, {**params, "request": request})
                    self.acknowledged[request] = connection.call(method, **params, request=request)
        except OSError:
            pass  # killed
        except BaseException as error:
            self.failure = error

    def adds(self, requests):
        return sum(self.sent[request][0] == "count.add" for request in requests)


class Slow(unittest.TestCase):
    def setUp(self):
        self.assertTrue(SHIM.exists(), "built by meson with the other programs")
        stack = contextlib.ExitStack()
        self.addCleanup(stack.close)
        folder = fixtures.temporary_folder(stack)
        self.notified = stack.enter_context(Notified(folder / "notify"))
        self.daemon = SlowDisk(folder / "d", NOTIFY_SOCKET=str(folder / "notify"), WATCHDOG_USEC="400000")
        stack.callback(self.daemon.kill)
        self.daemon.start()
        for kind in ("log", "count", "kv"):
            self.daemon.call("channel.create", name=kind, type=kind)
        self.daemon.call("kv.put", channel="kv", key="old", value="kept")
        self.counted = self.daemon.call("count.add", channel="count", by=5)["value"]
        self.daemon.call("log.add", channel="log", value="kept")

    def slowest_read(self, for_s):
        """In seconds, over all kinds of reads; each answers rightly."""
        reads = (("system.ready", {}, lambda result: result["ready"]),
                 ("kv.get", {"channel": "kv", "key": "old"}, lambda result: result["value"] == "kept"),
                 ("kv.list", {"channel": "kv", "prefix": "old"}, lambda result: len(result["entries"]) == 1),
                 ("count.get", {"channel": "count"}, lambda result: result["value"] >= self.counted),
                 ("log.list", {"channel": "log"}, lambda result: result["entries"][0]["value"] == "kept"),
                 ("channel.list", {}, lambda result: len(result["channels"]) == 3))
        slowest = 0.0
        end = time.monotonic() + for_s
        with self.daemon.connect(timeout_s=30) as connection:
            while time.monotonic() < end:
                for method, params, right in reads:
                    began = time.monotonic()
                    self.assertTrue(right(connection.call(method, **params)), method)
                    slowest = max(slowest, time.monotonic() - began)
                time.sleep(0.01)
        return slowest

    def hang(self, **how):
        self.daemon.slow(**how)
        put = Pending(self.daemon, "kv.put", channel="kv", key="new", value=1)
        add = Pending(self.daemon, "count.add", channel="count", by=2)
        beats = self.notified.count("WATCHDOG=1")
        slowest = self.slowest_read(2)
        self.assertLess(slowest, QUICK_S)
        self.assertGreater(self.notified.count("WATCHDOG=1"), beats + 4, "systemd would end it, though it serves")
        for one in (put, add):
            self.assertFalse(one.answered(0.1), "acknowledged before it was synced")
        self.daemon.well()
        for one in (put, add):
            self.assertTrue(one.answered(10))
            self.assertIn("result", one.reply)
        self.assertEqual(self.daemon.call("kv.get", channel="kv", key="new")["value"], 1)
        self.assertEqual(self.daemon.call("count.get", channel="count")["value"], self.counted + 2)
        self.daemon.restart()
        self.assertEqual(self.daemon.call("kv.get", channel="kv", key="new")["value"], 1)
        self.assertEqual(self.daemon.call("count.get", channel="count")["value"], self.counted + 2)
        print(f"  the slowest read took {1000 * slowest:.0f} ms")

    def test_a_sync_hangs(self):
        self.hang(sync_ms=HANG_MS)

    def test_a_write_hangs(self):
        self.hang(write_ms=HANG_MS)

    def test_everything_is_slow(self):
        """Who writes waits for the disk, all of them for the same sync; who reads does not."""
        self.daemon.slow(sync_ms=150, write_ms=2)
        writers = [Writer(f"writer {number}") for number in range(CLIENTS)]
        for writer in writers:
            writer.start(self.daemon)
        slowest = self.slowest_read(4)
        self.assertLess(slowest, QUICK_S)
        # What was taken is finished and answered before it ends, on a disk that stays slow.
        self.daemon.stop()
        for writer in writers:
            writer.thread.join(10)
            self.assertIsNone(writer.failure)
        done = sum(len(writer.acknowledged) for writer in writers)
        self.assertGreater(done, 2 * CLIENTS)
        self.daemon.start()
        self.check(writers)
        print(f"  {done} writes; the slowest read took {1000 * slowest:.0f} ms")

    def test_killed_in_a_sync(self):
        writers = [Writer(f"writer {number}") for number in range(CLIENTS)]
        pending = 0
        for number in range(ROUNDS):
            for writer in writers:
                writer.start(self.daemon)
            time.sleep(0.2)
            self.daemon.slow(**({"sync_ms": HANG_MS}, {"write_ms": HANG_MS})[number % 2])
            time.sleep(0.3)
            pending += sum(len(writer.sent) - len(writer.acknowledged) for writer in writers)
            self.daemon.kill()
            for writer in writers:
                writer.thread.join(10)
            self.daemon.start()
            self.check(writers)
            for writer in writers:  # what was in flight is done now, once
                for request in writer.sent.keys() - writer.acknowledged.keys():
                    method, params = writer.sent[request]
                    writer.acknowledged[request] = self.daemon.call(method, **params)
            self.check(writers)
        self.assertGreaterEqual(pending, ROUNDS * CLIENTS)
        print(f"  {sum(len(writer.acknowledged) for writer in writers)} writes, {pending} of them killed while they waited")

    def check(self, writers):
        entries, after = {}, None
        while True:
            page = self.daemon.call("kv.list", channel="kv", limit=1000, after=after)
            entries |= {entry["key"]: entry["value"] for entry in page["entries"]}
            if (after := page["next"]) is None:
                break
        for writer in writers:
            self.assertIsNone(writer.failure)
            puts = {request for request in writer.acknowledged if writer.sent[request][0] == "kv.put"}
            self.assertLessEqual(puts, {key for key, value in entries.items() if key == value})
            value = self.daemon.call("count.get", channel="count", key=writer.writer)["value"]
            self.assertTrue(writer.adds(writer.acknowledged) <= value <= writer.adds(writer.sent))


if __name__ == "__main__":
    unittest.main()
