"""What a daemon without Kubo keeps and gives back: values, sizes, pages, what is not there, requests sent twice."""

import json
import random
import re
import string
import time
import unittest

from daemon import Daemon, RpcError, wait_until
from fixtures import ELSEWHERE, OfflineCase


class Values(OfflineCase):
    def stored(self, text):
        """What comes back for a value, as text; both as written."""
        self.raw('{"jsonrpc":"2.0","id":1,"method":"kv.put","params":{"channel":"kv","key":"v","value":%s}}' % text)
        line = self.raw('{"jsonrpc":"2.0","id":1,"method":"kv.get","params":{"channel":"kv","key":"v"}}')
        return re.search(r'"value":(.*),"writer":', line)[1]

    def test_come_back_as_they_were(self):
        cid = ELSEWHERE.removeprefix("/ptwop/")
        for text in ("null", "true", "false", "0", "-1", str(2**63 - 1), str(-2**63), "9007199254740993", "1.0", "-0.0",
                     "0.1", "1.5e+300", "5e-324", '""', '"ü\U0001f600"', '"\\u0000\\n\\"\\\\"', "[]", "{}", "[[],{}]",
                     '{"a":1,"bb":[null,1.0,2]}', '{"":0}', '{"/":{"bytes":""}}', '{"/":{"bytes":"AAEC/w"}}',
                     '{"/":"%s"}' % cid, '[{"x":{"/":"%s"}}]' % cid):
            found = self.stored(text)
            self.assertEqual(json.dumps(json.loads(found)), json.dumps(json.loads(text)), text)
            if text[0] in "-0123456789":
                self.assertEqual("." in found or "e" in found, "." in text or "e" in text, f"{text} as {found}")
        self.assertEqual(float(self.stored("1e2")), 100.0)
        self.assertIn(self.stored("1E2"), ("100.0", "1e2", "1e+2", "1e+02"))

    def test_refused(self):
        cid = ELSEWHERE.removeprefix("/ptwop/")
        for text in (str(2**63), str(-2**63 - 1), "1" * 400, "1e400", "-1e400", '{"/":1}', '{"/":null}', '{"/":"x"}',
                     '{"/":{"bytes":"A"}}', '{"/":{"bytes":"AA=="}}', '{"/":{"bytes":"A!"}}', '{"/":{"bytes":"AB"}}',
                     '{"/":{"bytes":1}}', '{"/":{"bytes":"AA","x":1}}', '{"/":"%s","x":1}' % cid, '{"x":[{"/":{}}]}',
                     '{"/":"%sa"}' % cid):
            line = self.raw('{"jsonrpc":"2.0","id":1,"method":"kv.put","params":{"channel":"kv","key":"r","value":%s}}'
                            % text)
            self.assertEqual(json.loads(line).get("error", {}).get("code"), -32602, text[:60] + line)
        self.refused("not_found", "kv.get", {"channel": "kv", "key": "r"})

    def test_sizes(self):
        """900 KiB of DAG-CBOR for a value, 940 KiB for a batch, 1 KiB for a key."""
        head = 5  # a string of this length has a five byte head
        most = "x" * ((900 << 10) - head)
        self.connection.call("kv.put", channel="kv", key="most", value=most)
        self.assertEqual(self.connection.call("kv.get", channel="kv", key="most")["value"], most)
        self.refused("too_large", "kv.put", {"channel": "kv", "key": "more", "value": most + "x"})
        self.refused("too_large", "log.add", {"channel": "log", "value": most + "x"})
        self.connection.call("log.add", channel="log", value=most)
        put = lambda key, size: {"put": {"key": key, "value": "x" * size}}
        self.connection.call("kv.batch", channel="kv", ops=[put("p", 460 << 10), put("q", 478 << 10)])
        self.refused("too_large", "kv.batch", {"channel": "kv", "ops": [put("r", 460 << 10), put("s", 481 << 10)]})
        self.refused("not_found", "kv.get", {"channel": "kv", "key": "r"})
        for key in ("k" * 1024, "ü" * 512):
            self.connection.call("kv.put", channel="kv", key=key, value=1)
            self.connection.call("count.add", channel="count", key=key)
            self.connection.call("kv.del", channel="kv", key=key)
        for key in ("k" * 1025, "ü" * 513):
            self.refused("too_large", "kv.put", {"channel": "kv", "key": key, "value": 1})
            self.refused("too_large", "kv.batch", {"channel": "kv", "ops": [{"del": {"key": key}}]})
            self.refused("too_large", "count.add", {"channel": "count", "key": key})
        for key in ("", 1, ["k"]):
            self.refused("invalid_params", "kv.put", {"channel": "kv", "key": key, "value": 1})
        self.connection.call("kv.del", channel="kv", key="most")

    def test_counts(self):
        name = self.channel("count")
        add = lambda by: self.connection.call("count.add", channel=name, by=by)["value"]
        self.assertEqual(add(2**63 - 1), 2**63 - 1)
        self.refused("overflow", "count.add", {"channel": name})
        self.assertEqual(add(-2**63), -1)
        self.assertEqual(add(0), -1)
        self.assertEqual(add(-2**63 + 1), -2**63)
        self.refused("overflow", "count.add", {"channel": name, "by": -1})
        self.assertEqual(self.connection.call("count.get", channel=name), {"value": -2**63})
        for by in (1.0, "1", 2**63, True, [1]):
            self.refused("invalid_params", "count.add", {"channel": name, "by": by})
        self.assertEqual(self.connection.call("count.get", channel=name, key="never"), {"value": 0})
        listed = self.connection.call("count.list", channel=name)["entries"]
        self.assertEqual(listed, [{"key": "default", "value": -2**63}])


class Contents(OfflineCase):
    def test_what_is_not_there(self):
        name = self.channel("kv")
        clock = self.connection.call("channel.clock", channel=name)
        self.refused("not_found", "kv.get", {"channel": name, "key": "k"})
        self.refused("not_found", "kv.del", {"channel": name, "key": "k"})
        self.assertEqual(self.connection.call("channel.clock", channel=name), clock, "a refused delete wrote something")
        self.connection.call("kv.put", channel=name, key="k", value=1)
        self.connection.call("kv.del", channel=name, key="k")
        self.refused("not_found", "kv.del", {"channel": name, "key": "k"})
        added = self.connection.call("log.add", channel="log", value="hide me")["id"]
        for _ in range(2):
            self.connection.call("log.del", channel="log", id=added)
        self.refused("not_found", "log.get", {"channel": "log", "id": added})
        self.assertNotIn(added, [entry["id"] for entry in self.connection.call("log.list", channel="log")["entries"]])
        for wrong in ("", "x", "!", added + "A", 7):
            self.refused("invalid_params", "log.del", {"channel": "log", "id": wrong})

    def test_batch_is_all_or_nothing(self):
        name = self.channel("kv")
        before = self.connection.call("channel.info", channel=name)["nodes"]
        for ops in ([], [{}], [{"put": {"key": "a", "value": 1}, "del": {"key": "b"}}], [{"put": {"key": "a"}}],
                    [{"put": {"key": "a", "value": 1}}, {"drop": {"key": "b"}}],
                    [{"put": {"key": "a", "value": 1, "x": 1}}],
                    [{"put": {"key": "a", "value": 1}}, {"del": {"key": ""}}], {"put": {}}, [1]):
            self.refused("invalid_params", "kv.batch", {"channel": name, "ops": ops})
        self.assertEqual(self.connection.call("kv.list", channel=name)["entries"], [])
        ops = [{"put": {"key": str(number % 7), "value": number}} for number in range(500)] + [{"del": {"key": "3"}}]
        self.connection.call("kv.batch", channel=name, ops=ops)
        self.assertEqual(self.connection.call("channel.info", channel=name)["nodes"], before + 1)
        # Within a node the later operation wins.
        listed = self.connection.call("kv.list", channel=name)["entries"]
        self.assertEqual({entry["key"]: entry["value"] for entry in listed},
                         {"0": 497, "1": 498, "2": 499, "4": 494, "5": 495, "6": 496})

    def test_time_to_live(self):
        name = self.channel("kv")
        self.connection.call("kv.put", channel=name, key="k", value="old")
        self.connection.call("kv.put", channel=name, key="k", value="brief", ttl_ms=300)
        self.connection.call("kv.batch", channel=name, ops=[{"put": {"key": "b", "value": 1, "ttl_ms": 300}},
                                                            {"put": {"key": "stays", "value": 1, "ttl_ms": None}}])
        self.assertEqual(self.connection.call("kv.get", channel=name, key="k")["value"], "brief")
        left = [{"key": "stays", "value": 1}]
        wait_until(lambda: self.connection.call("kv.list", channel=name)["entries"] == left, 3)
        self.refused("not_found", "kv.get", {"channel": name, "key": "k"})  # it hides what is older
        for ttl in (0, -1, 1.5, "1", 2**63):
            self.refused("invalid_params", "kv.put", {"channel": name, "key": "k", "value": 1, "ttl_ms": ttl})

    def test_writer_time_and_siblings(self):
        name = self.channel("kv")
        before = time.time() * 1000
        self.connection.call("kv.put", channel=name, key="k", value=1)
        found = self.connection.call("kv.get", channel=name, key="k", siblings=True)
        self.assertEqual((found["writer"], found["siblings"]), (self.connection.call("identity.show")["id"], []))
        self.assertLess(abs(found["time_ms"] - before), 5000)
        self.assertNotIn("siblings", self.connection.call("kv.get", channel=name, key="k", siblings=False))

    def pages(self, method, limit, **params):
        """All pages one after the other."""
        after, entries, count = None, [], 0
        while True:
            page = self.connection.call(method, limit=limit, after=after, **params)
            self.assertLessEqual(len(page["entries"]), limit)
            entries += page["entries"]
            count += 1
            if page["next"] is None:
                return entries, count
            after = page["next"]

    def test_pages(self):
        kv, log = self.channel("kv"), "pages of log"
        count = "pages of count"
        self.connection.call("channel.create", name=log, type="log")
        self.connection.call("channel.create", name=count, type="count")
        rng = random.Random(5)
        keys = {"".join(rng.choices(string.ascii_letters + "ü\U0001f600~ ", k=rng.randint(1, 8))) for _ in range(230)}
        keys |= {"p", "p\u0000", "pa", "pb", "p\U0001f600"}
        self.connection.call("kv.batch", channel=kv, ops=[{"put": {"key": key, "value": key}} for key in keys])
        self.connection.pipeline([("count.add", {"channel": count, "key": key}) for key in keys])
        self.connection.pipeline([("log.add", {"channel": log, "value": number}) for number in range(230)])
        in_order = sorted(keys, key=str.encode)
        for prefix in ("", "p", "p\u0000", "nothing like it"):
            expected = [key for key in in_order if key.startswith(prefix)]
            for limit in (1, 7, 1000) if prefix else (100, 1000):
                for method, channel in (("kv.list", kv), ("count.list", count)):
                    entries, pages = self.pages(method, limit, channel=channel, prefix=prefix)
                    self.assertEqual([entry["key"] for entry in entries], expected)
                    self.assertLessEqual(pages, len(expected) // limit + 1)
                entries, _ = self.pages("kv.list", limit, channel=kv, prefix=prefix, reverse=True)
                self.assertEqual([entry["key"] for entry in entries], expected[::-1])
        self.assertEqual(len(self.connection.call("kv.list", channel=kv)["entries"]), 100)
        for reverse in (False, True):
            entries, _ = self.pages("log.list", 50, channel=log, reverse=reverse)
            self.assertEqual([entry["value"] for entry in entries], list(range(230))[::-1 if reverse else 1])

    def test_wrong_places(self):
        name = self.channel("kv")
        self.connection.call("channel.create", name="other places", type="kv")
        ops = [{"put": {"key": f"k{number}", "value": 1}} for number in range(5)]
        for channel in (name, "other places"):
            self.connection.call("kv.batch", channel=channel, ops=ops)
        after = self.connection.call("kv.list", channel=name, prefix="k", limit=2)["next"]
        right = {"channel": name, "prefix": "k", "after": after}
        self.assertEqual(self.connection.call("kv.list", **right)["entries"][0]["key"], "k2")
        # A place, not an entry: what was there may be gone.
        self.connection.call("kv.del", channel=name, key="k2")
        self.connection.call("kv.put", channel=name, key="k1x", value=1)
        self.assertEqual(self.connection.call("kv.list", **right)["entries"][0]["key"], "k1x")
        for wrong in ({"prefix": ""}, {"prefix": "k1"}, {"prefix": None}, {"reverse": True},
                      {"channel": "other places"},
                      {"after": "x"}, {"after": ""}, {"after": after[:-1]}, {"after": after + "!"}, {"after": 1}):
            self.refused("invalid_params", "kv.list", right | wrong)
        self.refused("invalid_params", "log.list", {"channel": "log", "after": after})
        for limit in (0, 1001, -1, 1.0, "1"):
            self.refused("invalid_params", "kv.list", {"channel": name, "limit": limit})
            self.refused("invalid_params", "log.list", {"channel": "log", "limit": limit})


class ExactlyOnce(OfflineCase):
    def test_requests(self):
        own = Daemon(self.folder / "once")
        self.addCleanup(own.kill)
        own.start()
        for kind in ("log", "count", "kv"):
            own.call("channel.create", name=kind, type=kind)
        writes = [("log.add", {"channel": "log", "value": "once"}), ("count.add", {"channel": "count", "by": 3}),
                  ("kv.put", {"channel": "kv", "key": "k", "value": "first"}),
                  ("kv.batch", {"channel": "kv", "ops": [{"put": {"key": "b", "value": 1}}]})]
        writes = [(method, {**params, "request": f"request of {method}"}) for method, params in writes]
        # The same twice in one go, again, and after the daemon ended in either way.
        outcomes = own.pipeline(writes + writes)
        first = outcomes[:4]
        self.assertFalse([one for one in first if isinstance(one, RpcError)], first)
        self.assertEqual(outcomes[4:], first)
        own.call("kv.put", channel="kv", key="k", value="second")
        for again in (lambda: None, own.restart, lambda: (own.kill(), own.start())):
            again()
            self.assertEqual(own.pipeline(writes), first)
        # Whatever else it says: the first result.
        self.assertEqual(own.call("count.add", channel="count", by=99, request="request of count.add"), first[1])
        self.assertEqual(own.call("count.get", channel="count")["value"], 3)
        self.assertEqual(own.call("kv.get", channel="kv", key="k")["value"], "second")
        self.assertEqual(len(own.call("log.list", channel="log")["entries"]), 1)
        own.call("count.add", channel="count", request="another")
        self.assertEqual(own.call("count.get", channel="count")["value"], 4)
        # A refusal is no result: the request may come again.
        self.assertEqual(own.refusal("kv.put", channel="nowhere", key="k", value=1, request="r").code, 101)
        own.call("kv.put", channel="kv", key="k", value=1, request="r")
        own.call("kv.put", channel="kv", key="k", value=1, request="r" * 64)
        for wrong in ("", "r" * 65, "ü" * 33, 1):
            self.assertEqual(own.refusal("count.add", channel="count", request=wrong).code, -32602)


if __name__ == "__main__":
    unittest.main()
