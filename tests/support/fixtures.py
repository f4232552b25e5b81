"""What the live suites share: real Kubo nodes, daemons beside them, and channels between those."""

import base64
import contextlib
import http.client
import json
import os
import pathlib
import shutil
import tempfile
import threading
import time
import unittest

import kubo_nodes
from daemon import Daemon, RpcError, wait_until

# A channel that nobody has, and so one whose manifest does not come.
ELSEWHERE = "/ptwop/bafyreiddv2ottakcu7meysnxhorpmz6i2n345n4dfw3jwgsbmezvmlvesy"
NO_TOKEN = "ozA5XMClOtEgdzZUav_0cwFUXqU4RhAD7w"  # of a list that nobody has
NO_ENTRY = "AZt22qgAAACjMDlcwKU60SB3NlRq__RzAAAAAAAAAAEAAAAA"  # an id that no entry has
ARRIVAL_LIMIT_MS = 40_000  # generous: what is slow is for the benchmarks to say


def needs_kubo():
    """The ipfs binary. Without one the suite is skipped, but in CI it fails."""
    binary = kubo_nodes.find_ipfs()
    if not binary:
        if os.environ.get("CI"):
            raise AssertionError("no ipfs binary: CI must have one")
        raise unittest.SkipTest("no ipfs binary: scripts/test builds one")
    return binary


def temporary_folder(stack):
    """A short path (a socket's may have 107 bytes) that is gone afterwards."""
    folder = pathlib.Path(tempfile.mkdtemp(prefix="ptwop-"))
    stack.callback(shutil.rmtree, folder, ignore_errors=True)
    return folder


def connected(daemon):
    return daemon.call("system.info")["kubo"]["state"] == "connected"


def identity(daemon):
    return daemon.call("identity.show")["id"]


def wait_for(daemon, channel, at, **more):
    with daemon.connect(timeout_s=ARRIVAL_LIMIT_MS / 1000 + 30) as connection:
        try:
            connection.call("channel.wait", channel=channel, at=at, **{"timeout_ms": ARRIVAL_LIMIT_MS, **more})
        except RpcError as error:
            info = {"wanted": at, **daemon.call("channel.info", channel=channel)}
            raise AssertionError(f"{error}\n{json.dumps(info, indent=1)}\n{daemon.call('system.stats')}") from error


def share(name, kind, owner, *others, role="write", public=False):
    """A channel of `owner` that the others joined and that they may use; its address."""
    address = owner.call("channel.create", name=name, type=kind, public=public)["address"]
    for other in others:
        other.call("channel.join", address=address, name=name)
        granted = owner.call("channel.grant", channel=name, id=identity(other), role=role)["at"]
        wait_for(other, name, granted)
    return address


def cid_of(address):
    return address.removeprefix("/ptwop/")


def topic_of(address):
    """The channel's pubsub topic as Kubo's RPC names it, in multibase."""
    return "u" + base64.urlsafe_b64encode(f"ptwop/1/{cid_of(address)}".encode()).decode().rstrip("=")


def lists_of(daemon, channel, writer):
    return {one["list"] for one in daemon.call("channel.info", channel=channel)["lists"]
            if one["writer"] == identity(writer) and not one.get("control")}


def peer_address(node):
    peer = json.loads(node.rpc("id"))["ID"]
    return f"/p2p/{peer}"


class Trio:
    """Kubo nodes k1 and k2, connected; daemons a and c beside k1, b beside k2."""

    def __init__(self):
        binary = needs_kubo()
        self.stack = contextlib.ExitStack()
        try:
            self.folder = temporary_folder(self.stack)
            self.k1, self.k2 = (kubo_nodes.KuboNode(binary, self.folder / name) for name in ("k1", "k2"))
            for node in (self.k1, self.k2):
                self.stack.callback(node.kill)
                node.start()
            kubo_nodes.connect(self.k1, self.k2)
            self.a, self.b, self.c = (self.daemon(name, kubo) for name, kubo in
                                      (("a", self.k1), ("b", self.k2), ("c", self.k1)))
        except BaseException:
            self.stack.close()
            raise

    def daemon(self, name, kubo, **more):
        """One more, started and beside its Kubo; killed at the end."""
        daemon = Daemon(self.folder / name, kubo=kubo, **more)
        self.stack.callback(daemon.kill)
        daemon.start()
        wait_until(lambda: connected(daemon))
        return daemon

    def close(self):
        self.stack.close()


class Eavesdropper:
    """All messages of a topic, as a plain subscriber of the Kubo node gets them."""

    def __init__(self, node, topic):
        host, port = node.url.removeprefix("http://").split(":")
        self.connection = http.client.HTTPConnection(host, int(port), timeout=30)
        self.connection.request("POST", f"/api/v0/pubsub/sub?arg={topic}")
        self.answer = self.connection.getresponse()
        assert self.answer.status == 200, self.answer.read()
        self.messages = []
        self.thread = threading.Thread(target=self._listen, daemon=True)
        self.thread.start()

    def _listen(self):
        with contextlib.suppress(OSError, ValueError, AttributeError, http.client.HTTPException):
            while line := self.answer.readline():
                data = json.loads(line)["data"][1:]
                self.messages.append(base64.urlsafe_b64decode(data + "=" * (-len(data) % 4)))

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.connection.sock and self.connection.sock.shutdown(2)
        self.connection.close()
        self.thread.join(5)


def publish(node, topic, *messages, pause_s=0.002):
    """Puts messages on a topic, over one connection to the Kubo node. With no pause between them Kubo loses many."""
    host, port = node.url.removeprefix("http://").split(":")
    connection = http.client.HTTPConnection(host, int(port), timeout=30)
    with contextlib.closing(connection):
        for message in messages:
            body = (b'--edge\r\nContent-Disposition: form-data; name="data"; filename="data"\r\n'
                    b"Content-Type: application/octet-stream\r\n\r\n" + message + b"\r\n--edge--\r\n")
            connection.request("POST", f"/api/v0/pubsub/pub?arg={topic}", body,
                               {"Content-Type": "multipart/form-data; boundary=edge"})
            answer = connection.getresponse()
            said = answer.read()
            # Another message of this node overtook it: lost, like others.
            assert answer.status == 200 or b"validation ignored" in said, said
            time.sleep(pause_s)


class OfflineCase(unittest.TestCase):
    """One daemon without Kubo a class, with a channel of each type, and one whose manifest does not come."""

    @classmethod
    def setUpClass(cls):
        stack = contextlib.ExitStack()
        cls.addClassCleanup(stack.close)
        cls.folder = temporary_folder(stack)
        cls.daemon = Daemon(cls.folder / "d")
        stack.callback(cls.daemon.kill)
        cls.daemon.start()
        for kind in ("log", "count", "kv"):
            cls.daemon.call("channel.create", name=kind, type=kind)
        cls.daemon.call("channel.join", address=ELSEWHERE, name="elsewhere")

    def setUp(self):
        self.connection = self.daemon.connect()
        self.addCleanup(self.connection.close)
        self.name = self._testMethodName.removeprefix("test_")[:60]

    def channel(self, kind):
        self.daemon.call("channel.create", name=self.name, type=kind)
        return self.name

    def raw(self, text):
        """The line that answers one line."""
        self.connection.send((text if isinstance(text, bytes) else text.encode()) + b"\n")
        return self.connection.read_line().decode()

    def refused(self, kind, method, params):
        answer = self.connection.exchange({"jsonrpc": "2.0", "id": 1, "method": method, "params": params})
        self.assertIn("error", answer, f"{method} {params}")
        self.assertEqual(answer["error"]["data"]["kind"], kind, f"{method} {str(params)[:200]}: {answer['error']}")
        self.connection.schemas.check_error(method, answer["error"])


def set_up_trio():
    """A suite's setUpModule: one trio for all of its TrioCases."""
    TrioCase.trio = Trio()
    unittest.addModuleCleanup(TrioCase.trio.close)


class TrioCase(unittest.TestCase):
    trio = None

    def setUp(self):
        self.a, self.b, self.c = self.trio.a, self.trio.b, self.trio.c
        self.name = self._testMethodName.removeprefix("test_")[:60]

    def refused(self, code, daemon, method, **params):
        with self.assertRaises(RpcError) as caught:
            daemon.call(method, **params)
        self.assertEqual(caught.exception.code, code, caught.exception)
