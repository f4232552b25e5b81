"""What comes in at the socket is bounded and, where it is hostile, refused, and the next good request is as good."""

import contextlib
import json
import random
import select
import socket
import threading
import time
import unittest

import fixtures
from daemon import Daemon, wait_until
from fixtures import NO_TOKEN

REQUEST_BYTES_MAX = 4 << 20
DEPTH_MAX = 64
IN_FLIGHT_MAX = 64
UNREAD_BYTES_MAX = 1 << 20
UNREAD_TOTAL_BYTES_MAX = 64 << 20
GROWTH_BYTES_MAX = 24 << 20  # what any one attack may leave behind

daemon = None


def setUpModule():
    global daemon
    stack = contextlib.ExitStack()
    unittest.addModuleCleanup(stack.close)
    daemon = Daemon(fixtures.temporary_folder(stack) / "d")
    stack.callback(daemon.kill)
    daemon.start()
    daemon.call("channel.create", name="kv", type="kv")
    daemon.call("kv.put", channel="kv", key="large", value="x" * (800 << 10))
    daemon.call("kv.put", channel="kv", key="k", value="as it was")
    # What the first large requests cost is not the attacks' doing.
    with daemon.connect() as connection:
        connection.send(b'{"jsonrpc":"2.0","id":1,"method":"system.ready"' + b" " * (REQUEST_BYTES_MAX - 100) + b"}\n")
        connection.read_reply()
        connection.pipeline([("kv.get", {"channel": "kv", "key": "large"})] * 8)


def request(method, request_id=1, **params):
    return json.dumps({"jsonrpc": "2.0", "id": request_id, "method": method, "params": params}).encode() + b"\n"


class Case(unittest.TestCase):
    """Before and after each test: state, memory, and a connection that was there all the time."""

    def setUp(self):
        self.bystander = daemon.connect()
        self.addCleanup(self.bystander.close)
        self.state = self.bystander.call("channel.clock", channel="kv")
        self.resident = daemon.resident_bytes()
        self.connection = daemon.connect()
        self.addCleanup(self.connection.close)

    def tearDown(self):
        started = time.monotonic()
        self.assertEqual(self.bystander.call("kv.get", channel="kv", key="k")["value"], "as it was")
        self.assertLess(time.monotonic() - started, 1)
        self.assertEqual(self.bystander.call("channel.clock", channel="kv"), self.state)
        # Freed memory goes back to the system within a second.
        wait_until(lambda: daemon.resident_bytes() - self.resident < GROWTH_BYTES_MAX, timeout_s=5)
        self.assertTrue(daemon.running())

    def refused_and_closed(self, connection):
        answer = connection.read_reply()
        self.assertEqual((answer["id"], answer["error"]["code"]), (None, -32600))
        with contextlib.suppress(ConnectionResetError):  # what was still unread there
            self.assertIsNone(connection.read_line())


class Bounds(Case):
    def test_line_length(self):
        start = b'{"jsonrpc":"2.0","id":1,"method":"system.ready"'
        longest = start + b" " * (REQUEST_BYTES_MAX - len(start) - 1) + b"}"
        self.connection.send(longest + b"\n")
        self.assertTrue(self.connection.read_reply()["result"]["ready"])
        with contextlib.suppress(BrokenPipeError, ConnectionResetError):
            self.connection.send(longest + b" \n")
        self.refused_and_closed(self.connection)

    def test_endless_line(self):
        """Refused when the bound is reached, not when the line ends; 64 MiB more go nowhere."""
        with self.assertRaises(OSError):
            for _ in range(64):
                self.connection.send(b"[" + b"1," * (1 << 19))
        with contextlib.suppress(OSError):
            self.refused_and_closed(self.connection)

    def nested(self, depth):
        """A request in whose line brackets are `depth` deep."""
        inner = depth - 2  # those of the request and of its parameters
        return (b'{"jsonrpc":"2.0","id":1,"method":"kv.get","params":{"channel":"kv","key":%s1%s}}\n'
                % (b"[" * inner, b"]" * inner))

    def test_depth(self):
        self.connection.send(self.nested(DEPTH_MAX))
        self.assertEqual(self.connection.read_reply()["error"]["code"], -32602)
        # Brackets in strings do not count, also behind an escaped quote.
        self.connection.send(request("kv.get", channel="kv", key='"\\' + "[" * 200))
        self.assertEqual(self.connection.read_reply()["error"]["code"], 102)
        self.connection.send(self.nested(DEPTH_MAX + 1))
        self.refused_and_closed(self.connection)
        for attack in (b"[" * 100_000, b'{"a":' * 1_000, b"[{" * 33, b'{"jsonrpc":"2.0","id":1,"method":' + b"[" * 64):
            with daemon.connect() as connection:
                with contextlib.suppress(OSError):
                    connection.send(attack)  # no newline: it is not waited for
                self.refused_and_closed(connection)

    def test_requests_in_flight(self):
        waits = b"".join(request("channel.wait", number, channel="kv", at=NO_TOKEN, timeout_ms=700)
                         for number in range(IN_FLIGHT_MAX))
        self.connection.send(waits + request("system.ready", "last"))
        first = self.connection.read_reply()
        self.assertEqual(first["error"]["code"], 302, "the last one was started while 64 were in flight")
        ids = {first["id"]} | {self.connection.read_reply()["id"] for _ in range(IN_FLIGHT_MAX)}
        self.assertEqual(ids, {*range(IN_FLIGHT_MAX), "last"})
        # One fewer leaves room.
        self.connection.send(waits[: waits.rindex(b"\n", 0, -1) + 1] + request("system.ready", "last"))
        self.assertEqual(self.connection.read_reply()["id"], "last")

    def test_unread_answers(self):
        """Who does not read is not served on, and costs no more than the bound."""
        total = 200
        self.connection.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        self.connection.send(b"".join(request("kv.get", number, channel="kv", key="large") for number in range(total)))
        time.sleep(0.5)
        self.assertLess(daemon.resident_bytes() - self.resident, GROWTH_BYTES_MAX)
        self.assertEqual(sorted(self.connection.read_reply()["id"] for _ in range(total)), list(range(total)))

    def test_unread_pages(self):
        """Made on another thread than small answers."""
        connections = []
        for _ in range(4):
            connections.append(daemon.connect())
            self.addCleanup(connections[-1].close)
            connections[-1].send(request("kv.list", channel="kv", limit=1000) * IN_FLIGHT_MAX)
        time.sleep(1)
        self.assertLess(daemon.resident_bytes() - self.resident, GROWTH_BYTES_MAX)
        for _ in range(IN_FLIGHT_MAX):
            self.assertEqual(len(connections[0].read_reply()["result"]["entries"]), 2)

    def test_unread_answers_of_batches(self):
        batch = [json.loads(request("kv.get", number, channel="kv", key="large")) for number in range(100)]
        self.connection.send((json.dumps(batch) + "\n").encode() * 2)
        time.sleep(0.5)
        self.assertLess(daemon.resident_bytes() - self.resident, GROWTH_BYTES_MAX)
        for _ in range(2):
            self.assertEqual(sorted(answer["id"] for answer in self.connection.read_reply()), list(range(100)))

    def test_nothing_is_read_from_who_does_not_read(self):
        flood = request("kv.get", 1, channel="kv", key="large") * 100
        self.connection.socket.setblocking(False)
        sent = 0
        while select.select([], [self.connection.socket], [], 0.5)[1]:
            with contextlib.suppress(BlockingIOError):
                sent += self.connection.socket.send(flood)
            self.assertLess(sent, 32 << 20, "it reads on and on")
        self.assertLess(daemon.resident_bytes() - self.resident, GROWTH_BYTES_MAX)


class HalfClosed(Case):
    def test_gets_its_answers(self):
        self.connection.send(request("kv.get", "get", channel="kv", key="large") * 5 +
                             request("channel.wait", "wait", channel="kv", at=NO_TOKEN,
                                     timeout_ms=200) +
                             request("kv.get", "end", channel="kv", key="k").rstrip(b"\n"))  # the end ends the line
        self.connection.shut_down_sending()
        answers = [self.connection.read_reply() for _ in range(7)]
        self.assertIsNone(self.connection.read_line())
        self.assertEqual(sorted(answer["id"] for answer in answers), ["end"] + ["get"] * 5 + ["wait"])

    def test_with_half_a_request(self):
        self.connection.send(b'{"jsonrpc":"2.0","id":1,"met')
        self.connection.shut_down_sending()
        self.assertEqual(self.connection.read_reply()["error"]["code"], -32700)
        self.assertIsNone(self.connection.read_line())

    def test_gone_before_the_answer(self):
        for _ in range(200):
            with daemon.connect() as connection:
                connection.send(request("kv.get", 1, channel="kv", key="large") +
                                request("channel.wait", 2, channel="kv", at=NO_TOKEN))
        wait_until(lambda: daemon.call("system.stats")["queues"]["connections"] <= 4)


class Broken(Case):
    def test_noise(self):
        rng = random.Random(11)
        good = request("kv.get", 1, channel="kv", key="k")
        counted = daemon.call("system.stats")["refused"].get("parse_error", 0)
        for _ in range(300):
            line = bytearray(good[:-1])
            for _ in range(rng.randint(1, 4)):
                line[rng.randrange(len(line))] = rng.choice(b'\x00\xff{}[]",:0a \\')
            self.connection.send(bytes(line) + b"\n" + request("system.ready", "next"))
            # Where the id was hit it is a notification, or nothing.
            while (answer := self.connection.read_reply()).get("id") != "next":
                self.assertTrue("error" in answer or answer["result"]["value"] == "as it was", line)
        self.assertGreater(daemon.call("system.stats")["refused"]["parse_error"], counted)
        for noise in (rng.randbytes(50_000), b"\n" * 100_000, b"\0" * 10_000 + b"\n",
                      b"GET / HTTP/1.1\r\nHost: x\r\n\r\n"):
            with daemon.connect() as connection:
                with contextlib.suppress(OSError):
                    connection.send(noise)
                    connection.shut_down_sending()
                    while connection.read_line() is not None:
                        pass

    def test_blank_lines(self):
        self.connection.send(b"\n \n\r\n\t\n" + request("system.ready"))
        self.assertEqual(self.connection.read_reply()["id"], 1)

    def test_many_names_of_one_object(self):
        """Looking for duplicates takes no quadratic time."""
        value = {f"name {number}": number for number in range(60_000)}
        started = time.monotonic()
        text = json.dumps({"jsonrpc": "2.0", "id": 1, "method": "kv.get", "params": value}).encode()
        self.connection.send(text + b"\n" + text[:-2] + b',"name 7":1}}\n')
        codes = [self.connection.read_reply()["error"]["code"] for _ in range(2)]
        self.assertEqual(codes, [-32602, -32700])
        self.assertLess(time.monotonic() - started, 3)

    def test_large_things_named_in_messages(self):
        """What is refused is not repeated at length."""
        for line in (request("m" * 1_000_000), request("kv.get", channel="c" * 60_000, key="k"),
                     request("kv.get", **{"p" * 1_000_000: 1}), request("kv.get", channel="kv", key="k" * 1_000_000)):
            self.connection.send(line)
            self.assertLess(len(self.connection.read_line()), 1000)

    def test_large_ids(self):
        self.connection.send(b'{"jsonrpc":"2.0","id":"%s","method":"system.ready"}\n' % (b"i" * 1_000_000))
        self.assertEqual(len(self.connection.read_reply()["id"] or ""), 1_000_000)


class Slow(Case):
    def test_one_byte_at_a_time(self):
        for byte in request("kv.get", 1, channel="kv", key="k"):
            self.connection.send(bytes([byte]))
            time.sleep(0.0005)
        self.assertEqual(self.connection.read_reply()["result"]["value"], "as it was")

    def test_a_long_line_in_small_pieces(self):
        """The bytes before are not gone through again with each piece."""
        started = time.monotonic()
        self.connection.send(b'{"jsonrpc":"2.0","id":1,"method":"system.ready"')
        for _ in range(4000):
            self.connection.send(b" " * 1000)
        self.connection.send(b"}\n")
        self.assertTrue(self.connection.read_reply()["result"]["ready"])
        self.assertLess(time.monotonic() - started, 5)

    def test_others_are_served_meanwhile(self):
        stop = threading.Event()

        def attack():
            with contextlib.suppress(OSError), daemon.connect() as connection:
                connection.socket.settimeout(0.2)
                while not stop.is_set():
                    with contextlib.suppress(TimeoutError):
                        connection.send(request("kv.list", channel="kv", limit=1000) * 20)

        attackers = [threading.Thread(target=attack) for _ in range(4)]
        for one in attackers:
            one.start()
        try:
            slowest = 0.0
            for _ in range(50):
                started = time.monotonic()
                self.bystander.call("kv.get", channel="kv", key="k")
                slowest = max(slowest, time.monotonic() - started)
            self.assertLess(slowest, 2)
        finally:
            stop.set()
            for one in attackers:
                one.join()


class Crowd(Case):
    def test_600_connections(self):
        """More than it takes (512): the rest are refused or wait, and whoever is in is served."""
        crowd = contextlib.ExitStack()
        with crowd:
            answered = refused = 0
            connections = []
            for number in range(600):
                try:
                    connections.append(crowd.enter_context(daemon.connect(timeout_s=10)))
                    connections[-1].send(b'{"jsonrpc":' if number % 2 else request("system.ready"))
                except OSError:
                    refused += 1
            for number, connection in enumerate(connections[:500]):
                if number % 2 == 0:
                    answered += bool(connection.read_reply()["result"]["ready"])
            self.assertEqual(answered, 250)
            self.assertEqual(self.bystander.call("kv.get", channel="kv", key="k")["value"], "as it was")
            for connection in connections[515:]:
                with contextlib.suppress(OSError):
                    line = connection.read_line()
                    if line is not None:
                        self.assertEqual(json.loads(line)["error"]["data"]["kind"], "overloaded")
                        refused += 1
            self.assertGreater(refused, 50)
        wait_until(lambda: self.bystander.call("system.stats")["queues"]["connections"] <= 3)
        with daemon.connect() as connection:
            self.assertTrue(connection.call("system.ready")["ready"])

    def test_who_does_not_read_costs_little_together(self):
        """Each alone may leave 1 MiB and four pages unread; all together far less than that."""
        count, page_bytes = 150, 800 << 10
        with contextlib.ExitStack() as crowd:
            for _ in range(count):
                connection = crowd.enter_context(daemon.connect())
                connection.send(request("kv.list", channel="kv", limit=1000) * 20)
            time.sleep(3)
            grown = daemon.resident_bytes() - self.resident
            self.assertLess(grown, UNREAD_TOTAL_BYTES_MAX + int(1.5 * count * page_bytes))
            # Who reads is served: also pages.
            for _ in range(5):
                entries = self.bystander.call("kv.list", channel="kv", limit=1000)["entries"]
                self.assertEqual(len(entries), 2)
            # And so is one of them once it reads.
            for _ in range(20):
                self.assertEqual(len(connection.read_reply()["result"]["entries"]), 2)
        wait_until(lambda: daemon.resident_bytes() - self.resident < GROWTH_BYTES_MAX)

    def test_refusals_do_not_fill_the_log(self):
        before = daemon.log_path.stat().st_size
        for _ in range(300):
            with daemon.connect() as connection:
                connection.send(b"[" * 100)
                connection.read_line()
        self.assertLess(daemon.log_path.stat().st_size - before, 4096)
        self.assertGreaterEqual(daemon.call("system.stats")["refused"]["invalid_request"], 300)


if __name__ == "__main__":
    unittest.main()
