"""How the daemon starts, is told what to do, and ends: configuration, exit codes, socket, signals, systemd, data."""

import contextlib
import os
import re
import signal
import socket
import stat
import subprocess
import threading
import time
import unittest

import fixtures
from daemon import PTWOPD, STOP_LIMIT_S, Connection, Daemon, wait_until

STOPPED, OTHER, USAGE, IN_USE, CONFIG = 0, 1, 64, 73, 78


class Case(unittest.TestCase):
    def setUp(self):
        self.stack = contextlib.ExitStack()
        self.addCleanup(self.stack.close)
        self.folder = fixtures.temporary_folder(self.stack)

    def daemon(self, name="d", **more):
        daemon = Daemon(self.folder / name, **more)
        self.stack.callback(daemon.kill)
        return daemon

    def run_it(self, *arguments, timeout_s=10, **environment):
        """Runs the program to its end, with nothing of the user's; HOME is the test's folder."""
        return subprocess.run([str(PTWOPD), *map(str, arguments)], capture_output=True, text=True, timeout=timeout_s,
                              stdin=subprocess.DEVNULL, cwd=self.folder,
                              env={"HOME": str(self.folder), "PATH": os.environ["PATH"]} | environment)

    def refuses(self, code, why, *arguments, **environment):
        """It ends with this code and says why on stderr."""
        done = self.run_it(*arguments, **environment)
        self.assertEqual(done.returncode, code, done.stderr)
        self.assertRegex(done.stderr + done.stdout, why)
        return done


class Configuration(Case):
    def applies(self, *arguments, **environment):
        """What --check-config says, as {name: value}."""
        done = self.run_it(*arguments, "--check-config", **environment)
        self.assertEqual(done.returncode, STOPPED, done.stderr)
        return dict(re.findall(r'^([\w-]+) = "(.*)"$', done.stdout, re.MULTILINE))

    def test_flag_over_environment_over_file(self):
        file = self.folder / "own.toml"
        file.write_text('data = "/file/data"\nsocket = "/file/socket"\nkubo = "/ip4/127.0.0.1/tcp/1"\n'
                        'kubo-auth-file = "/file/auth"\nlog-level = "error"\n')
        from_file = self.applies("--config", file)
        self.assertEqual(from_file, {"data": "/file/data", "socket": "/file/socket", "kubo": "/ip4/127.0.0.1/tcp/1",
                                     "kubo-auth-file": "/file/auth", "log-level": "error"})
        self.assertEqual(self.applies(PTWOP_CONFIG=str(file)), from_file)
        environment = {"PTWOP_CONFIG": str(file), "PTWOP_DATA": "/env/data", "PTWOP_SOCKET": "/env/socket",
                       "PTWOP_KUBO": "http://127.0.0.1:2", "PTWOP_KUBO_AUTH_FILE": "/env/auth",
                       "PTWOP_LOG_LEVEL": "warn"}
        self.assertEqual(self.applies(**environment), {"data": "/env/data", "socket": "/env/socket",
                                                       "kubo": "http://127.0.0.1:2", "kubo-auth-file": "/env/auth",
                                                       "log-level": "warn"})
        self.assertEqual(self.applies("--data", "/flag/data", "--socket", "/flag/socket", "--kubo", "none",
                                      "--kubo-auth-file", "/flag/auth", "--log-level", "debug", **environment),
                         {"data": "/flag/data", "socket": "/flag/socket", "kubo": "none",
                          "kubo-auth-file": "/flag/auth", "log-level": "debug"})

    def test_defaults(self):
        places = {name: str(self.folder / name) for name in ("run", "state", "config")}
        applied = self.applies(XDG_RUNTIME_DIR=places["run"], XDG_STATE_HOME=places["state"])
        self.assertEqual((applied["data"], applied["socket"], applied["log-level"]),
                         (places["state"] + "/ptwop", places["run"] + "/ptwop/rpc.sock", "info"))
        applied = self.applies(XDG_STATE_HOME=places["state"])
        self.assertEqual(applied["socket"], places["state"] + "/ptwop/rpc.sock")
        # As a unit of systemd.
        applied = self.applies(STATE_DIRECTORY="/var/lib/ptwop", RUNTIME_DIRECTORY="/run/ptwop")
        self.assertEqual((applied["data"], applied["socket"]), ("/var/lib/ptwop", "/run/ptwop/rpc.sock"))
        # The user's own file.
        (self.folder / "config/ptwop").mkdir(parents=True)
        (self.folder / "config/ptwop/ptwopd.toml").write_text('log-level = "debug"\n')
        self.assertEqual(self.applies(XDG_CONFIG_HOME=places["config"])["log-level"], "debug")

    def test_checking_touches_nothing(self):
        self.applies("--data", self.folder / "data", "--socket", self.folder / "run/rpc.sock")
        self.assertEqual(list(self.folder.iterdir()), [])

    def test_wrong_usage(self):
        for arguments in (["--no-such-flag"], ["surplus"], ["--data"], ["--data", "a", "--data", "b"]):
            self.refuses(USAGE, "--help|no-such-flag|surplus|--data", *arguments)
        for flag, says in (("--help", "--socket"), ("--version", r"ptwopd \d+\.\d+")):
            self.refuses(STOPPED, says, flag)

    def test_wrong_configuration(self):
        data = ["--data", self.folder / "data", "--kubo", "none"]
        file = self.folder / "own.toml"
        self.refuses(CONFIG, "log level", *data, "--log-level", "loud")
        self.refuses(CONFIG, "log level", *data, PTWOP_LOG_LEVEL="loud")
        for address in ("nonsense", "/ip4/1.2.3.4", "https://", "/ip4/127.0.0.1/udp/5001", "ftp://127.0.0.1"):
            self.refuses(CONFIG, "--kubo", "--data", self.folder / "data", "--kubo", address)
        self.refuses(CONFIG, "configuration file", *data, "--config", self.folder / "missing.toml")
        for text in ('no-such-setting = "x"\n', 'log-level = "loud"\n', "nonsense\n", 'check-config = true\n',
                     'socket = ["a", "b"]\n', 'log-level = "info" "debug"\n'):
            file.write_text(text)
            self.refuses(CONFIG, "configuration file|log level", *data, "--config", file)
        file.write_text('log_level = "info"\n')
        self.refuses(CONFIG, "log_level.*log-level", *data, "--config", file)
        self.refuses(CONFIG, "control characters", "--data", self.folder / "a\nb", "--kubo", "none")
        file.write_text('socket = [\0/a = [\0/b\n=~\0|c\n')  # found by tests/fuzz
        self.refuses(CONFIG, "control characters", *data, "--config", file)
        self.refuses(CONFIG, "107 bytes", *data, "--socket", self.folder / ("x" * 108))
        self.assertFalse((self.folder / "data").exists(), "a wrong configuration left a data folder behind")


class Socket(Case):
    def test_rights(self):
        daemon = self.daemon()
        daemon.socket_path = daemon.folder / "made/for/it/rpc.sock"
        daemon.start()
        self.assertEqual(stat.S_IMODE(daemon.socket_path.parent.stat().st_mode), 0o700)
        self.assertEqual(stat.S_IMODE(daemon.socket_path.stat().st_mode), 0o600)
        self.assertEqual(stat.S_IMODE(daemon.data.stat().st_mode), 0o700)
        for path in daemon.data.rglob("*"):
            self.assertEqual(stat.S_IMODE(path.stat().st_mode) & 0o077, 0, path)
        daemon.stop()
        self.assertFalse(daemon.socket_path.exists())

    def test_longest_path(self):
        daemon = self.daemon()
        daemon.socket_path = daemon.folder / ("s" * (107 - len(str(daemon.folder)) - 1))
        self.assertEqual(len(str(daemon.socket_path)), 107)
        daemon.start()
        daemon.stop()

    def test_loose_folder(self):
        daemon = self.daemon()
        for mode in (0o777, 0o755, 0o770, 0o701):
            daemon.folder.chmod(mode)
            self.refuses(CONFIG, f"{mode:04o}.*0700", *daemon.command()[1:])
        daemon.folder.chmod(0o750)
        daemon.start()
        self.assertEqual(stat.S_IMODE(daemon.socket_path.stat().st_mode), 0o660)

    def test_stale_socket(self):
        daemon = self.daemon().start()
        daemon.kill()
        self.assertTrue(daemon.socket_path.exists())
        daemon.start()
        self.assertTrue(daemon.call("system.ready")["ready"])

    def test_something_else_stands_there(self):
        daemon = self.daemon()
        daemon.socket_path.write_text("precious")
        self.refuses(CONFIG, "not a socket", *daemon.command()[1:])
        self.assertEqual(daemon.socket_path.read_text(), "precious")

    def test_second_daemon(self):
        first, second = self.daemon("first").start(), self.daemon("second")
        second.socket_path = first.socket_path
        self.refuses(IN_USE, "Another daemon", *second.command()[1:])
        second.socket_path = second.folder / "rpc.sock"
        second.data = first.data
        self.refuses(IN_USE, "in use by another ptwopd", *second.command()[1:])
        self.assertTrue(first.call("system.ready")["ready"])

    @unittest.skipUnless(os.geteuid() == 0, "only root can be somebody else")
    def test_who_may_connect(self):
        """The group of a 0750 folder, and nobody else."""
        daemon, group = self.daemon(), 54321
        self.folder.chmod(0o711)
        os.chown(daemon.folder, -1, group)
        daemon.folder.chmod(0o750)
        daemon.start()
        ask = ("import socket, sys; s = socket.socket(socket.AF_UNIX); s.connect(sys.argv[1]);"
               "s.sendall(b'{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"system.ready\"}\\n'); print(s.recv(1000))")
        for own_group, served in ((group, True), (54322, False)):
            done = subprocess.run(["/usr/bin/python3", "-c", ask, daemon.socket_path], user=54321, group=own_group,
                                  extra_groups=[], capture_output=True, text=True, timeout=10, cwd="/")
            self.assertEqual('"ready":true' in done.stdout, served, done)


class Ending(Case):
    def test_signals(self):
        daemon = self.daemon()
        for number in (signal.SIGTERM, signal.SIGINT):
            daemon.start()
            started = time.monotonic()
            daemon.stop(number)
            self.assertLess(time.monotonic() - started, STOP_LIMIT_S)

    def test_under_load(self):
        """What was acknowledged before the end is there afterwards."""
        daemon = self.daemon().start()
        daemon.call("channel.create", name="c", type="count")
        acknowledged = []

        def write():
            with contextlib.suppress(OSError), daemon.connect() as connection:
                while True:
                    outcomes = connection.pipeline([("count.add", {"channel": "c"})] * 64)
                    acknowledged.append(sum(isinstance(one, dict) for one in outcomes))
                    if acknowledged[-1] < 64:
                        return

        thread = threading.Thread(target=write)
        thread.start()
        time.sleep(0.3)
        daemon.stop()
        thread.join(10)
        daemon.start()
        # A window of answers may be lost on the way; not the writes.
        self.assertGreaterEqual(daemon.call("count.get", channel="c")["value"], sum(acknowledged))
        self.assertGreater(sum(acknowledged), 0)

    def test_who_waits_is_told(self):
        daemon = self.daemon().start()
        daemon.call("channel.create", name="c", type="count")
        with daemon.connect() as waiter:
            waiter.send(b'{"jsonrpc":"2.0","id":1,"method":"channel.wait","params":{"channel":"c","timeout_ms":60000,'
                        b'"at":"ozA5XMClOtEgdzZUav_0cwFUXqU4RhAD7w"}}\n')
            wait_until(lambda: daemon.call("system.stats")["queues"]["waiters"] == 1)
            daemon.process.send_signal(signal.SIGTERM)
            self.assertEqual(waiter.read_reply()["error"]["code"], -32000)
        self.assertEqual(daemon.process.wait(STOP_LIMIT_S), STOPPED)

    def test_who_does_not_read_is_not_waited_for(self):
        daemon = self.daemon().start()
        daemon.call("channel.create", name="kv", type="kv")
        daemon.call("kv.put", channel="kv", key="large", value="x" * 800_000)
        with daemon.connect() as deaf:
            deaf.send(b'{"jsonrpc":"2.0","id":1,"method":"kv.get","params":{"channel":"kv","key":"large"}}\n' * 100)
            time.sleep(0.2)
            daemon.stop()

    def test_when_asked_over_the_socket(self):
        daemon = self.daemon().start()
        self.assertEqual(daemon.call("system.stop"), {"stopping": True})
        self.assertEqual(daemon.process.wait(STOP_LIMIT_S), STOPPED)

    def test_sighup(self):
        file = self.folder / "own.toml"
        file.write_text('log-level = "error"\n')
        daemon = self.daemon(extra=["--config", file]).start()
        self.assertEqual(daemon.log_path.read_text(), "")
        file.write_text('log-level = "debug"\n')
        daemon.process.send_signal(signal.SIGHUP)
        wait_until(lambda: "reloaded" in daemon.log_path.read_text())
        for wrong in ('log-level = "loud"\n', "= =\n", 'no-such-setting = "x"\n'):
            size = daemon.log_path.stat().st_size
            file.write_text(wrong)
            daemon.process.send_signal(signal.SIGHUP)
            wait_until(lambda: "wrong" in daemon.log_path.read_text()[size:])
            self.assertTrue(daemon.call("system.ready")["ready"])
        file.write_text('log-level = "error"\n')
        daemon.process.send_signal(signal.SIGHUP)
        wait_until(lambda: daemon.call("system.ready")["ready"])
        time.sleep(0.1)  # the signal is worked on beside the socket
        size = daemon.log_path.stat().st_size
        daemon.stop()
        self.assertEqual(daemon.log_path.read_text()[size:], "")


class Systemd(Case):
    def test_passed_socket(self):
        daemon = self.daemon()
        path = self.folder / "passed.sock"
        listening = socket.socket(socket.AF_UNIX)
        self.addCleanup(listening.close)
        listening.bind(str(path))
        listening.listen()
        early = Connection(path, daemon.schemas)  # systemd's clients need not wait for the daemon
        self.addCleanup(early.close)
        early.send(b'{"jsonrpc":"2.0","id":1,"method":"channel.list"}\n')
        become = ("import os, sys; os.dup2(int(sys.argv[1]), 3);"
                  "os.environ.update(LISTEN_FDS='1', LISTEN_PID=str(os.getpid()));"
                  "os.execv(sys.argv[2], sys.argv[2:])")
        command = ["/usr/bin/python3", "-c", become, str(listening.fileno()), *daemon.command()]
        with open(daemon.log_path, "ab") as log:
            daemon.process = subprocess.Popen(command, pass_fds=[listening.fileno(), 3], stdout=log, stderr=log,
                                              env={"HOME": str(self.folder)})
        reply = early.read_reply()
        self.assertTrue(reply.get("result") == {"channels": []} or reply["error"]["code"] == -32002, reply)
        daemon.socket_path, configured = path, daemon.socket_path
        daemon.wait_ready()
        self.assertFalse(configured.exists(), "it made a socket of its own beside the passed one")
        daemon.stop()
        self.assertTrue(path.exists(), "the socket is systemd's")

    def test_notifications(self):
        path = self.folder / "notify"
        notify = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.addCleanup(notify.close)
        notify.bind(str(path))
        notify.settimeout(10)
        daemon = self.daemon(environment={"NOTIFY_SOCKET": str(path), "WATCHDOG_USEC": "200000"})
        daemon.start(ready=False)
        said = []

        def until(word):
            while not any(line.startswith(word) for line in said[-1:] for line in line.split("\n")):
                said.append(notify.recv(4096).decode())
            return said[-1]

        ready = until("READY=1")
        self.assertIn("STATUS=", ready)
        # Ready means that a client is served.
        self.assertTrue(daemon.call("system.ready")["ready"])
        started = time.monotonic()
        for _ in range(3):
            said.append("")
            until("WATCHDOG=1")
        self.assertLess(time.monotonic() - started, 1)
        said.append("")
        daemon.process.send_signal(signal.SIGHUP)
        self.assertIn("MONOTONIC_USEC=", until("RELOADING=1"))
        until("READY=1")
        daemon.process.send_signal(signal.SIGTERM)
        until("STOPPING=1")
        self.assertEqual(daemon.process.wait(STOP_LIMIT_S), STOPPED)


def contents(folder):
    return {path.relative_to(folder): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


class DataFolder(Case):
    def test_identity_stays(self):
        daemon = self.daemon().start()
        identity = fixtures.identity(daemon)
        daemon.call("channel.create", name="c", type="kv")
        daemon.call("kv.put", channel="c", key="k", value=[1, None])
        for end in (daemon.stop, daemon.kill):
            end()
            daemon.start()
            self.assertEqual(fixtures.identity(daemon), identity)
            self.assertEqual(daemon.call("kv.get", channel="c", key="k")["value"], [1, None])
            self.assertTrue(daemon.call("channel.info", channel="c")["writable"])
        other = self.daemon("other").start()
        self.assertNotEqual(fixtures.identity(other), identity)

    def test_another_format_version(self):
        daemon = self.daemon().start()
        daemon.stop()
        file = daemon.data / "FORMAT"
        file.write_text(re.sub(r"\d+", "999", file.read_text(), count=1))
        before = contents(daemon.data)
        # It says which version this is and what to do.
        done = self.refuses(OTHER, "999", *daemon.command()[1:])
        self.assertRegex(done.stderr, r"(?i)newer|install|upgrade|--data")
        self.assertEqual(contents(daemon.data), before)
        self.assertFalse(daemon.socket_path.exists())

    def test_damaged_identity(self):
        daemon = self.daemon().start()
        daemon.stop()
        (daemon.data / "identity").write_bytes(b"short")
        before = contents(daemon.data)
        self.refuses(OTHER, "identity", *daemon.command()[1:])
        self.assertEqual(contents(daemon.data), before)

    def test_lost_identity(self):
        """A new one would not fit the data: refused."""
        daemon = self.daemon().start()
        daemon.stop()
        (daemon.data / "identity").unlink()
        self.assertNotEqual(self.run_it(*daemon.command()[1:]).returncode, STOPPED)

    def test_nothing_to_grep(self):
        daemon = self.daemon().start()
        marker = "Schmetterling"
        for kind, method, params in (("kv", "kv.put", {"key": f"{marker}-key", "value": f"{marker}-value"}),
                                     ("log", "log.add", {"value": [f"{marker}-entry"]}),
                                     ("count", "count.add", {"key": f"{marker}-counter"})):
            for public in (False, True):
                name = f"{marker}-{kind}-{public}"
                daemon.call("channel.create", name=name, type=kind, public=public)
                daemon.pipeline([(method, {"channel": name, **params, "request": f"{marker}-{number}"})
                                 for number in range(50)])

        def search():
            found = contents(daemon.data)
            self.assertGreater(sum(map(len, found.values())), 10_000)
            return [str(path) for path, data in found.items() if marker.encode() in data or marker[4:].encode() in data]

        self.assertEqual(search(), [])
        daemon.restart()  # what was in the log is in tables now
        self.assertEqual(search(), [])
        daemon.stop()
        self.assertEqual(search(), [])
        self.assertNotIn(marker, daemon.log_path.read_text())


if __name__ == "__main__":
    unittest.main()
