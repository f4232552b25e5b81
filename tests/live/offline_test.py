"""Replicas that were apart: stopped, cut off, copied, or without their Kubo for a while."""

import json
import shutil
import unittest

import fixtures
import kubo_nodes
from daemon import Daemon, wait_until
from fixtures import TrioCase, connected, identity, lists_of, peer_address, share, wait_for

setUpModule = fixtures.set_up_trio


class Offline(TrioCase):
    def test_in_turn(self):
        share(self.name, "kv", self.a, self.b)
        self.b.stop()
        for number in range(50):
            at = self.a.call("kv.put", channel=self.name, key=f"a{number:02}", value=number)["at"]
        self.b.start()
        wait_for(self.b, self.name, at)
        self.assertEqual(len(self.b.call("kv.list", channel=self.name)["entries"]), 50)
        self.a.stop()
        at = self.b.call("kv.put", channel=self.name, key="b", value="while a slept")["at"]
        self.a.start()
        wait_for(self.a, self.name, at)
        self.assertEqual(self.a.call("kv.get", channel=self.name, key="b")["value"], "while a slept")

    def test_never_at_the_same_time(self):
        """What a carrier that cannot read holds gets from one writer to the other."""
        address = share(self.name, "log", self.a, self.b)
        self.c.call("channel.join", address=address, name=self.name)
        wait_for(self.c, self.name, self.a.call("channel.clock", channel=self.name)["at"])
        self.b.stop()
        at = self.a.call("log.add", channel=self.name, value="carried")["at"]
        wait_for(self.c, self.name, at)
        self.a.stop()
        try:
            self.b.start()
            wait_for(self.b, self.name, at)
            self.assertEqual(self.b.call("log.list", channel=self.name)["entries"][0]["value"], "carried")
        finally:
            self.a.start()

    def test_partition(self):
        share(self.name, "kv", self.a, self.b)
        wait_for(self.b, self.name, self.a.call("kv.put", channel=self.name, key="both", value=0)["at"])
        self.trio.k1.rpc("swarm/disconnect", arg=peer_address(self.trio.k2))
        try:
            at = {one: [one.call("kv.put", channel=self.name, key="both", value=text)["at"],
                        one.call("kv.put", channel=self.name, key=text, value=1)["at"]]
                  for one, text in ((self.a, "from a"), (self.b, "from b"))}
            self.refused(302, self.b, "channel.wait", channel=self.name, at=at[self.a], timeout_ms=300)
        finally:
            kubo_nodes.connect(self.trio.k1, self.trio.k2)
        wait_for(self.a, self.name, at[self.b])
        wait_for(self.b, self.name, at[self.a])
        found = [one.call("kv.get", channel=self.name, key="both", siblings=True) for one in (self.a, self.b)]
        self.assertEqual(found[0], found[1])
        self.assertEqual(found[0]["value"], "from b")  # written later
        self.assertEqual([one["value"] for one in found[0]["siblings"]], ["from a"])
        self.assertEqual([entry["key"] for entry in self.a.call("kv.list", channel=self.name)["entries"]],
                         ["both", "from a", "from b"])

    def test_a_restart_forgets_nothing(self):
        share(self.name, "count", self.a, self.b)
        at = self.b.call("count.add", channel=self.name, by=3)["at"]
        wait_for(self.a, self.name, at)
        self.a.kill()
        self.a.start()
        wait_for(self.a, self.name, at, timeout_ms=0)
        self.assertEqual(self.a.call("count.get", channel=self.name)["value"], 3)
        wait_for(self.b, self.name, self.a.call("count.add", channel=self.name, by=4)["at"])
        self.assertEqual(self.b.call("count.get", channel=self.name)["value"], 7)


class Copies(TrioCase):
    def test_a_copied_data_folder(self):
        """Two daemons of one identity go on from the same node: a fork. What both wrote counts, once, on all."""
        address = self.a.call("channel.create", name=self.name, type="count")["address"]
        original = self.trio.daemon("original", self.trio.k2)
        original.call("channel.join", address=address, name=self.name)
        wait_for(original, self.name,
                 self.a.call("channel.grant", channel=self.name, id=identity(original), role="write")["at"])
        wait_for(self.a, self.name, original.call("count.add", channel=self.name, by=1)["at"])
        original.stop()
        copy = Daemon(self.trio.folder / "copy", kubo=self.trio.k1)
        self.addCleanup(copy.kill)
        self.addCleanup(original.kill)
        shutil.copytree(original.data, copy.data)
        for one, by in ((original, 10), (copy, 100)):
            beside, one.kubo = one.kubo, None  # neither hears of the other
            one.start()
            self.assertEqual(one.call("count.add", channel=self.name, by=by)["value"], 1 + by)
            one.stop()
            one.kubo = beside
        self.assertEqual(identity(original.start()), identity(copy.start()))
        everyone = (self.a, original, copy)
        for one in everyone:
            wait_until(lambda: '"cut": "fork"' in json.dumps(one.call("channel.info", channel=self.name)))
            wait_until(lambda: one.call("count.get", channel=self.name)["value"] == 111)
        # Both go on, each in a list of its own.
        tokens = [one.call("count.add", channel=self.name, by=1000)["at"] for one in (original, copy)]
        for one in everyone:
            wait_for(one, self.name, tokens)
            self.assertEqual(one.call("count.get", channel=self.name)["value"], 2111)
        # The forked one, and one for each copy.
        self.assertEqual(len(lists_of(self.a, self.name, original)), 3)


class KuboGoesAway(TrioCase):
    def start_again(self):
        if not self.trio.k2.process:
            self.trio.k2.start()
            kubo_nodes.connect(self.trio.k1, self.trio.k2)

    def test_kubo_killed_and_started_again(self):
        share(self.name, "kv", self.a, self.b)
        self.addCleanup(self.start_again)
        self.trio.k2.kill()
        wait_until(lambda: not connected(self.b), 20)
        info = self.b.call("system.info")["kubo"]
        self.assertEqual((info["state"], info["version"], info["peer_id"]), ("offline", None, None))
        at = self.b.call("kv.put", channel=self.name, key="b", value="while offline")["at"]
        self.assertEqual(self.b.call("kv.get", channel=self.name, key="b")["value"], "while offline")
        self.assertGreater(self.b.call("system.info")["outbox"], 0)
        other = self.a.call("kv.put", channel=self.name, key="a", value="meanwhile")["at"]
        self.start_again()
        wait_until(lambda: connected(self.b), 20)
        self.assertTrue(self.b.call("system.info")["kubo"]["version"].startswith("0."))
        wait_for(self.a, self.name, at)
        wait_for(self.b, self.name, other)
        self.assertEqual(self.a.call("kv.get", channel=self.name, key="b")["value"], "while offline")
        wait_until(lambda: self.b.call("system.info")["outbox"] == 0)
        wait_for(self.a, self.name, self.b.call("kv.put", channel=self.name, key="c", value="and on")["at"])


if __name__ == "__main__":
    unittest.main()
