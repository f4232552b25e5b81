"""Daemons beside real Kubo nodes converge: a and c stand beside one Kubo, b beside another."""

import base64
import json
import random
import threading
import time
import unittest

import fixtures
import kubo_nodes
from daemon import wait_until
from fixtures import (ARRIVAL_LIMIT_MS, NO_ENTRY, Eavesdropper, TrioCase, cid_of, identity, lists_of, peer_address,
                      share, topic_of, wait_for)

setUpModule = fixtures.set_up_trio


def root_of(daemon, channel, writer):
    """CID of the newest root of this writer's list of data."""
    return next(one["root"] for one in daemon.call("channel.info", channel=channel)["lists"]
                if one["writer"] == identity(writer) and not one.get("control"))


def in_bytes(cid):
    """A base32 CID as DAG-JSON shows its bytes."""
    raw = base64.b32decode(cid[1:].upper() + "=" * (-(len(cid) - 1) % 8))
    return {"/": {"bytes": base64.b64encode(raw).decode().rstrip("=")}}


def wait_with_own_connection(daemon, channel, at):
    with daemon.connect() as connection:
        return connection.call("channel.wait", channel=channel, at=at, timeout_ms=ARRIVAL_LIMIT_MS)


class Types(TrioCase):
    def test_log(self):
        share(self.name, "log", self.a, self.b)
        first = self.a.call("log.add", channel=self.name, value={"n": 1})
        wait_for(self.b, self.name, first["at"])
        second = self.b.call("log.add", channel=self.name, value=["two", 2.0, None])
        wait_for(self.a, self.name, second["at"])
        listed = [one.call("log.list", channel=self.name)["entries"] for one in (self.a, self.b)]
        self.assertEqual(listed[0], listed[1])
        self.assertEqual([entry["value"] for entry in listed[0]], [{"n": 1}, ["two", 2.0, None]])
        self.assertEqual([entry["writer"] for entry in listed[0]], [identity(self.a), identity(self.b)])
        self.assertEqual(self.b.call("log.get", channel=self.name, id=first["id"]), listed[0][0])
        # Any writer may hide an entry.
        wait_for(self.a, self.name, self.b.call("log.del", channel=self.name, id=first["id"])["at"])
        self.refused(102, self.a, "log.get", channel=self.name, id=first["id"])

    def test_count(self):
        share(self.name, "count", self.a, self.b)
        for step in range(3):
            at = self.a.call("count.add", channel=self.name, by=10)["at"]
            wait_for(self.b, self.name, at)
            wait_for(self.a, self.name, self.b.call("count.add", channel=self.name, by=-1)["at"])
        self.a.call("count.add", channel=self.name, key="other", by=7)
        wait_for(self.b, self.name, self.a.call("channel.clock", channel=self.name)["at"])
        for one in (self.a, self.b):
            self.assertEqual(one.call("count.get", channel=self.name)["value"], 27)
            self.assertEqual(one.call("count.list", channel=self.name)["entries"],
                             [{"key": "default", "value": 27}, {"key": "other", "value": 7}])

    def test_kv(self):
        share(self.name, "kv", self.a, self.b)
        wait_for(self.b, self.name, self.a.call("kv.put", channel=self.name, key="k", value="from a")["at"])
        self.assertEqual(self.b.call("kv.get", channel=self.name, key="k")["value"], "from a")
        wait_for(self.a, self.name, self.b.call("kv.put", channel=self.name, key="k", value="from b")["at"])
        found = self.a.call("kv.get", channel=self.name, key="k", siblings=True)
        self.assertEqual((found["value"], found["writer"], found["siblings"]), ("from b", identity(self.b), []))
        batch = self.a.call("kv.batch", channel=self.name,
                            ops=[{"put": {"key": "x", "value": 1}}, {"put": {"key": "y", "value": 2}},
                                 {"del": {"key": "k"}}])
        wait_for(self.b, self.name, batch["at"])
        self.refused(102, self.b, "kv.get", channel=self.name, key="k")
        self.assertEqual(self.b.call("kv.list", channel=self.name)["entries"],
                         [{"key": "x", "value": 1}, {"key": "y", "value": 2}])

    def test_every_value_arrives_as_it_was(self):
        share(self.name, "kv", self.a, self.b)
        values = [None, True, -2**63, 2**63 - 1, 1.0, 1e300, "", "ü\u0000\U0001f600", [], {},
                  {"/": {"bytes": "AAEC/w"}},
                  {"/": cid_of(self.a.call("channel.info", channel=self.name)["address"])}, [[{"deep": [1]}]]]
        ops = [{"put": {"key": f"{number:02}", "value": value}} for number, value in enumerate(values)]
        wait_for(self.b, self.name, self.a.call("kv.batch", channel=self.name, ops=ops)["at"])
        for one in (self.a, self.b):
            found = [entry["value"] for entry in one.call("kv.list", channel=self.name)["entries"]]
            self.assertEqual(json.dumps(found), json.dumps(values))

    def test_large_values(self):
        """Over 64 KiB a node is no part of a message: it comes through Kubo, by its CID."""
        share(self.name, "kv", self.a, self.b)
        large = random.Random(1).randbytes(300_000).hex()  # cannot be compressed below 64 KiB
        largest = random.Random(2).randbytes(690_000)
        at = [self.a.call("kv.put", channel=self.name, key="large", value=large)["at"],
              self.a.call("kv.put", channel=self.name, key="largest",
                          value={"/": {"bytes": base64.b64encode(largest).decode().rstrip("=")}})["at"]]
        wait_for(self.b, self.name, at)
        self.assertEqual(self.b.call("kv.get", channel=self.name, key="large")["value"], large)
        text = self.b.call("kv.get", channel=self.name, key="largest")["value"]["/"]["bytes"]
        self.assertEqual(base64.b64decode(text + "=" * (-len(text) % 4)), largest)


class Roles(TrioCase):
    def test_private_channel_before_and_after_the_grant(self):
        address = self.a.call("channel.create", name=self.name, type="kv")["address"]
        self.a.call("kv.put", channel=self.name, key="old", value="written before the grant")
        joined = self.b.call("channel.join", address=address, name=self.name)
        self.assertEqual((joined["name"], joined["address"]), (self.name, address))
        # What is not to be read can be waited for all the same.
        wait_for(self.b, self.name, self.a.call("channel.clock", channel=self.name)["at"])
        info = self.b.call("channel.info", channel=self.name)
        self.assertEqual((info["type"], info["readable"], info["writable"]), ("kv", False, False))
        self.refused(401, self.b, "kv.get", channel=self.name, key="old")
        self.refused(401, self.b, "kv.list", channel=self.name)
        self.refused(402, self.b, "kv.put", channel=self.name, key="mine", value=1)
        self.refused(403, self.b, "channel.grant", channel=self.name, id=identity(self.b), role="write")

        granted = self.a.call("channel.grant", channel=self.name, id=identity(self.b), role="write")["at"]
        wait_for(self.b, self.name, granted)
        info = self.b.call("channel.info", channel=self.name)
        self.assertEqual((info["readable"], info["writable"]), (True, True))
        self.assertEqual(self.b.call("kv.get", channel=self.name, key="old")["value"], "written before the grant")
        wait_for(self.a, self.name, self.b.call("kv.put", channel=self.name, key="mine", value=1)["at"])
        self.assertEqual(self.a.call("kv.get", channel=self.name, key="mine")["writer"], identity(self.b))
        roles = [{member["id"]: member["role"] for member in one.call("channel.members", channel=self.name)["members"]}
                 for one in (self.a, self.b)]
        self.assertEqual(roles, [{identity(self.a): "admin", identity(self.b): "write"}] * 2)

    def test_join_and_grant_before_anything_is_written(self):
        address = self.a.call("channel.create", name=self.name, type="count")["address"]
        self.a.call("channel.grant", channel=self.name, id=identity(self.b), role="write")
        self.b.call("channel.join", address=address, name=self.name)
        wait_until(lambda: self.b.call("channel.info", channel=self.name)["writable"])
        wait_for(self.a, self.name, self.b.call("count.add", channel=self.name, by=5)["at"])
        self.assertEqual(self.a.call("count.get", channel=self.name)["value"], 5)

    def test_readers_do_not_write(self):
        share(self.name, "log", self.a, self.b, role="read")
        wait_for(self.b, self.name, self.a.call("log.add", channel=self.name, value="read me")["at"])
        self.assertEqual(self.b.call("log.list", channel=self.name)["entries"][0]["value"], "read me")
        self.refused(402, self.b, "log.add", channel=self.name, value="no")
        info = self.b.call("channel.info", channel=self.name)
        self.assertEqual((info["readable"], info["writable"]), (True, False))

    def test_public_channel(self):
        address = self.a.call("channel.create", name=self.name, type="kv", public=True)["address"]
        at = self.a.call("kv.put", channel=self.name, key="k", value="for all")["at"]
        self.b.call("channel.join", address=address, name=self.name)
        wait_for(self.b, self.name, at)
        self.assertEqual(self.b.call("kv.get", channel=self.name, key="k")["value"], "for all")
        info = self.b.call("channel.info", channel=self.name)
        self.assertEqual((info["readable"], info["writable"], info["epoch"]), (True, False, 0))
        self.refused(402, self.b, "kv.put", channel=self.name, key="k", value="mine")
        granted = self.a.call("channel.grant", channel=self.name, id=identity(self.b), role="write")["at"]
        wait_for(self.b, self.name, granted)
        wait_for(self.a, self.name, self.b.call("kv.put", channel=self.name, key="k", value="mine")["at"])
        self.assertEqual(self.a.call("kv.get", channel=self.name, key="k")["value"], "mine")

    def test_strangers(self):
        """Who knows the address but has no grant carries ciphertext, and no more."""
        address = share(self.name, "kv", self.a, self.b)
        self.c.call("channel.join", address=address, name=self.name)
        at = self.b.call("kv.put", channel=self.name, key="k", value="secret")["at"]
        wait_for(self.c, self.name, at)
        self.refused(401, self.c, "kv.get", channel=self.name, key="k")
        self.refused(401, self.c, "kv.list", channel=self.name)
        self.refused(402, self.c, "kv.put", channel=self.name, key="k", value="forged")
        self.refused(402, self.c, "kv.batch", channel=self.name, ops=[{"del": {"key": "k"}}])
        self.refused(403, self.c, "channel.grant", channel=self.name, id=identity(self.c), role="admin")
        self.assertEqual(self.a.call("kv.get", channel=self.name, key="k")["value"], "secret")
        self.assertEqual(len(self.a.call("channel.members", channel=self.name)["members"]), 2)


    def test_every_method_refuses_strangers(self):
        """401 to read, 402 to write, 403 to grant; each before 105 and 102."""
        for kind in ("log", "count", "kv"):
            address = self.a.call("channel.create", name=f"of {kind}", type=kind)["address"]
            self.c.call("channel.join", address=address, name=f"of {kind}")
            wait_for(self.c, f"of {kind}", self.a.call("channel.clock", channel=f"of {kind}")["at"])
        too_long, entry = "k" * 1025, NO_ENTRY
        for code, method, params in (
                (401, "log.get", {"id": entry}), (401, "log.list", {}), (401, "count.get", {"key": too_long}),
                (401, "count.list", {}), (401, "kv.get", {"key": too_long}), (401, "kv.list", {"prefix": "x"}),
                (402, "log.add", {"value": "x" * (900 << 10)}), (402, "log.del", {"id": entry}), (402, "count.add", {}),
                (402, "count.add", {"key": too_long}), (402, "kv.put", {"key": too_long, "value": 1}),
                (402, "kv.del", {"key": "k"}), (402, "kv.batch", {"ops": [{"del": {"key": too_long}}]}),
                (403, "channel.grant", {"id": identity(self.c), "role": "write"})):
            with self.subTest(method=method):
                noun = method.split(".")[0]
                self.refused(code, self.c, method, channel=f"of {'kv' if noun == 'channel' else noun}", **params)
        self.refused(103, self.c, "log.list", channel="of kv")  # the type is told before the key


class Waiting(TrioCase):
    def test_tokens_before_anything_is_here(self):
        address = self.a.call("channel.create", name=self.name, type="count")["address"]
        granted = self.a.call("channel.grant", channel=self.name, id=identity(self.b), role="write")["at"]
        at = self.a.call("count.add", channel=self.name, by=4)["at"]
        with self.b.connect() as impatient:
            impatient.call("channel.join", address=address, name=self.name)
            # Sent with the join: nothing can be here yet.
            impatient.call("channel.wait", channel=self.name, at=[granted, at], timeout_ms=ARRIVAL_LIMIT_MS)
            self.assertEqual(impatient.call("count.get", channel=self.name)["value"], 4)

    def test_tokens_before_they_are_written_elsewhere(self):
        """A wait that began first is answered when the write arrives, and not before."""
        share(self.name, "kv", self.a, self.b)
        self.trio.k2.rpc("swarm/disconnect", arg=peer_address(self.trio.k1))
        try:
            at = self.a.call("kv.put", channel=self.name, key="k", value=1)["at"]
            self.refused(302, self.b, "channel.wait", channel=self.name, at=at, timeout_ms=50)
            reached = []
            waiting = threading.Thread(target=lambda: reached.append(wait_with_own_connection(self.b, self.name, at)))
            waiting.start()
            time.sleep(0.2)
            self.assertEqual(reached, [])
        finally:
            kubo_nodes.connect(self.trio.k1, self.trio.k2)
        waiting.join(30)
        self.assertEqual(reached, [{"reached": True}])

    def test_peers(self):
        share(self.name, "kv", self.a, self.b)
        at = self.a.call("kv.put", channel=self.name, key="k", value=1)["at"]
        wait_for(self.a, self.name, at, peer=identity(self.b))
        wait_for(self.a, self.name, at, peer="any")
        peers = self.a.call("channel.info", channel=self.name)["peers"]
        self.assertIn(identity(self.b), [peer["id"] for peer in peers])
        self.assertTrue(all(abs(peer["last_seen_ms"] - time.time() * 1000) < 60_000 for peer in peers), peers)
        # c has not joined.
        self.refused(302, self.a, "channel.wait", channel=self.name, at=at, peer=identity(self.c), timeout_ms=100)

    def test_clock(self):
        share(self.name, "kv", self.a, self.b)
        for number in range(5):
            self.a.call("kv.put", channel=self.name, key="k", value=number)
            self.b.call("kv.put", channel=self.name, key=str(number), value=number)
        for one, other in ((self.a, self.b), (self.b, self.a)):
            wait_for(one, self.name, other.call("channel.clock", channel=self.name)["at"])
        clocks = [set(one.call("channel.clock", channel=self.name)["at"]) for one in (self.a, self.b)]
        self.assertEqual(clocks[0], clocks[1])
        self.assertEqual(self.a.call("kv.list", channel=self.name), self.b.call("kv.list", channel=self.name))
        self.assertEqual(self.a.call("channel.info", channel=self.name)["missing"], 0)


class InKubo(TrioCase):
    MARKER = "Schmetterling-7731"

    def contents(self, node, cid):
        """(the block's bytes, what `ipfs dag get` says)"""
        return node.rpc("block/get", arg=cid), json.loads(node.rpc("dag/get", arg=cid))

    def outbox_drains(self, *daemons):
        for one in daemons:
            wait_until(lambda: one.call("system.info")["outbox"] == 0)

    def test_nodes_rest_in_roots_and_private_ones_are_ciphertext(self):
        address = self.a.call("channel.create", name=self.name, type="kv")["address"]
        with Eavesdropper(self.trio.k2, topic_of(address)) as ear:
            self.b.call("channel.join", address=address, name=self.name)
            granted = self.a.call("channel.grant", channel=self.name, id=identity(self.b), role="write")["at"]
            wait_for(self.b, self.name, granted)
            key, value = f"key-{self.MARKER}", f"value-{self.MARKER}"
            at = [self.a.call("kv.put", channel=self.name, key=key, value=value)["at"]]
            wait_for(self.b, self.name, at)
            at.append(self.b.call("kv.put", channel=self.name, key="k", value=self.MARKER)["at"])
            wait_for(self.a, self.name, at)
            wait_until(lambda: len(ear.messages) >= 2)
        for message in ear.messages:
            self.assertNotIn(self.MARKER.encode(), message)
        self.outbox_drains(self.a, self.b)
        for writer in (self.a, self.b):
            cid = root_of(self.a, self.name, writer)
            self.assertEqual(cid, root_of(self.b, self.name, writer))
            for node in (self.trio.k1, self.trio.k2):
                block, shown = self.contents(node, cid)
                self.assertEqual(shown["kind"], "root")
                self.assertEqual([one["kind"] for one in shown["tail"]], ["node"])
                self.assertEqual(shown["tail"][0]["channel"], in_bytes(cid_of(address)))  # a link would let Kubo walk
                self.assertNotIn(self.MARKER.encode(), block)

    def test_public_ones_are_plain(self):
        """The other side of the test before: the marker would have been seen."""
        address = self.a.call("channel.create", name=self.name, type="kv", public=True)["address"]
        with Eavesdropper(self.trio.k2, topic_of(address)) as ear:
            self.b.call("channel.join", address=address, name=self.name)
            wait_for(self.b, self.name, self.a.call("channel.clock", channel=self.name)["at"])
            wait_for(self.b, self.name, self.a.call("kv.put", channel=self.name, key="k", value=self.MARKER)["at"])
            wait_until(lambda: any(self.MARKER.encode() in message for message in ear.messages))
        self.outbox_drains(self.a)
        block, shown = self.contents(self.trio.k2, root_of(self.b, self.name, self.a))
        self.assertIn(self.MARKER.encode(), block)
        self.assertEqual(shown["kind"], "root")

    def test_a_newcomer_gets_a_long_history_from_kubo(self):
        """By roots and packs, from the other replica's Kubo, after a garbage collection everywhere."""
        address = self.a.call("channel.create", name=self.name, type="kv")["address"]
        self.a.call("channel.grant", channel=self.name, id=identity(self.b), role="read")
        for start in range(0, 6000, 100):
            ops = [{"put": {"key": f"{number:05}", "value": f"{number}" * 20}} for number in range(start, start + 100)]
            at = self.a.call("kv.batch", channel=self.name, ops=ops)["at"]
        self.outbox_drains(self.a)
        wait_until(lambda: root_of(self.a, self.name, self.a) in self.pinned(self.trio.k1))
        for node in (self.trio.k1, self.trio.k2):
            node.rpc("repo/gc", timeout=30)
        before = self.b.call("system.stats")["blocks"]["fetched"]
        self.b.call("channel.join", address=address, name=self.name)
        wait_for(self.b, self.name, at)
        self.assertGreater(self.b.call("system.stats")["blocks"]["fetched"] - before, 1)
        for one in (self.a, self.b):
            page = one.call("kv.list", channel=self.name, reverse=True, limit=1)
            self.assertEqual(page["entries"], [{"key": "05999", "value": "5999" * 20}])
        self.outbox_drains(self.b)
        self.assertEqual(*(root_of(one, self.name, self.a) for one in (self.a, self.b)))

    def test_the_manifest_is_a_block(self):
        address = share(self.name, "log", self.a, self.b)
        for node in (self.trio.k1, self.trio.k2):
            shown = json.loads(node.rpc("dag/get", arg=cid_of(address)))
            self.assertEqual((shown["kind"], shown["type"]), ("manifest", "log"))

    def pinned(self, node):
        return set(json.loads(node.rpc("pin/ls", type="all"))["Keys"] or ())

    def test_pins_are_what_is_live(self):
        address = cid_of(share(self.name, "kv", self.a, self.b))
        self.a.call("kv.put", channel=self.name, key="k", value=1)
        wait_until(lambda: address in self.pinned(self.trio.k1) and address in self.pinned(self.trio.k2))
        # Kubo's garbage collection leaves what is pinned.
        self.outbox_drains(self.a)
        root = root_of(self.a, self.name, self.a)
        wait_until(lambda: root in self.pinned(self.trio.k1))
        self.trio.k1.rpc("repo/gc", timeout=30)
        for cid in (address, root):
            json.loads(self.trio.k1.rpc("dag/get", arg=cid, offline="true"))
        self.b.call("channel.leave", channel=self.name)
        wait_until(lambda: address not in self.pinned(self.trio.k2))
        self.refused(101, self.b, "kv.get", channel=self.name, key="k")
        self.assertIn(address, self.pinned(self.trio.k1))

    def test_two_beside_one_kubo_keep_their_own_pins(self):
        address = cid_of(share(self.name, "kv", self.a, self.c))
        wait_until(lambda: address in self.pinned(self.trio.k1))
        self.c.call("channel.leave", channel=self.name)
        time.sleep(1)  # nothing tells when a pin that must stay did stay
        self.assertIn(address, self.pinned(self.trio.k1))
        self.a.call("channel.leave", channel=self.name)
        wait_until(lambda: address not in self.pinned(self.trio.k1))


class Companions(TrioCase):
    def test_two_beside_one_kubo(self):
        share(self.name, "log", self.a, self.c)
        wait_for(self.c, self.name, self.a.call("log.add", channel=self.name, value="from a")["at"])
        wait_for(self.a, self.name, self.c.call("log.add", channel=self.name, value="from c")["at"])
        listed = [one.call("log.list", channel=self.name)["entries"] for one in (self.a, self.c)]
        self.assertEqual(listed[0], listed[1])
        self.assertEqual(len(listed[0]), 2)

    def test_three(self):
        share(self.name, "count", self.a, self.b, self.c)
        everyone = (self.a, self.b, self.c)
        tokens = [outcome["at"] for one in everyone
                  for outcome in one.pipeline([("count.add", {"channel": self.name})] * 100)]
        for one in everyone:
            wait_for(one, self.name, tokens)
            self.assertEqual(one.call("count.get", channel=self.name)["value"], 300)

    def test_many_writes_from_both_sides(self):
        """More than pubsub carries without loss."""
        share(self.name, "kv", self.a, self.b)
        put = lambda side: [("kv.put", {"channel": self.name, "key": f"{side} {number}", "value": "x" * 200})
                            for number in range(1000)] + [
                                ("kv.put", {"channel": self.name, "key": "both", "value": side})]
        other = threading.Thread(target=lambda: self.b.pipeline(put("b")))
        other.start()
        self.a.pipeline(put("a"))
        other.join()
        for one, source in ((self.a, self.b), (self.b, self.a)):
            wait_for(one, self.name, source.call("channel.clock", channel=self.name)["at"])
        listed = []
        for one in (self.a, self.b):
            first = one.call("kv.list", channel=self.name, limit=1000)
            second = one.call("kv.list", channel=self.name, limit=1000, after=first["next"])
            third = one.call("kv.list", channel=self.name, limit=1000, after=second["next"])
            listed.append(first["entries"] + second["entries"] + third["entries"])
        self.assertEqual(len(listed[0]), 2001)
        self.assertEqual(listed[0], listed[1])

    def test_leaving_and_joining_again(self):
        address = share(self.name, "kv", self.a, self.b)
        wait_for(self.a, self.name, self.b.call("kv.put", channel=self.name, key="b", value=1)["at"])
        before = lists_of(self.a, self.name, self.b)
        self.assertEqual(self.b.call("channel.leave", channel=self.name)["left"], True)
        self.refused(101, self.b, "channel.info", channel=self.name)
        at = self.a.call("kv.put", channel=self.name, key="a", value=2)["at"]
        self.b.call("channel.join", address=address, name=self.name)
        wait_for(self.b, self.name, [at, *self.a.call("channel.clock", channel=self.name)["at"]])
        self.assertEqual(self.b.call("kv.list", channel=self.name)["entries"],
                         [{"key": "a", "value": 2}, {"key": "b", "value": 1}])
        wait_for(self.a, self.name, self.b.call("kv.put", channel=self.name, key="b", value=3)["at"])
        self.assertEqual(self.a.call("kv.get", channel=self.name, key="b")["value"], 3)
        after = lists_of(self.a, self.name, self.b)
        self.assertEqual((len(before), len(after), len(after - before)), (1, 2, 1), "a new incarnation of b's list")


if __name__ == "__main__":
    unittest.main()
