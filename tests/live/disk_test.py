"""A full disk: writes are refused, reads go on, and with space again writes go on as well."""

import contextlib
import errno
import pathlib
import subprocess
import unittest

import fixtures
from daemon import Daemon, RpcError, wait_until

DISK_BYTES = 32 << 20
# In namespaces of its own a process may mount; nobody else sees it.
NAMESPACES = ["unshare", "--map-root-user", "--mount"]


class SmallDisk(Daemon):
    """Its data folder is a file system of DISK_BYTES."""

    def command(self):
        mount = f'mount -t tmpfs -o size={DISK_BYTES},mode=700 small-disk "$0" && exec "$@"'
        return [*NAMESPACES, "sh", "-c", mount, str(self.data), *super().command()]

    @property
    def seen(self):
        """The data folder as the daemon sees it."""
        return pathlib.Path(f"/proc/{self.process.pid}/root{self.data}")

    def fill(self):
        """A file that takes all that is free."""
        with open(self.seen / "filler", "ab", buffering=0) as filler:
            try:
                while True:
                    filler.write(bytes(1 << 16))
            except OSError as error:
                assert error.errno == errno.ENOSPC, error

    def free(self):
        (self.seen / "filler").unlink()


class FullDisk(unittest.TestCase):
    def setUp(self):
        if subprocess.run([*NAMESPACES, "mount", "-t", "tmpfs", "none", "/mnt"], capture_output=True).returncode:
            self.skipTest("no user namespaces here, so no small disk")
        stack = contextlib.ExitStack()
        self.addCleanup(stack.close)
        self.daemon = SmallDisk(fixtures.temporary_folder(stack) / "d")
        self.daemon.data.mkdir()
        stack.callback(self.daemon.kill)
        self.daemon.start()
        for kind in ("log", "count", "kv"):
            self.daemon.call("channel.create", name=kind, type=kind)

    def fill_up(self):
        """Until writes are refused; the refusal. What is acknowledged meanwhile goes into self.written."""
        self.daemon.fill()
        for number in range(3000):
            key = f"k{number}"
            (outcome,) = self.daemon.pipeline([("kv.put", {"channel": "kv", "key": key, "value": "x" * 10_000})])
            if isinstance(outcome, RpcError):
                return outcome
            self.written.add(key)
        self.fail("writes went on on a full disk")

    def keys(self):
        entries = self.daemon.call("kv.list", channel="kv", limit=1000)["entries"]
        return {entry["key"] for entry in entries}

    def test_refused_and_recovered(self):
        self.written = {"before"}
        self.daemon.call("kv.put", channel="kv", key="before", value="still here")
        counted = self.daemon.call("count.add", channel="count", by=5)["value"]
        refusal = self.fill_up()
        self.assertEqual((refusal.code, refusal.data["kind"], refusal.data["retryable"]), (501, "disk_full", True))
        for method, params in (("kv.put", {"channel": "kv", "key": "no", "value": "x" * 10_000}),
                               ("count.add", {"channel": "count", "by": 1}),
                               ("log.add", {"channel": "log", "value": 1}),
                               ("kv.batch", {"channel": "kv", "ops": [{"del": {"key": "before"}}]}),
                               ("channel.create", {"name": "new", "type": "kv"})):
            with self.subTest(method=method):
                self.assertEqual(self.daemon.refusal(method, **params).code, 501)
        # The log of a full disk must not fill another.
        for _ in range(100):
            self.daemon.refusal("count.add", channel="count")
        self.assertLess(self.daemon.log_path.read_text().count("a commit failed"), 3)
        # Nothing of what was refused shows, and the rest is read as before.
        self.assertEqual(self.daemon.call("kv.get", channel="kv", key="before")["value"], "still here")
        self.assertEqual(self.daemon.call("count.get", channel="count")["value"], counted)
        self.assertEqual(self.daemon.call("log.list", channel="log")["entries"], [])
        self.assertEqual(self.keys(), self.written)
        self.assertNotIn("new", [one["name"] for one in self.daemon.call("channel.list")["channels"]])
        self.assertGreater(self.daemon.call("system.stats")["refused"]["disk_full"], 0)

        self.daemon.free()
        add = [("count.add", {"channel": "count", "by": 2})]
        wait_until(lambda: isinstance(self.daemon.pipeline(add)[0], dict), 20, 0.2)
        self.assertEqual(self.daemon.call("count.get", channel="count")["value"], counted + 2)
        self.daemon.call("kv.put", channel="kv", key="after", value=1)
        self.assertEqual(self.keys(), self.written | {"after"})
        self.daemon.call("log.add", channel="log", value=1)

    def test_ends_cleanly(self):
        self.written = set()
        self.fill_up()
        self.daemon.stop()


if __name__ == "__main__":
    unittest.main()
