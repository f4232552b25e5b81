"""How the daemon gets on with a Kubo that is not as it should be: pubsub off, secrets, other addresses, restarts."""

import contextlib
import re
import signal
import unittest

import fixtures
import kubo_nodes
from daemon import Daemon, wait_until
from fixtures import cid_of, connected, share, wait_for


class Case(unittest.TestCase):
    def setUp(self):
        binary = fixtures.needs_kubo()
        self.stack = contextlib.ExitStack()
        self.addCleanup(self.stack.close)
        self.folder = fixtures.temporary_folder(self.stack)
        self.binary = binary

    def node(self, name, **more):
        node = kubo_nodes.KuboNode(self.binary, self.folder / name, **more)
        self.stack.callback(node.kill)
        return node

    def daemon(self, name, kubo, **more):
        daemon = Daemon(self.folder / name, kubo=kubo, **more)
        self.stack.callback(daemon.kill)
        return daemon.start()

    def log_says(self, daemon, pattern, timeout_s=10):
        return wait_until(lambda: re.search(pattern, daemon.log_path.read_text(), re.IGNORECASE), timeout_s)


class PubsubOff(Case):
    def test_it_says_so_and_serves(self):
        node = self.node("k", pubsub=False).start()
        daemon = self.daemon("a", node)
        wait_until(lambda: connected(daemon))
        address = daemon.call("channel.create", name="c", type="kv")["address"]
        self.log_says(daemon, r"Pubsub\.Enabled")
        daemon.call("kv.put", channel="c", key="k", value=1)
        self.assertEqual(daemon.call("kv.get", channel="c", key="k")["value"], 1)
        # Nodes go into Kubo all the same.
        wait_until(lambda: daemon.call("system.info")["outbox"] == 0)
        wait_until(lambda: cid_of(address).encode() in node.rpc("pin/ls", type="all"))
        for one in daemon.call("channel.info", channel="c")["lists"]:
            node.rpc("dag/get", arg=one["root"], offline="true")
        # Switched on, it is found without a restart of the daemon.
        node.stop()
        node.config("Pubsub.Enabled", True)
        node.start()
        wait_until(lambda: fixtures.topic_of(address).encode() in node.rpc("pubsub/ls"), 40, 0.2)


class Secrets(Case):
    def secret_file(self, text, mode=0o600):
        path = self.folder / "secret"
        path.write_text(text)
        path.chmod(mode)
        return path

    def test_bearer(self):
        node = self.node("k")
        node.config("API.Authorizations", {"ptwop": {"AuthSecret": "bearer:let-me-in", "AllowedPaths": ["/api/v0"]}})
        node.start()
        with self.assertRaises(kubo_nodes.Refused):
            node.rpc("version")
        secret = self.secret_file("bearer:not-this\n")
        daemon = self.daemon("a", node, extra=["--kubo-auth-file", secret])
        self.log_says(daemon, r"kubo-auth-file|authoriz|secret|403")
        self.assertFalse(connected(daemon))
        daemon.call("channel.create", name="c", type="count")
        # The right one is taken at SIGHUP.
        self.secret_file("bearer:let-me-in\n")
        daemon.process.send_signal(signal.SIGHUP)
        wait_until(lambda: connected(daemon))
        daemon.call("count.add", channel="c")
        wait_until(lambda: daemon.call("system.info")["outbox"] == 0)
        for secret in ("let-me-in", "not-this"):
            self.assertNotIn(secret, daemon.log_path.read_text())

    def test_a_secret_that_allows_too_little(self):
        """Kubo answers, and takes no blocks: that is said, and over once it takes them."""
        node = self.node("k")
        allowed = ["/api/v0/version", "/api/v0/id", "/api/v0/pubsub"]
        node.config("API.Authorizations", {"ptwop": {"AuthSecret": "basic:me:right", "AllowedPaths": allowed}})
        node.start()
        daemon = self.daemon("a", node, extra=["--kubo-auth-file", self.secret_file("basic:me:right")])
        wait_until(lambda: connected(daemon))
        daemon.call("channel.create", name="c", type="kv")
        self.log_says(daemon, r"Kubo refuses a call.*block/put.*AllowedPaths")
        self.assertGreater(daemon.call("system.info")["outbox"], 0)
        node.stop()
        node.config("API.Authorizations", {"ptwop": {"AuthSecret": "basic:me:right", "AllowedPaths": ["/api/v0"]}})
        node.start()
        wait_until(lambda: daemon.call("system.info")["outbox"] == 0, 60)

    def test_without_a_secret_it_serves_offline(self):
        node = self.node("k")
        node.config("API.Authorizations", {"ptwop": {"AuthSecret": "basic:me:right", "AllowedPaths": ["/api/v0"]}})
        node.start()
        daemon = self.daemon("a", node)
        self.log_says(daemon, r"kubo-auth-file|authoriz|secret|403")
        self.assertFalse(connected(daemon))
        self.assertIn("HTTP 403", daemon.call("system.info")["kubo"]["trouble"])
        self.assertIn("HTTP 403", " ".join(daemon.ctl("doctor").stdout.split()))
        daemon.stop()
        daemon.extra = ["--kubo-auth-file", self.secret_file("basic:me:right")]
        daemon.start()
        wait_until(lambda: connected(daemon))

    def test_a_secret_that_others_can_read_is_refused(self):
        daemon = Daemon(self.folder / "a", kubo="/ip4/127.0.0.1/tcp/1", extra=["--kubo-auth-file",
                                                                              self.secret_file("bearer:x", 0o644)])
        self.stack.callback(daemon.kill)
        daemon.start()
        self.log_says(daemon, r"read")
        self.assertFalse(connected(daemon))


class Addresses(Case):
    def test_unix_socket(self):
        node = self.node("k")
        path = self.folder / "api.sock"
        node.config("Addresses.API", f"/unix{path}")
        node.start()
        other = self.node("k2").start()
        kubo_nodes.connect(node, other)
        a, b = self.daemon("a", node), self.daemon("b", other)
        wait_until(lambda: connected(a) and connected(b))
        share("c", "count", a, b)
        wait_for(b, "c", a.call("count.add", channel="c", by=2)["at"])
        wait_for(a, "c", b.call("count.add", channel="c", by=3)["at"])
        self.assertEqual([one.call("count.get", channel="c")["value"] for one in (a, b)], [5, 5])

    def test_found_where_kubo_says(self):
        """Without --kubo, also when Kubo comes later."""
        node = self.node("k")
        daemon = Daemon(self.folder / "a", environment={"IPFS_PATH": str(node.folder)})
        command = daemon.command()
        del command[command.index("--kubo"):][:2]
        daemon.command = lambda: [word for word in command if word not in ("--kubo", "none")]
        self.stack.callback(daemon.kill)
        daemon.start()
        self.assertFalse(connected(daemon))
        node.start()
        wait_until(lambda: connected(daemon))

    def test_url(self):
        node = self.node("k").start()
        daemon = self.daemon("a", node.url)
        wait_until(lambda: connected(daemon))
        info = daemon.call("system.info")["kubo"]
        self.assertEqual(info["version"], node.ipfs("version", "--number").strip())
        self.assertIn(info["peer_id"], node.ipfs("id"))

    def test_something_else_answers_there(self):
        """Kubo's own swarm port is no API: it stays offline and serves."""
        node = self.node("k").start()
        daemon = self.daemon("a", f"/ip4/127.0.0.1/tcp/{kubo_nodes.swarm_port(node)}")
        daemon.call("channel.create", name="c", type="count")
        self.assertEqual(daemon.call("count.add", channel="c")["value"], 1)
        self.assertFalse(connected(daemon))
        self.assertGreater(daemon.call("system.info")["outbox"], 0)


if __name__ == "__main__":
    unittest.main()
