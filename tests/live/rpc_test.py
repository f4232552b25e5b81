"""The JSON-RPC surface on a daemon without Kubo: requests, answers, methods and their errors, values, lists."""

import contextlib
import copy
import json
import random
import re
import string
import time
import unittest

import fixtures
from daemon import REPO, Daemon, RpcError, Schemas, wait_until

RPC_SCHEMA = REPO / "rpc-schema"
# A channel that nobody has, and so one whose manifest does not come.
ELSEWHERE = "/ptwop/bafyreiddv2ottakcu7meysnxhorpmz6i2n345n4dfw3jwgsbmezvmlvesy"
SOMEBODY = "did:key:z6MkhaXgBZDvotDkL5257faiztiGiC2QtKLGpbnnEGta2doK"
ENTRY = "AZt22qgAAACjMDlcwKU60SB3NlRq__RzAAAAAAAAAAEAAAAA"  # an id that no entry has
CODES = {kind: error["code"] for kind, error in Schemas().errors.items()}

stack = contextlib.ExitStack()
daemon = None


def setUpModule():
    global daemon
    folder = fixtures.temporary_folder(stack)
    daemon = Daemon(folder / "d")
    stack.callback(daemon.kill)
    daemon.start()
    for kind in ("log", "count", "kv"):
        daemon.call("channel.create", name=kind, type=kind)
    daemon.call("channel.join", address=ELSEWHERE, name="elsewhere")


def tearDownModule():
    stack.close()


def compact(document):
    return json.dumps(document, separators=(",", ":"), ensure_ascii=False)


class Case(unittest.TestCase):
    def setUp(self):
        self.connection = daemon.connect()
        self.addCleanup(self.connection.close)
        self.name = self._testMethodName.removeprefix("test_")[:60]

    def channel(self, kind):
        daemon.call("channel.create", name=self.name, type=kind)
        return self.name

    def raw(self, text):
        """The line that answers one line."""
        self.connection.send((text if isinstance(text, bytes) else text.encode()) + b"\n")
        return self.connection.read_line().decode()

    def refused(self, kind, method, params):
        answer = self.connection.exchange({"jsonrpc": "2.0", "id": 1, "method": method, "params": params})
        self.assertIn("error", answer, f"{method} {params}")
        self.assertEqual((answer["error"]["data"]["kind"], answer["error"]["code"]), (kind, CODES[kind]),
                         f"{method} {str(params)[:200]}: {answer['error']}")
        self.connection.schemas.check_error(method, answer["error"])


class Requests(Case):
    def test_ids_come_back_as_they_were(self):
        for written in ("1", "-0", "1.0", "1e2", "123456789012345678901234567890", '"text"', '"\\u0041\\n"', '""', '"ü"',
                        "null"):
            line = self.raw('{"jsonrpc":"2.0","id":%s,"method":"system.ready"}' % written)
            self.assertEqual(line, '{"jsonrpc":"2.0","id":%s,"result":{"ready":true,"reason":""}}' % written)
            line = self.raw(' { "method" : "nothing" , "id" : %s , "jsonrpc" : "2.0" } ' % written)
            self.assertTrue(line.startswith('{"jsonrpc":"2.0","id":%s,"error":{"code":-32601,' % written), line)

    def test_unusable_ids(self):
        for written in ("[]", "{}", "true", "[1]"):
            answer = json.loads(self.raw('{"jsonrpc":"2.0","id":%s,"method":"system.ready"}' % written))
            self.assertEqual((answer["id"], answer["error"]["code"]), (None, -32600))

    def test_notifications(self):
        name = self.channel("count")
        params = {"channel": name}
        self.connection.send(b"".join(compact(line).encode() + b"\n" for line in (
            {"jsonrpc": "2.0", "method": "count.add", "params": params},
            {"jsonrpc": "2.0", "method": "no.such"},
            {"jsonrpc": "2.0", "method": "count.add", "params": {"wrong": 1}},
            [{"jsonrpc": "2.0", "method": "count.add", "params": params}] * 2)))
        # Nothing comes for them: the next line answers the next request, which is later than all of those.
        answer = self.connection.exchange({"jsonrpc": "2.0", "id": "next", "method": "count.add", "params": params})
        self.assertEqual((answer["id"], answer["result"]["value"]), ("next", 4))

    def test_not_requests(self):
        for text in ("1", '"x"', "null", "true", "{}", '{"jsonrpc":"2.0","id":1}', '{"id":1,"method":"system.ready"}',
                     '{"jsonrpc":"1.0","id":1,"method":"system.ready"}', '{"jsonrpc":"2.0","id":1,"method":7}',
                     '{"jsonrpc":"2.0","id":1,"method":"system.ready","params":7}'):
            answer = json.loads(self.raw(text))
            self.assertIn(answer["error"]["code"], (-32600, -32602), text)

    def test_not_json(self):
        name = self.channel("kv")
        put = '{"jsonrpc":"2.0","id":1,"method":"kv.put","params":{"channel":"' + name + '","key":"k","value":%s}}'
        for text in ("{", "nonsense", '{"jsonrpc":"2.0",}', "[1,", '{"a":1}{"b":2}', put % "01", put % "1.", put % "+1",
                     put % "NaN", put % "'x'", put % '"\t"', put % '"\\ud800"', put % '"\\udc00\\ud800"', put % '"\\x"',
                     put % '{"a":1,"a":2}', put % '[{"b":{"c":1,"c":1}}]', put % "[1,]", put % "1 // comment"):
            answer = json.loads(self.raw(text))
            self.assertEqual((answer["id"], answer["error"]["code"]), (None, -32700), text)
        for bad in (b"\xff", b"\xc0\x80", b"\xed\xa0\x80", b"\xf5\x80\x80\x80", b"\xc3"):
            answer = json.loads(self.raw(put.encode() % (b'"' + bad + b'"')))
            self.assertEqual(answer["error"]["code"], -32700, bad)
        self.assertEqual(self.connection.call("kv.list", channel=name)["entries"], [])

    def test_parameters_by_name_and_position(self):
        name = self.channel("kv")
        by_position = lambda method, *params: self.connection.exchange(
            {"jsonrpc": "2.0", "id": 1, "method": method, "params": params})
        self.assertIn("at", by_position("kv.put", name, "k", "v")["result"])
        self.assertEqual(by_position("kv.get", name, "k", None)["result"]["value"], "v")
        # prefix and after are skipped
        listed = by_position("kv.list", name, None, None, 1, True)["result"]["entries"]
        self.assertEqual(listed, [{"key": "k", "value": "v"}])
        self.refused("invalid_params", "kv.get", [name, "k", None, None])
        self.refused("invalid_params", "system.ready", [None])
        self.refused("invalid_params", "kv.get", [name])
        self.refused("invalid_params", "kv.get", {"channel": name})
        self.refused("invalid_params", "kv.get", {"channel": name, "key": "k", "keys": 1})
        self.refused("invalid_params", "kv.get", {"channel": name, "key": None})
        self.refused("invalid_params", "system.ready", {"x": None})
        named = self.connection.call("kv.list", channel=name, prefix=None, after=None, limit=None, reverse=None)
        self.assertEqual(named["entries"], listed)
        # null is a value, and leaving it out is not the same
        self.connection.call("kv.put", channel=name, key="null", value=None)
        self.assertIsNone(self.connection.call("kv.get", channel=name, key="null")["value"])
        self.refused("invalid_params", "kv.put", {"channel": name, "key": "k"})
        self.assertIsNone(by_position("kv.put", name, "k", None).get("error"))
        for method in ("system.ready", "channel.list"):
            for params in ({}, []):
                self.assertIn("result", self.connection.exchange({"jsonrpc": "2.0", "id": 1, "method": method, "params": params}))

    def test_batches(self):
        name = self.channel("count")
        one = lambda i: {"jsonrpc": "2.0", "id": i, "method": "count.add", "params": {"channel": name}}
        answers = self.connection.exchange([one(i) for i in range(100)])
        self.assertEqual(sorted(answer["id"] for answer in answers), list(range(100)))
        self.assertEqual({answer["id"]: answer["result"]["value"] for answer in answers}, {i: i + 1 for i in range(100)})
        for wrong in ([], [one(i) for i in range(101)]):
            answer = self.connection.exchange(wrong)
            self.assertEqual((answer["id"], answer["error"]["code"]), (None, -32600))
        mixed = self.connection.exchange([one("a"), 1, {"jsonrpc": "2.0", "method": "system.ready"}, [one(1)],
                                          {"jsonrpc": "2.0", "id": "b", "method": "no.such"}])
        codes = sorted((str(answer["id"]), answer.get("error", {}).get("code", 0)) for answer in mixed)
        self.assertEqual(codes, [("None", -32600), ("None", -32600), ("a", 0), ("b", -32601)])
        self.assertEqual(self.connection.call("count.get", channel=name)["value"], 101)

    def test_answers_hold_no_optional_white_space(self):
        for method in ("system.info", "rpc.discover", "channel.list", "no.such"):
            line = self.raw('{"jsonrpc":"2.0","id":1,"method":"%s"}' % method)
            document = json.loads(line)
            if method != "rpc.discover":
                self.assertEqual(line, compact(document))
            self.assertIsInstance(document.get("result", {}), dict)

    def test_writes_of_a_connection_take_effect_in_order(self):
        name = self.channel("kv")
        calls = [("kv.put", {"channel": name, "key": "k", "value": number}) for number in range(500)]
        calls.insert(300, ("kv.batch", {"channel": name, "ops": [{"put": {"key": "b", "value": 1}}]}))
        self.connection.pipeline(calls)
        self.assertEqual(self.connection.call("kv.get", channel=name, key="k")["value"], 499)
        daemon.call("channel.create", name="in order", type="log")
        added = self.connection.pipeline([("log.add", {"channel": "in order", "value": number}) for number in range(300)])
        entries = self.connection.call("log.list", channel="in order", limit=1000)["entries"]
        self.assertEqual([entry["value"] for entry in entries], list(range(300)))
        self.assertEqual([entry["id"] for entry in entries], [answer["id"] for answer in added])


def at_pointer(document, pointer):
    for word in pointer.split("/")[1:]:
        document = document[int(word)] if isinstance(document, list) else document[word]
    return document


def without(document, pointers):
    """A copy in which what may differ is taken out."""
    document = copy.deepcopy(document)
    for pointer in pointers:
        if pointer == "":
            return None
        head, _, last = pointer.rpartition("/")
        holder = at_pointer(document, head)
        holder[int(last) if isinstance(holder, list) else last] = None
    return document


class Methods(Case):
    def test_every_example(self):
        """In a daemon of their own; this calls every method once."""
        schemas = Schemas()
        order = json.loads((RPC_SCHEMA / "common.json").read_text())["example_order"]
        self.assertEqual(sorted(order), sorted(schemas.methods))
        results = {}
        with Daemon(fixtures.temporary_folder(stack) / "examples") as fresh, fresh.connect() as connection:
            discovered = connection.call("rpc.discover")
            self.assertEqual(sorted(method["name"] for method in discovered["methods"]), sorted(order))
            self.assertTrue(discovered["openrpc"].startswith("1."))
            for method in order:
                self.assertTrue(schemas.methods[method]["examples"], method)
                for example in schemas.methods[method]["examples"]:
                    params = dict(example["params"])
                    for name, source in example.get("x-uses", {}).items():
                        where, _, pointer = source.partition("#")
                        params[name] = at_pointer(results[where], pointer)
                    results[method] = connection.call(method, **params)
                    volatile = example.get("x-volatile", [])
                    self.assertEqual(without(results[method], volatile), without(example["result"], volatile), method)
            fresh.process.wait(5)  # the last one is system.stop
            self.assertEqual(fresh.process.returncode, 0)

    # What cannot be provoked on a healthy daemon without Kubo. sync_test.py has those of roles.
    ELSEWHERE_TESTED = {"starting", "shutting_down", "no_read_key", "no_write_role", "not_admin", "disk_full", "corrupt",
                        "unreachable"}

    def test_every_error_of_every_method(self):
        daemon.call("channel.create", name="errors", type="count")
        self.connection.call("count.add", channel="errors", key="most", by=2**63 - 1)
        own = {"log": "log", "count": "count", "kv": "kv"}
        extra = {"kv.put": {"key": "k", "value": 1}, "kv.get": {"key": "k"}, "kv.del": {"key": "k"},
                 "kv.batch": {"ops": [{"del": {"key": "k"}}]}, "log.add": {"value": 1}, "log.get": {"id": ENTRY},
                 "log.del": {"id": ENTRY}, "channel.grant": {"id": SOMEBODY, "role": "read"}, "channel.wait": {"at": []}}
        long_key = {"key": "k" * 1025}
        large = "x" * (900 << 10)
        special = {
            ("channel.create", "exists"): {"name": "kv", "type": "kv"},
            ("channel.join", "exists"): {"name": "kv", "address": ELSEWHERE},
            ("channel.wait", "not_reached"): {"channel": "kv", "timeout_ms": 1,
                                              "at": "ozA5XMClOtEgdzZUav_0cwFUXqU4RhAD7w"},
            ("kv.put", "too_large"): {"channel": "kv", "key": "k", "value": large},
            ("kv.batch", "too_large"): {"channel": "kv", "ops": [{"put": {"key": "k", "value": large}}]},
            ("kv.get", "too_large"): {"channel": "kv"} | long_key, ("kv.del", "too_large"): {"channel": "kv"} | long_key,
            ("count.get", "too_large"): {"channel": "count"} | long_key,
            ("count.add", "too_large"): {"channel": "count"} | long_key,
            ("log.add", "too_large"): {"channel": "log", "value": large},
            ("log.del", "too_large"): None,  # nothing of it can be: another id is no id
            ("kv.get", "not_found"): {"channel": "kv", "key": "nothing"},
            ("kv.del", "not_found"): {"channel": "kv", "key": "nothing"},
            ("log.get", "not_found"): {"channel": "log", "id": ENTRY},
            ("count.add", "overflow"): {"channel": "errors", "key": "most"},
        }
        for method, schema in self.connection.schemas.methods.items():
            noun = method.split(".")[0]
            for kind in set(schema["errors"]) - self.ELSEWHERE_TESTED:
                if (method, kind) in special:
                    params = special[method, kind]
                elif kind == "invalid_params":
                    params = {"no such parameter": 1}
                elif kind == "no_channel":
                    params = {"channel": "nowhere"} | extra.get(method, {})
                elif kind == "no_manifest":
                    params = {"channel": "elsewhere"} | extra.get(method, {})
                elif kind == "wrong_type":
                    params = {"channel": "log" if noun != "log" else "kv"} | extra.get(method, {})
                else:
                    self.fail(f"{method} has the error {kind}, which no test provokes")
                if params is not None:
                    with self.subTest(method=method, kind=kind):
                        self.refused(kind, method, params)

    def test_order_of_checks(self):
        """-32601, -32602, 101, 301, 103, 105, 102: of two things wrong the first is told. 401 to 403: sync_test.py."""
        long_key, large = "k" * 1025, "x" * (900 << 10)
        for kind, method, params in (
                ("method_not_found", "kv.puts", {"channel": 1}),
                ("invalid_params", "kv.put", {"channel": "nowhere", "key": "k"}),
                ("invalid_params", "kv.get", {"channel": "elsewhere", "key": ""}),
                ("invalid_params", "kv.list", {"channel": "nowhere", "limit": 0}),
                ("invalid_params", "kv.batch", {"channel": "nowhere", "ops": [{"put": {"key": "k"}}]}),
                ("no_channel", "kv.get", {"channel": "nowhere", "key": long_key}),
                ("no_channel", "kv.put", {"channel": "nowhere", "key": "k", "value": large}),
                ("no_manifest", "kv.get", {"channel": "elsewhere", "key": long_key}),
                ("no_manifest", "log.get", {"channel": "elsewhere", "id": "x"}),
                ("wrong_type", "kv.put", {"channel": "log", "key": long_key, "value": large}),
                ("wrong_type", "kv.get", {"channel": "count", "key": "nothing"}),
                ("too_large", "kv.get", {"channel": "kv", "key": long_key}),
                ("too_large", "kv.del", {"channel": "kv", "key": long_key})):
            with self.subTest(kind=kind, method=method):
                self.refused(kind, method, params)

    def test_names(self):
        for name in ("x", "n" * 64, "ü" * 32, "with space", "a/b", "123", "null"):
            address = self.connection.call("channel.create", name=name, type="count")["address"]
            self.connection.call("count.add", channel=name)
            self.assertEqual(self.connection.call("count.get", channel=address)["value"], 1)
            self.assertEqual(self.connection.call("channel.info", channel=address)["name"], name)
            self.refused("exists", "channel.create", {"name": name, "type": "kv"})
            self.refused("exists", "channel.join", {"name": "another", "address": address})
            self.assertEqual(self.connection.call("channel.leave", channel=name), {"left": True})
            self.refused("no_channel", "count.get", {"channel": address})
        for name in ("", "n" * 65, "ü" * 33, "/x", "a\nb", "a\u0000", "\u007f", "a\u0085", 7, ["x"], {}):
            self.refused("invalid_params", "channel.create", {"name": name, "type": "kv"})
            self.refused("invalid_params", "channel.join", {"name": name, "address": ELSEWHERE})
        for kind in ("", "KV", "sql", 1):
            self.refused("invalid_params", "channel.create", {"name": self.name, "type": kind})
        for address in ("", "/ptwop/", "/ptwop/x", ELSEWHERE.removeprefix("/ptwop/"), ELSEWHERE + "a", ELSEWHERE.upper()):
            self.refused("invalid_params", "channel.join", {"name": self.name, "address": address})

    def test_a_joined_channel_is_there_at_once(self):
        info = self.connection.call("channel.info", channel="elsewhere")
        self.assertEqual((info["type"], info["readable"], info["writable"], info["nodes"], info["lists"]),
                         (None, False, False, 0, []))
        self.assertEqual(info["address"], ELSEWHERE)
        listed = self.connection.call("channel.list")["channels"]
        self.assertIn({key: info[key] for key in ("name", "address", "type", "nodes", "readable", "writable")}, listed)
        self.assertEqual(self.connection.call("channel.clock", channel="elsewhere")["at"], [])
        self.assertEqual(self.connection.call("channel.wait", channel="elsewhere", at=[]), {"reached": True})

    def test_tokens(self):
        name = self.channel("kv")
        at = self.connection.call("kv.put", channel=name, key="k", value=1)["at"]
        clock = self.connection.call("channel.clock", channel=name)["at"]
        self.assertIn(at, clock)
        granted = self.connection.call("channel.grant", channel=name, id=SOMEBODY, role="read")["at"]
        for tokens in (at, [at], clock, [], [at, granted]):
            self.assertEqual(self.connection.call("channel.wait", channel=name, at=tokens), {"reached": True})
        for wrong in ("", "x", "!", at + "A", at[:-1], [at, 1], 7, {}, None):
            self.refused("invalid_params", "channel.wait", {"channel": name, "at": wrong})
        self.refused("invalid_params", "channel.wait", {"channel": name, "at": at, "timeout_ms": -1})
        self.refused("invalid_params", "channel.wait", {"channel": name, "at": at, "peer": "somebody"})
        started = time.monotonic()
        self.refused("not_reached", "channel.wait", {"channel": name, "at": at, "peer": "any", "timeout_ms": 100})
        self.assertLess(time.monotonic() - started, 2)
        members = self.connection.call("channel.members", channel=name)["members"]
        self.assertEqual([member["role"] for member in members], ["admin", "read"])


class Values(Case):
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
            line = self.raw('{"jsonrpc":"2.0","id":1,"method":"kv.put","params":{"channel":"kv","key":"r","value":%s}}' % text)
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
        self.assertEqual([entry["key"] for entry in self.connection.call("count.list", channel=name)["entries"]], ["default"])


class Contents(Case):
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
                    [{"put": {"key": "a", "value": 1}}, {"drop": {"key": "b"}}], [{"put": {"key": "a", "value": 1, "x": 1}}],
                    [{"put": {"key": "a", "value": 1}}, {"del": {"key": ""}}], {"put": {}}, [1]):
            self.refused("invalid_params", "kv.batch", {"channel": name, "ops": ops})
        self.assertEqual(self.connection.call("kv.list", channel=name)["entries"], [])
        ops = [{"put": {"key": str(number % 7), "value": number}} for number in range(500)] + [{"del": {"key": "3"}}]
        self.connection.call("kv.batch", channel=name, ops=ops)
        self.assertEqual(self.connection.call("channel.info", channel=name)["nodes"], before + 1)
        # Within a node the later operation wins.
        self.assertEqual({entry["key"]: entry["value"] for entry in self.connection.call("kv.list", channel=name)["entries"]},
                         {"0": 497, "1": 498, "2": 499, "4": 494, "5": 495, "6": 496})

    def test_time_to_live(self):
        name = self.channel("kv")
        self.connection.call("kv.put", channel=name, key="k", value="old")
        self.connection.call("kv.put", channel=name, key="k", value="brief", ttl_ms=300)
        self.connection.call("kv.batch", channel=name, ops=[{"put": {"key": "b", "value": 1, "ttl_ms": 300}},
                                                            {"put": {"key": "stays", "value": 1, "ttl_ms": None}}])
        self.assertEqual(self.connection.call("kv.get", channel=name, key="k")["value"], "brief")
        wait_until(lambda: isinstance(self.connection.pipeline([("kv.get", {"channel": name, "key": "k"})])[0], RpcError), 3)
        wait_until(lambda: self.connection.call("kv.list", channel=name)["entries"] == [{"key": "stays", "value": 1}], 3)
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
        for wrong in ({"prefix": ""}, {"prefix": "k1"}, {"prefix": None}, {"reverse": True}, {"channel": "other places"},
                      {"after": "x"}, {"after": ""}, {"after": after[:-1]}, {"after": after + "!"}, {"after": 1}):
            self.refused("invalid_params", "kv.list", right | wrong)
        self.refused("invalid_params", "log.list", {"channel": "log", "after": after})
        for limit in (0, 1001, -1, 1.0, "1"):
            self.refused("invalid_params", "kv.list", {"channel": name, "limit": limit})
            self.refused("invalid_params", "log.list", {"channel": "log", "limit": limit})


class ExactlyOnce(Case):
    def test_requests(self):
        own = Daemon(fixtures.temporary_folder(stack) / "once")
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
