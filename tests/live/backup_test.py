"""Backups of a data folder in use, and what a daemon does that was restored from one."""

import contextlib
import os
import pathlib
import shutil
import stat
import subprocess
import threading
import time
import unittest

import fixtures
from daemon import PTWOPCTL, PTWOPD, Daemon, wait_until
from fixtures import TrioCase, connected, identity, lists_of, wait_for

setUpModule = fixtures.set_up_trio
# In namespaces of its own a process may mount; nobody else sees it.
NAMESPACES = ["unshare", "--map-root-user", "--mount"]


def size_of(folder):
    return sum(path.stat().st_size for path in pathlib.Path(folder).rglob("*") if path.is_file())


def restore(source, data, program=(PTWOPCTL, "restore")):
    """The finished process."""
    return subprocess.run([*map(str, program), str(source), str(data)], capture_output=True, text=True, timeout=60)


class Writers:
    """Clients that write as fast as they are answered; `written` is what was acknowledged."""

    def __init__(self, daemon, channel, count=4):
        self.daemon, self.channel, self.written, self.stopped = daemon, channel, set(), False
        self.threads = [threading.Thread(target=self.write, args=(number,)) for number in range(count)]
        for thread in self.threads:
            thread.start()

    def write(self, number):
        with contextlib.suppress(OSError), self.daemon.connect() as connection:
            step = 0
            while not self.stopped:
                calls = [("kv.put", {"channel": self.channel, "key": f"{number}-{step + i}", "value": "x" * 500})
                         for i in range(8)]
                connection.pipeline(calls)
                self.written |= {params["key"] for _, params in calls}
                step += 8

    def stop(self):
        self.stopped = True
        for thread in self.threads:
            thread.join()


def keys(daemon, channel):
    """All keys of a channel."""
    found, after = set(), None
    while True:
        page = daemon.call("kv.list", channel=channel, limit=1000, after=after)
        found |= {entry["key"] for entry in page["entries"]}
        after = page["next"]
        if after is None:
            return found


class Backups(TrioCase):
    def test_restored_it_goes_on_and_forks_nothing(self):
        folder = self.trio.folder
        original = self.trio.daemon("lost", self.trio.k2)
        address = original.call("channel.create", name="own", type="kv")["address"]
        self.a.call("channel.join", address=address, name="own")
        wait_for(self.a, "own", original.call("channel.grant", channel="own", id=identity(self.a), role="write")["at"])
        writers = Writers(original, "own")
        try:
            wait_until(lambda: len(writers.written) > 2000, 30)
            before = set(writers.written)
            first = original.call("system.backup", to=str(folder / "backup"))
            second = original.call("system.backup", to=str(folder / "backup"))
            wait_until(lambda: len(writers.written) > len(before) + 500, 30)
        finally:
            writers.stop()
        self.assertEqual(first["copied_bytes"], first["bytes"])
        # The rest has been written meanwhile.
        third = original.call("system.backup", to=str(folder / "elsewhere"))
        again = original.call("system.backup", to=str(folder / "elsewhere"))
        self.assertLess(again["copied_bytes"], third["bytes"] / 10)
        self.assertGreater(second["bytes"], first["bytes"])
        # What others know and the backup does not: writes, and a grant.
        late = original.call("kv.put", channel="own", key="late", value=1)["at"]
        granted = original.call("channel.grant", channel="own", id=identity(self.b), role="write")["at"]
        wait_for(self.a, "own", [late, granted])
        written = keys(original, "own")
        me = identity(original)
        original.kill()
        shutil.rmtree(original.data)

        restored = Daemon(folder / "restored")
        self.addCleanup(restored.kill)
        done = restore(folder / "backup", restored.data)
        self.assertEqual(done.returncode, 0, done.stderr)
        self.assertIn(me, done.stdout)
        restored.start()
        self.assertEqual(identity(restored), me)
        here = keys(restored, "own")
        self.assertLessEqual(before, here)
        self.assertNotIn("late", here)
        # It writes before it has met anybody.
        tokens = [restored.call("kv.put", channel="own", key="after", value=2)["at"],
                  restored.call("channel.grant", channel="own", id=identity(self.c), role="read")["at"]]
        restored.stop()
        restored.kubo = self.trio.k1
        restored.start()
        wait_until(lambda: connected(restored))
        wait_for(self.a, "own", tokens)
        wait_for(restored, "own", [late, granted])
        for one in (self.a, restored):
            self.assertEqual(keys(one, "own"), written | {"after"})
            info = one.call("channel.info", channel="own")
            self.assertFalse([each for each in info["lists"] if "cut" in each], info)
            members = {member["id"] for member in one.call("channel.members", channel="own")["members"]}
            self.assertEqual(members, {me, *map(identity, (self.a, self.b, self.c))})
        self.assertEqual(len(lists_of(self.a, "own", restored)), 2)
        # From now on it starts as any other: it goes on with these.
        restored.restart()
        wait_for(self.a, "own", restored.call("kv.put", channel="own", key="and on", value=3)["at"])
        self.assertEqual(len(lists_of(self.a, "own", restored)), 2)


class Alone(unittest.TestCase):
    """Without Kubo."""

    def setUp(self):
        stack = contextlib.ExitStack()
        self.addCleanup(stack.close)
        self.folder = fixtures.temporary_folder(stack)
        self.daemon = Daemon(self.folder / "d")
        stack.callback(self.daemon.kill)
        self.daemon.start()
        self.daemon.call("channel.create", name="kv", type="kv")
        for number in range(20):
            self.daemon.call("kv.batch", channel="kv", ops=[
                {"put": {"key": f"{number}-{i}", "value": "Schmetterling" * 20}} for i in range(100)])
        self.to = self.folder / "backup"

    def test_by_commands(self):
        """A relative path is the caller's, not the daemon's."""
        done = subprocess.run([PTWOPCTL, "--socket", self.daemon.socket_path, "backup", "backup"], cwd=self.folder,
                              capture_output=True, text=True)
        self.assertEqual((done.returncode, done.stderr), (0, ""))
        self.assertTrue((self.to / "BACKUP").is_file())
        for path in [self.to, *self.to.rglob("*")]:
            self.assertEqual(stat.S_IMODE(path.stat().st_mode), 0o700 if path.is_dir() else 0o600, path)
            self.assertFalse(path.is_file() and b"Schmetterling" in path.read_bytes(), path)
        done = subprocess.run([PTWOPCTL, "restore", "backup", "again"], cwd=self.folder, capture_output=True, text=True)
        self.assertEqual((done.returncode, done.stderr), (0, ""))
        restored = Daemon(self.folder / "r")
        self.addCleanup(restored.kill)
        (self.folder / "again").rename(restored.data)
        for path in [restored.data, *restored.data.rglob("*")]:
            self.assertEqual(stat.S_IMODE(path.stat().st_mode), 0o700 if path.is_dir() else 0o600, path)
        restored.start()
        self.assertEqual(keys(restored, "kv"), keys(self.daemon, "kv"))

    def test_refused(self):
        self.daemon.call("system.backup", to=str(self.to))
        # Whoever runs keeps its folder.
        done = restore(self.to, self.daemon.data)
        self.assertEqual(done.returncode, 73, done)
        self.assertIn("in use", done.stderr)
        self.daemon.stop()
        done = restore(self.to, self.daemon.data)
        self.assertEqual(done.returncode, 73, done)
        self.assertIn("not empty", done.stderr)
        self.daemon.start()
        for wrong in (self.daemon.data, self.daemon.data / "x", self.folder / "no" / "such", "relative", "/proc/x"):
            code = self.daemon.refusal("system.backup", to=str(wrong)).code
            self.assertIn(code, (-32602, -32603), wrong)
        victim = max((self.to / "files").iterdir(), key=lambda path: path.stat().st_size)
        good = victim.read_bytes()
        for damage, says in ((lambda: victim.write_bytes(good[:-1]), "bytes long instead of"),
                             (lambda: victim.write_bytes(good[:5000] + b"?" + good[5001:]), "changed"),
                             (victim.unlink, "missing")):
            damage()
            done = restore(self.to, self.folder / "again", (PTWOPD, "--kubo", "none", "--restore"))
            self.assertEqual(done.returncode, 64, done)  # DIR is a flag there
            done = restore(self.to, self.folder / "again")
            self.assertEqual(done.returncode, 1, done)
            self.assertIn(victim.name, done.stderr)
            self.assertIn(says, done.stderr)
            self.assertEqual([path.name for path in (self.folder / "again").iterdir()], ["LOCK"])
        done = restore(self.folder, self.folder / "again")
        self.assertEqual(done.returncode, 1)
        self.assertIn("no backup", done.stderr)

    def test_killed_in_the_middle(self):
        """The backup before it stays good, and the daemon starts with nothing left over."""
        self.daemon.call("system.backup", to=str(self.to))
        good = keys(self.daemon, "kv")
        listed = (self.to / "BACKUP").read_bytes()
        big = os.urandom(300_000).hex()
        for round_number in range(5):
            for number in range(20):
                self.daemon.call("kv.put", channel="kv", key=f"big-{round_number}-{number}", value=big)
            with self.daemon.connect() as connection:
                connection.send(b'{"jsonrpc":"2.0","id":1,"method":"system.backup","params":["%s"]}\n'
                                % str(self.to).encode())
                time.sleep(0.01 * round_number)
                self.daemon.kill()
            if (self.to / "BACKUP").read_bytes() != listed:
                break  # it was quicker
            data = self.folder / f"again-{round_number}"
            done = restore(self.to, data)
            self.assertEqual(done.returncode, 0, done.stderr)
            restored = Daemon(self.folder / f"r{round_number}")
            self.addCleanup(restored.kill)
            data.rename(restored.folder / "data")
            restored.start()
            self.assertEqual(keys(restored, "kv"), good)
            restored.stop()
            self.daemon.start()
            self.assertFalse((self.daemon.data / "snapshot").exists())

    def test_stopped_in_the_middle(self):
        big = os.urandom(400_000).hex()
        for number in range(150):
            self.daemon.call("kv.put", channel="kv", key=f"big-{number}", value=big)
        with self.daemon.connect() as connection:
            connection.send(b'{"jsonrpc":"2.0","id":1,"method":"system.backup","params":["%s"]}\n'
                            % str(self.to).encode())
            wait_until(lambda: self.daemon.call("system.info")["work"])
            self.daemon.stop()  # within its time
            reply = connection.read_reply()
            if "error" in reply:
                self.assertEqual(reply["error"]["code"], -32000, reply)
                self.assertFalse((self.to / "BACKUP").exists())


class FullDisk(unittest.TestCase):
    """The place for it is full; the daemon's own disk is not."""

    def test_said_and_nothing_left(self):
        if subprocess.run([*NAMESPACES, "mount", "-t", "tmpfs", "none", "/mnt"], capture_output=True).returncode:
            self.skipTest("no user namespaces here, so no small disk")
        stack = contextlib.ExitStack()
        self.addCleanup(stack.close)
        folder = fixtures.temporary_folder(stack)
        small = folder / "small"
        small.mkdir()

        class Mounts(Daemon):
            def command(self):
                mount = 'mount -t tmpfs -o size=1m,mode=700 small-disk "$0" && exec "$@"'
                return [*NAMESPACES, "sh", "-c", mount, str(small), *super().command()]

        daemon = Mounts(folder / "d")
        stack.callback(daemon.kill)
        daemon.start()
        seen = pathlib.Path(f"/proc/{daemon.process.pid}/root{small}")
        daemon.call("channel.create", name="kv", type="kv")
        daemon.call("system.backup", to=str(small / "backup"))
        listed = (seen / "backup" / "BACKUP").read_bytes()
        for number in range(8):
            daemon.call("kv.put", channel="kv", key=f"{number}", value=os.urandom(200_000).hex())
        for method, params in (("system.backup", {"to": str(small / "backup")}),
                               ("channel.export", {"channel": "kv", "to": str(small / "kv.car")})):
            error = daemon.refusal(method, **params)
            self.assertEqual(error.code, 501, error)
        self.assertEqual((seen / "backup" / "BACKUP").read_bytes(), listed)
        self.assertEqual([path.name for path in seen.iterdir()], ["backup"])
        daemon.call("kv.put", channel="kv", key="and on", value=1)


if __name__ == "__main__":
    unittest.main()
