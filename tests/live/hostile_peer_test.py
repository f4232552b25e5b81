"""Whatever anybody puts on a channel's topic is refused and counted, and does nothing to state, memory or later writes."""

import hashlib
import json
import random
import time
import unittest

try:
    import cbor2
except ImportError:
    cbor2 = None

import fixtures
from daemon import wait_until
from fixtures import Eavesdropper, TrioCase, identity, publish, topic_of, wait_for

GROWTH_BYTES_MAX = 24 << 20
LOG_BYTES_MAX = 16 << 10

setUpModule = fixtures.set_up_trio


class Case(TrioCase):
    """A log of a and b; an attacker beside b's Kubo. At the end all is as it was and goes on."""

    PUBLIC = False

    def setUp(self):
        super().setUp()
        self.rng = random.Random(self.name)
        address = self.a.call("channel.create", name=self.name, type="log", public=self.PUBLIC)["address"]
        self.topic = topic_of(address)
        self.ear = Eavesdropper(self.trio.k2, self.topic)
        self.b.call("channel.join", address=address, name=self.name)
        granted = self.a.call("channel.grant", channel=self.name, id=identity(self.b), role="write")["at"]
        wait_for(self.b, self.name, granted)
        for writer, reader in ((self.a, self.b), (self.b, self.a)) * 3:
            wait_for(reader, self.name, writer.call("log.add", channel=self.name, value=f"by {identity(writer)}")["at"])
        self.heard = list(self.ear.messages)
        self.assertGreater(len(self.heard), 6)
        self.before = self.state()
        self.members = self.a.call("channel.members", channel=self.name)
        self.resident = [one.resident_bytes() for one in (self.a, self.b)]
        self.logged = [one.log_path.stat().st_size for one in (self.a, self.b)]
        self.refused = [self.refusals(one) for one in (self.a, self.b)]

    def state(self):
        return [one.call("log.list", channel=self.name, limit=1000)["entries"] for one in (self.a, self.b)]

    def refusals(self, daemon):
        return sum(daemon.call("system.stats")["refused"].values())

    def received(self, daemon):
        return daemon.call("system.stats")["messages"]["received"]

    def attack(self, messages):
        """All of them, until both have had most of them (Kubo loses some)."""
        before = [self.received(one) for one in (self.a, self.b)]
        publish(self.trio.k2, self.topic, *messages)
        for one, count in zip((self.a, self.b), before):
            wait_until(lambda: self.received(one) >= count + len(messages) * 0.5, 20, 0.05)

    def tearDown(self):
        with self.ear:
            self.assertEqual(self.state(), self.before)
            self.assertEqual(self.a.call("channel.members", channel=self.name), self.members)
            for writer, reader in ((self.a, self.b), (self.b, self.a)):
                started = time.monotonic()
                wait_for(reader, self.name, writer.call("log.add", channel=self.name, value="and on")["at"])
                self.assertLess(time.monotonic() - started, 5)
            listed = self.state()
            self.assertEqual(listed[0], listed[1])
            self.assertEqual(len(listed[0]), len(self.before[0]) + 2)
        for one, resident, logged in zip((self.a, self.b), self.resident, self.logged):
            self.assertLess(one.resident_bytes() - resident, GROWTH_BYTES_MAX)
            self.assertLess(one.log_path.stat().st_size - logged, LOG_BYTES_MAX)

    def counted(self, *daemons):
        for one, before in zip((self.a, self.b), self.refused):
            if one in daemons:
                self.assertGreater(self.refusals(one), before)

    def all_counted(self):
        self.counted(self.a, self.b)


class OnTheTopic(Case):
    def test_noise(self):
        self.attack([self.rng.randbytes(self.rng.choice((1, 10, 100, 1000))) for _ in range(100)])
        self.attack([self.rng.randbytes(600_000) for _ in range(5)])
        publish(self.trio.k2, self.topic, self.rng.randbytes(900_000), self.rng.randbytes(1_000_000))
        self.attack([b"\x9f" * 5000, b"\xa1" * 5000, b"\xbf" + b"\xff" * 100, b"\x5b" + b"\xff" * 8, b"{}",
                     b"\xf6", b"\x81" * 200])
        self.all_counted()

    def test_replayed(self):
        self.attack(self.heard * 10)

    def test_changed(self):
        """One bit or one piece of a message that was right. See Forged for those that are not old."""
        changed = []
        for message in self.heard * 6:
            flipped = bytearray(message)
            flipped[self.rng.randrange(len(flipped))] ^= 1 << self.rng.randrange(8)
            cut = self.rng.randrange(1, len(message))
            changed += [bytes(flipped), message[:cut], message + b"\0",
                        message[:cut] + self.rng.choice(self.heard)[cut:]]
        self.attack(changed)
        self.all_counted()

    def test_of_another_channel(self):
        other = topic_of(self.c.call("channel.create", name=f"not {self.name}", type="log")["address"])
        with Eavesdropper(self.trio.k2, other) as ear:
            for number in range(5):
                self.c.call("log.add", channel=f"not {self.name}", value=number)
            wait_until(lambda: len(ear.messages) >= 3)
            self.attack(ear.messages * 5)
        self.all_counted()

    def test_flood(self):
        """More than anybody may send; the budget is that of b's Kubo, and a's own messages are not held up by it."""
        publish(self.trio.k2, self.topic, *[self.rng.randbytes(2000) for _ in range(1500)], pause_s=0)
        started = time.monotonic()
        wait_for(self.b, self.name, self.a.call("log.add", channel=self.name, value="through it all")["at"])
        self.assertLess(time.monotonic() - started, 5)
        wait_for(self.a, self.name, self.b.call("log.add", channel=self.name, value="both ways")["at"])
        for one in (self.a, self.b):
            self.assertEqual(len(one.call("log.list", channel=self.name)["entries"]), len(self.before[0]) + 2)
        self.before = self.state()
        self.all_counted()


def cid_bytes(block):
    return b"\x01\x71\x12\x20" + hashlib.sha256(block).digest()


@unittest.skipUnless(cbor2, "python3-cbor2 is not there")
class Forged(Case):
    """Messages as they should be, in the name of a, but for the signatures. The channel is public: no key is needed."""

    PUBLIC = True

    def setUp(self):
        super().setUp()
        self.forgeries = 0
        self.last = [message for message in self.heard_of("nodes") if message["body"]["nodes"]][-1]
        self.assertEqual(self.last["sender"], cbor2.loads(self.last["body"]["nodes"][-1])["list"]["writer"])

    def heard_of(self, kind):
        """a drops what seems to be its own without counting, so all is in its name and b counts."""
        messages = list(map(cbor2.loads, self.ear.messages))
        first = next(message["sender"] for message in messages if message["kind"] == "nodes")  # b could not write yet
        return [message for message in messages if message["kind"] == kind and message["sender"] == first]

    def signed_by_nobody(self, message, kind, body):
        """In the sender's name, and newer than all it sent so far."""
        self.forgeries += 1
        return cbor2.dumps(message | {"kind": kind, "body": body, "count": message["count"] + 1000 + self.forgeries,
                                      "signature": self.rng.randbytes(64)}, canonical=True)

    def nodes(self, *nodes):
        encoded = [cbor2.dumps(node, canonical=True) for node in nodes]
        body = {"nodes": encoded, "large": [], "last": False, "manifest": b""}
        return self.signed_by_nobody(self.last, "nodes", body)

    def test_nodes(self):
        block = self.last["body"]["nodes"][-1]
        head = cbor2.loads(block)
        self.assertEqual((head["kind"], head["list"]["kind"]), ("node", "data"))
        self.assertIn(b"by did", head["body"])
        forged = head | {"body": head["body"].replace(b"by did", b"BY DID"), "signature": self.rng.randbytes(64)}
        following = forged | {"number": head["number"] + 1, "prev": cid_bytes(block), "time": head["time"] + (1 << 16)}
        # In the place of the last one, after it, and a list of their own.
        own = forged | {"number": 1, "list": head["list"] | {"incarnation": self.rng.randbytes(8)}}
        own.pop("prev")
        self.attack([self.nodes(forged), self.nodes(following), self.nodes(own),
                     self.nodes(*[following | {"number": head["number"] + 1 + step} for step in range(50)])] * 3)
        self.counted(self.b)

    def test_clocks(self):
        """Of what is not there nothing is missed."""
        entries = [[[self.rng.randbytes(16), 10**6, self.rng.randbytes(8)], 0] for _ in range(100)]
        clocks = wait_until(lambda: [message for message in self.heard_of("clock") if message["body"]["clock"]])
        for message in clocks:
            for entry in message["body"]["clock"]:
                entries.append([[entry[0][0], entry[0][1] + 10**6, entry[0][2]], 0])
                entries.append([entry[0], 1])  # forked from the start on
        entries.sort()
        body = {"clock": entries, "wall": 2**40, "manifest": True, "ask": True, "digest": b""}
        self.assertGreater(len(entries), 100)
        self.attack([self.signed_by_nobody(message, "clock", body) for message in clocks * 3])
        for one in (self.a, self.b):
            info = one.call("channel.info", channel=self.name)
            self.assertEqual(info["missing"], 0)
            self.assertFalse([each for each in info["lists"] if "cut" in each])
        self.counted(self.b)


class Strangers(Case):
    def test_a_member_of_nothing(self):
        """c knows the address, and has no grant: it takes part and changes nothing."""
        address = self.a.call("channel.info", channel=self.name)["address"]
        self.c.call("channel.join", address=address, name=self.name)
        wait_for(self.c, self.name, self.a.call("channel.clock", channel=self.name)["at"])
        # What c writes in a channel of its own, brought into this one.
        own = self.c.call("channel.create", name=f"own {self.name}", type="log", public=True)["address"]
        with Eavesdropper(self.trio.k2, topic_of(own)) as ear:
            self.c.call("log.add", channel=f"own {self.name}", value="forged")
            wait_until(lambda: ear.messages)
            self.attack(ear.messages * 3)
        for one in (self.a, self.b):
            self.assertNotIn(identity(self.c), json.dumps(one.call("channel.members", channel=self.name)))


if __name__ == "__main__":
    unittest.main()
