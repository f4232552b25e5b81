"""The JSON-RPC surface on a daemon without Kubo: requests, answers, and the methods with their errors."""

import copy
import json
import time
import unittest

from daemon import REPO, Daemon, Schemas
from fixtures import ELSEWHERE, NO_ENTRY, NO_TOKEN, OfflineCase

RPC_SCHEMA = REPO / "rpc-schema"
SOMEBODY = "did:key:z6MkhaXgBZDvotDkL5257faiztiGiC2QtKLGpbnnEGta2doK"


def compact(document):
    return json.dumps(document, separators=(",", ":"), ensure_ascii=False)


class Requests(OfflineCase):
    def test_ids_come_back_as_they_were(self):
        for written in ("1", "-0", "1.0", "1e2", "123456789012345678901234567890", '"text"', '"\\u0041\\n"', '""',
                        '"ü"', "null"):
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
                request = {"jsonrpc": "2.0", "id": 1, "method": method, "params": params}
                self.assertIn("result", self.connection.exchange(request))

    def test_batches(self):
        name = self.channel("count")
        one = lambda i: {"jsonrpc": "2.0", "id": i, "method": "count.add", "params": {"channel": name}}
        answers = self.connection.exchange([one(i) for i in range(100)])
        self.assertEqual(sorted(answer["id"] for answer in answers), list(range(100)))
        values = {answer["id"]: answer["result"]["value"] for answer in answers}
        self.assertEqual(values, {i: i + 1 for i in range(100)})
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
        self.daemon.call("channel.create", name="in order", type="log")
        added = self.connection.pipeline([("log.add", {"channel": "in order", "value": number})
                                          for number in range(300)])
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


class Methods(OfflineCase):
    def test_every_example(self):
        """In a daemon of their own; this calls every method once."""
        schemas = Schemas()
        order = json.loads((RPC_SCHEMA / "common.json").read_text())["example_order"]
        self.assertEqual(sorted(order), sorted(schemas.methods))
        results = {}
        with Daemon(self.folder / "examples") as fresh, fresh.connect() as connection:
            discovered = connection.call("rpc.discover")
            self.assertEqual(sorted(method["name"] for method in discovered["methods"]), sorted(order))
            self.assertTrue(discovered["openrpc"].startswith("1."))
            for method in order:
                self.assertTrue(schemas.methods[method]["examples"], method)
                for example in schemas.methods[method]["examples"]:
                    # Examples keep their files on a disk of their own.
                    params = {name: value.replace("/media/disk", str(self.folder)) if isinstance(value, str) else value
                              for name, value in example["params"].items()}
                    for name, source in example.get("x-uses", {}).items():
                        where, _, pointer = source.partition("#")
                        params[name] = at_pointer(results[where], pointer)
                    results[method] = connection.call(method, **params)
                    volatile = example.get("x-volatile", [])
                    self.assertEqual(without(results[method], volatile), without(example["result"], volatile), method)
            fresh.process.wait(5)  # the last one is system.stop
            self.assertEqual(fresh.process.returncode, 0)

    # What cannot be provoked on a healthy daemon without Kubo. sync_test.py has those of roles.
    TESTED_IN_OTHER_SUITES = {"starting", "shutting_down", "no_read_key", "no_write_role", "not_admin", "disk_full",
                              "corrupt", "unreachable"}

    def test_every_error_of_every_method(self):
        self.daemon.call("channel.create", name="errors", type="count")
        self.connection.call("count.add", channel="errors", key="most", by=2**63 - 1)
        own = {"log": "log", "count": "count", "kv": "kv"}
        extra = {"kv.put": {"key": "k", "value": 1}, "kv.get": {"key": "k"}, "kv.del": {"key": "k"},
                 "kv.batch": {"ops": [{"del": {"key": "k"}}]}, "log.add": {"value": 1}, "log.get": {"id": NO_ENTRY},
                 "log.del": {"id": NO_ENTRY}, "channel.grant": {"id": SOMEBODY, "role": "read"},
                 "channel.wait": {"at": []}, "channel.export": {"to": str(self.folder / "x.car")}}
        long_key = {"key": "k" * 1025}
        large = "x" * (900 << 10)
        special = {
            ("channel.create", "exists"): {"name": "kv", "type": "kv"},
            ("channel.join", "exists"): {"name": "kv", "address": ELSEWHERE},
            ("channel.wait", "not_reached"): {"channel": "kv", "timeout_ms": 1,
                                              "at": NO_TOKEN},
            ("kv.put", "too_large"): {"channel": "kv", "key": "k", "value": large},
            ("kv.batch", "too_large"): {"channel": "kv", "ops": [{"put": {"key": "k", "value": large}}]},
            ("kv.get", "too_large"): {"channel": "kv"} | long_key,
            ("kv.del", "too_large"): {"channel": "kv"} | long_key,
            ("count.get", "too_large"): {"channel": "count"} | long_key,
            ("count.add", "too_large"): {"channel": "count"} | long_key,
            ("log.add", "too_large"): {"channel": "log", "value": large},
            ("log.del", "too_large"): None,  # nothing of it can be: another id is no id
            ("kv.get", "not_found"): {"channel": "kv", "key": "nothing"},
            ("kv.del", "not_found"): {"channel": "kv", "key": "nothing"},
            ("log.get", "not_found"): {"channel": "log", "id": NO_ENTRY},
            ("channel.import", "no_channel"): None,  # only where it is left meanwhile
            ("count.add", "overflow"): {"channel": "errors", "key": "most"},
        }
        for method, schema in self.connection.schemas.methods.items():
            noun = method.split(".")[0]
            for kind in set(schema["errors"]) - self.TESTED_IN_OTHER_SUITES:
                if (method, kind) in special:
                    params = special[method, kind]
                elif kind == "invalid_params":
                    params = {"no such parameter": 1}
                elif kind == "no_channel":
                    params = {"channel": "nowhere"} | extra.get(method, {})
                elif kind == "no_manifest":
                    params = {"channel": "elsewhere"} | extra.get(method, {})
                elif (method, kind) == ("channel.export", "not_found"):
                    params = {"channel": "kv", "to": str(self.folder / "x.car"), "list": "0" * 32}
                elif (method, kind) == ("channel.import", "exists"):
                    with Daemon(self.folder / "foreign") as other:
                        other.call("channel.create", name="c", type="kv")
                        other.call("channel.export", channel="c", to=str(self.folder / "foreign.car"))
                    params = {"from": str(self.folder / "foreign.car"), "name": "kv"}
                elif (method, kind) == ("system.backup", "exists"):
                    params = {"to": str(self.folder)}
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
        for address in ("", "/ptwop/", "/ptwop/x", ELSEWHERE.removeprefix("/ptwop/"), ELSEWHERE + "a",
                        ELSEWHERE.upper()):
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


if __name__ == "__main__":
    unittest.main()
