#!/usr/bin/python3
"""ptwopctl: the built program against a real ptwopd without Kubo, and against a fake where a real one would not misbehave."""

import contextlib
import json
import os
import pathlib
import pty
import select
import shutil
import socket
import stat
import subprocess
import sys
import tempfile
import threading
import time
import unittest

HERE = pathlib.Path(__file__).resolve().parent
sys.path[:0] = [str(HERE), str(HERE.parent / "support")]
import daemon as support  # noqa: E402
import fixtures  # noqa: E402

PTWOPD = os.environ.get("PTWOPD", str(support.PTWOPD))
PTWOPCTL = os.environ.get("PTWOPCTL", str(support.PTWOPCTL))
DONE, FAILED, UNREACHABLE, USAGE, NOT_FOUND = 0, 1, 2, 3, 4
LIMIT_S = 60


def clean_environment(**more):
    environment = {name: value for name, value in os.environ.items()
                   if not name.startswith(("PTWOP_", "XDG_")) and name != "HOME"}
    environment.update(HOME="/nonexistent", TZ="UTC")
    environment.update({name: str(value) for name, value in more.items()})
    return environment


def run(path, *arguments, stdin=b"", environment=None, **options):
    """Runs ptwopctl against the socket at `path`; output is bytes."""
    before = ["--socket", str(path)] if path else []
    options.setdefault("stdout", subprocess.PIPE)
    options.setdefault("stderr", subprocess.PIPE)
    return subprocess.run([PTWOPCTL, *before, *arguments], input=stdin, timeout=LIMIT_S,
                          env=environment or clean_environment(), **options)


def on_terminal(path, *arguments):
    """(exit code, what the terminal got)"""
    master, slave = pty.openpty()
    process = subprocess.Popen([PTWOPCTL, "--socket", str(path), *arguments], stdin=subprocess.DEVNULL, stdout=slave,
                               stderr=slave, env=clean_environment())
    os.close(slave)
    out = b""
    with contextlib.suppress(OSError):  # EIO: the other side is closed
        while chunk := os.read(master, 65536):
            out += chunk
    os.close(master)
    return process.wait(LIMIT_S), out.replace(b"\r\n", b"\n")


class Folder(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.folder = pathlib.Path(tempfile.mkdtemp(prefix="ptwop-ctl-"))
        cls.addClassCleanup(shutil.rmtree, cls.folder, ignore_errors=True)


class Live(Folder):
    """With a daemon for the class, and channels `notes`, `visits` and `journal`."""

    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        cls.daemon = support.Daemon(cls.folder / "d", binary=PTWOPD)
        cls.daemon.start()
        cls.addClassCleanup(cls.daemon.__exit__, None, None, None)
        for name, kind in (("notes", "kv"), ("visits", "count"), ("journal", "log")):
            cls.daemon.call("channel.create", name=name, type=kind)

    def ctl(self, *arguments, code=DONE, **options):
        result = run(self.daemon.socket_path, *arguments, **options)
        self.assertEqual(result.returncode, code, (arguments, result.stdout[-2000:], result.stderr[-2000:]))
        if code == DONE:
            self.assertEqual(result.stderr, b"")
        else:
            self.assertNotEqual(result.stderr, b"")
        return result.stdout

    def json(self, *arguments, **options):
        return json.loads(self.ctl(*arguments, **options))

    def raw(self, *arguments, **options):
        return self.ctl(*arguments, "--raw", **options)


class EveryMethod(Live):
    def test_every_method_has_a_command(self):
        called = set()

        def ctl(*words):
            called.add(".".join(words[:2]))
            return self.json(*words)

        me = ctl("identity", "show")["id"]
        self.assertEqual(ctl("system", "info")["identity"], me)
        self.assertTrue(ctl("system", "ready")["ready"])
        self.assertIn("requests", ctl("system", "stats"))
        self.assertEqual({m["name"] for m in ctl("rpc", "discover")["methods"]}, set(self.daemon.schemas.methods))
        made = ctl("channel", "create", "other", "kv", "public=true")
        self.assertEqual(made["type"], "kv")
        self.assertIn("other", [c["name"] for c in ctl("channel", "list")["channels"]])
        self.assertEqual(ctl("channel", "info", "other")["epoch"], 0)
        tokens = ctl("channel", "clock", "other")["at"]
        self.assertTrue(ctl("channel", "wait", "other", json.dumps(tokens))["reached"])
        friend = "did:key:z6MkhaXgBZDvotDkL5257faiztiGiC2QtKLGpbnnEGta2doK"
        ctl("channel", "grant", "other", friend, "write")
        self.assertIn(friend, [m["id"] for m in ctl("channel", "members", "other")["members"]])
        self.assertEqual(ctl("channel", "export", "other", str(self.folder / "other.car"))["nodes"], 1)
        self.assertTrue(ctl("channel", "leave", "other"))
        self.assertEqual(ctl("channel", "import", str(self.folder / "other.car"), "other")["taken"], 1)
        ctl("channel", "leave", "other")
        self.assertEqual(ctl("channel", "join", made["address"], "again")["name"], "again")
        ctl("channel", "leave", "again")
        entry = ctl("log", "add", "journal", '{"n": 1}')
        self.assertEqual(ctl("log", "get", "journal", entry["id"])["value"], {"n": 1})
        self.assertEqual(len(ctl("log", "list", "journal", "limit=1")["entries"]), 1)
        ctl("log", "del", "journal", entry["id"])
        self.assertEqual(ctl("count", "add", "visits", "by=5")["value"], 5)
        self.assertEqual(ctl("count", "get", "visits")["value"], 5)
        self.assertEqual(ctl("count", "list", "visits")["entries"], [{"key": "default", "value": 5}])
        ctl("kv", "put", "notes", "greeting", "hello")
        self.assertEqual(ctl("kv", "get", "notes", "greeting")["value"], "hello")
        self.assertEqual(ctl("kv", "list", "notes", "prefix=gree")["entries"], [{"key": "greeting", "value": "hello"}])
        ctl("kv", "batch", "notes", '[{"put":{"key":"x","value":1}},{"del":{"key":"greeting"}}]')
        ctl("kv", "del", "notes", "x")
        self.assertTrue(ctl("system", "backup", str(self.folder / "backup"))["private_key"])
        with support.Daemon(self.folder / "stopped", binary=PTWOPD) as stopped:
            called.add("system.stop")
            self.assertTrue(json.loads(run(stopped.socket_path, "system", "stop").stdout)["stopping"])
            self.assertEqual(stopped.process.wait(10), 0)
        self.assertEqual(called, set(self.daemon.schemas.methods))

    def test_help_of_every_method_is_its_schema(self):
        for name, schema in self.daemon.schemas.methods.items():
            for words in (["help", *name.split(".")], [*name.split("."), "--help"]):
                text = self.ctl(*words).decode()
                self.assertIn(schema["summary"], text)
                for parameter in schema["params"]:
                    self.assertIn(parameter["name"], text)
                for kind in schema["errors"]:
                    self.assertIn(f"{self.daemon.schemas.errors[kind]['code']} {kind}", text)
                self.assertIn("$ ptwopctl " + name.replace(".", " "), text)


class Values(Live):
    def test_texts_are_texts_and_values_json(self):
        self.ctl("kv", "put", "notes", "123", "123")
        self.assertEqual(self.json("kv", "get", "notes", "123")["value"], 123)
        for text, value in (("null", None), ("1.0", 1.0), ('"5"', "5"), ("[1, 2]", [1, 2]), ("hello world", "hello world"),
                            ("{a:1}", "{a:1}"), ("9223372036854775807", 2**63 - 1), ("", "")):
            self.ctl("kv", "put", "notes", "k", text)
            self.assertEqual(self.json("kv", "get", "notes", "k")["value"], value, text)
        self.ctl("kv", "put", "notes", "k", "1.0")
        self.assertEqual(self.raw("kv", "get", "notes", "k"), b"1.0\n")

    def test_names_and_their_end(self):
        self.ctl("kv", "put", "notes", "a=b", "--", "value=5")
        self.assertEqual(self.raw("kv", "get", "notes", "a=b"), b"value=5\n")
        for hostile in ("@/etc/passwd", "-", "--raw", "value=x", "--"):
            self.ctl("kv", "put", "notes", "h", "--", hostile)
            self.assertEqual(self.raw("kv", "get", "notes", "h").decode(), hostile + "\n")
        self.ctl("kv", "put", "value=v", "key=named", "channel=notes")
        self.assertEqual(self.raw("kv", "get", "notes", "named"), b"v\n")

    def test_files_and_standard_input(self):
        path = self.folder / "value.json"
        path.write_text('{"from": "file"}\n')
        self.ctl("kv", "put", "notes", "f", f"@{path}")
        self.assertEqual(self.json("kv", "get", "notes", "f")["value"], {"from": "file"})
        self.ctl("kv", "put", "notes", "f", "-", stdin=b"two\nlines\n")
        self.assertEqual(self.raw("kv", "get", "notes", "f"), b"two\nlines\n")
        self.ctl("kv", "put", "notes", "f", "@/nonexistent/file", code=USAGE)
        self.ctl("kv", "put", "notes", "f", "-", stdin=b"\xff\xfe", code=USAGE)
        self.ctl("kv", "put", "notes", "f", "-", stdin=b"x" * (5 << 20), code=USAGE)

    def test_bytes_come_back_as_they_went(self):
        data = bytes(range(256)) * 5 + b"\n"
        path = self.folder / "bytes"
        path.write_bytes(data)
        self.ctl("kv", "put", "notes", "b", "--bytes", f"@{path}")
        self.assertEqual(self.raw("kv", "get", "notes", "b"), data)
        self.assertIn("bytes", self.json("kv", "get", "notes", "b")["value"]["/"])
        entry = self.raw("log", "add", "journal", "-", "--bytes", stdin=data).decode().strip()
        self.assertEqual(self.raw("log", "get", "journal", entry), data)
        self.ctl("kv", "put", "notes", "b", "--bytes", "123")
        self.assertEqual(self.raw("kv", "get", "notes", "b"), b"123")
        self.ctl("kv", "get", "notes", "b", "--bytes", code=USAGE)

    def test_default(self):
        self.ctl("kv", "get", "notes", "gone", code=NOT_FOUND)
        self.assertEqual(self.raw("kv", "get", "notes", "gone", "--default", "blue"), b"blue\n")
        self.assertEqual(self.raw("kv", "get", "notes", "gone", "--default", ""), b"\n")
        self.assertEqual(self.json("kv", "get", "notes", "gone", "--default", "5"), {"value": 5})
        self.ctl("kv", "put", "notes", "here", "red")
        self.assertEqual(self.raw("kv", "get", "notes", "here", "--default", "blue"), b"red\n")
        self.ctl("kv", "get", "nowhere", "k", "--default", "x", code=FAILED)
        self.ctl("count", "get", "visits", "--default", "x", code=USAGE)

    def test_tokens_pass_through_a_pipe(self):
        clock = self.ctl("channel", "clock", "notes")
        self.assertEqual(self.raw("channel", "wait", "notes", "-", stdin=clock), b"true\n")

    def test_call(self):
        self.ctl("call", "kv.put", '{"channel":"notes","key":"c","value":{"n":1.50}}')
        self.assertEqual(self.json("call", "kv.get", '["notes","c"]')["value"], {"n": 1.5})
        self.assertEqual(self.json("call", "kv.get", "-", stdin=b'{"channel":"notes","key":"c"}')["value"], {"n": 1.5})
        self.ctl("call", "no.such", "{}", code=FAILED)
        self.ctl("call", "kv.get", '{"channel":"notes","key":"c","more":1}', code=FAILED)
        self.ctl("call", "kv.get", "{", code=USAGE)


class Outcomes(Live):
    def test_exit_codes(self):
        self.ctl("system", "ready")
        self.ctl("kv", "get", "nowhere", "k", code=FAILED)
        self.ctl("kv", "del", "notes", "gone", code=NOT_FOUND)
        self.ctl("count", "get", "notes", code=FAILED)
        for words in ([], ["nope"], ["kv"], ["kv", "nope"], ["kv", "get"], ["kv", "get", "notes", "a", "b", "c", "d"],
                      ["count", "add", "visits", "by=x"], ["--nope"], ["status", "x"], ["--timeout", "x", "status"]):
            self.ctl(*words, code=USAGE)
        self.assertEqual(run(self.folder / "none.sock", "status").returncode, UNREACHABLE)
        self.assertEqual(run("/" + "x" * 200, "status").returncode, USAGE)

    def test_messages_say_what_and_what_next(self):
        error = run(self.daemon.socket_path, "kv", "get", "nowhere", "k").stderr.decode()
        self.assertIn("101 no_channel", error)
        self.assertIn("channel list", error)
        error = run(self.folder / "none.sock", "status").stderr.decode()
        self.assertIn(str(self.folder / "none.sock"), error)
        self.assertIn("nothing was sent", error)
        self.assertIn("scripts/run", error)
        error = run(self.daemon.socket_path, "kv", "pit").stderr.decode()
        self.assertIn("kv put", error)
        error = run(self.daemon.socket_path, "--json", "kv", "get", "notes", "gone").stderr
        self.assertEqual(json.loads(error)["code"], 102)

    def test_waiting_shows_progress_on_a_terminal(self):
        self.ctl("channel", "create", "progress", "kv")
        code, out = on_terminal(self.daemon.socket_path, "channel", "wait", "progress", fixtures.NO_TOKEN, "timeout_ms=900")
        self.assertEqual(code, FAILED)
        self.assertIn(b"progress: 1 nodes are here; waiting for more", out)
        quiet = run(self.daemon.socket_path, "channel", "wait", "progress", fixtures.NO_TOKEN, "timeout_ms=900")
        self.assertNotIn(b"waiting for more", quiet.stdout + quiet.stderr)

    def test_tables_for_people_json_for_pipes(self):
        self.ctl("kv", "put", "notes", "t1", "one")
        self.ctl("kv", "put", "notes", "wide", "漢字")
        code, text = on_terminal(self.daemon.socket_path, "kv", "list", "notes")
        self.assertEqual(code, DONE)
        self.assertIn("KEY", text.decode().splitlines()[0])
        self.assertNotIn(b'{"', text)
        self.assertIn(b"t1", text)
        code, text = on_terminal(self.daemon.socket_path, "kv", "list", "notes", "--json")
        self.assertEqual(json.loads(text)["next"], None)
        self.assertEqual(self.json("kv", "list", "notes"), self.json("kv", "list", "notes", "--json"))
        code, text = on_terminal(self.daemon.socket_path, "kv", "list", "notes", "limit=1")
        self.assertIn(b"--all", text)

    def test_stored_data_cannot_drive_the_terminal(self):
        evil = "a\x1b[2J\x07\u009b31m\u202e\r\nend"
        self.daemon.call("kv.put", channel="notes", key="evil\x1b[1m", value=evil)
        self.daemon.call("log.add", channel="journal", value={evil: evil})
        for words in (["kv", "list", "notes"], ["kv", "get", "notes", "evil\x1b[1m"], ["kv", "get", "notes", "evil\x1b[1m", "--raw"],
                      ["kv", "get", "notes", "evil\x1b[1m", "--json"], ["log", "list", "journal"], ["log", "list", "journal", "--all"],
                      ["kv", "get", "notes", "no\x1b[1m"]):
            text = on_terminal(self.daemon.socket_path, *words)[1].decode()
            for character in "\x1b\x07\u009b\u202e":
                self.assertNotIn(character, text, words)
        self.assertEqual(self.json("kv", "get", "notes", "evil\x1b[1m")["value"], evil)
        self.assertEqual(self.raw("kv", "get", "notes", "evil\x1b[1m").decode(), evil + "\n")

    def test_a_reader_that_goes_away_is_no_error(self):
        self.daemon.pipeline([("log.add", {"channel": "journal", "value": "x" * 500}) for _ in range(2500)])
        command = f"set -o pipefail; '{PTWOPCTL}' --socket '{self.daemon.socket_path}' log list journal --all | head -n 1"
        result = subprocess.run(["bash", "-c", command], capture_output=True, timeout=LIMIT_S, env=clean_environment())
        self.assertEqual((result.returncode, result.stderr), (0, b""))
        self.assertEqual(result.stdout.count(b"\n"), 1)

    def test_standard_output_that_takes_nothing(self):
        with open("/dev/full", "wb") as full:
            result = run(self.daemon.socket_path, "system", "info", stdout=full)
        self.assertEqual(result.returncode, FAILED)
        self.assertIn(b"No space left", result.stderr)
        command = f"'{PTWOPCTL}' --socket '{self.daemon.socket_path}' kv put notes closed 1 >&-"
        result = subprocess.run(["bash", "-c", command], capture_output=True, timeout=LIMIT_S, env=clean_environment())
        self.assertEqual(result.returncode, FAILED)
        self.assertIn(b"could not be written", result.stderr)
        self.assertEqual(self.json("kv", "get", "notes", "closed")["value"], 1)
        # Written while the connection is open: it must not have taken the closed stream's number.
        command = f"(echo count add visits key=closed; sleep 0.3) | '{PTWOPCTL}' --socket '{self.daemon.socket_path}' batch >&-"
        result = subprocess.run(["bash", "-c", command], capture_output=True, timeout=LIMIT_S, env=clean_environment())
        self.assertEqual(result.returncode, FAILED, result.stderr)
        self.assertEqual(self.json("count", "get", "visits", "closed")["value"], 1)

    def test_version(self):
        self.assertRegex(self.ctl("--version"), rb"^ptwopctl \d+\.\d+\.\d+\n$")

    def test_sync_offline_keeps_what_was_written(self):
        result = run(self.daemon.socket_path, "kv", "put", "notes", "s", "kept", "--sync", "--timeout", "0.3")
        self.assertEqual(result.returncode, FAILED)
        self.assertIn("at", json.loads(result.stdout))
        self.assertIn(b"kept here", result.stderr)
        self.assertEqual(self.raw("kv", "get", "notes", "s"), b"kept\n")
        self.ctl("kv", "get", "notes", "s", "--sync", code=USAGE)

    def test_all(self):
        self.ctl("channel", "create", "long", "log")
        self.daemon.pipeline([("log.add", {"channel": "long", "value": n}) for n in range(2345)])
        lines = self.ctl("log", "list", "long", "--all").splitlines()
        self.assertEqual([json.loads(line)["value"] for line in lines], list(range(2345)))
        self.assertEqual(self.raw("log", "list", "long", "--all", "limit=7", "reverse=true").split(),
                         [str(n).encode() for n in reversed(range(2345))])
        self.ctl("channel", "list", "--all", code=USAGE)

    def test_status(self):
        text = self.ctl("status").decode()
        for part in (self.daemon.call("identity.show")["id"], "offline", "notes", "visits", "journal", "Pending", "PEERS"):
            self.assertIn(part, text)
        self.assertLess(len(text.splitlines()), 25)
        self.assertEqual({c["name"] for c in self.json("status", "--json")["channels"]} & {"notes", "visits"}, {"notes", "visits"})

    def test_doctor(self):
        result = run(self.daemon.socket_path, "doctor")
        self.assertEqual(result.returncode, FAILED)
        self.assertIn("PROBLEM kubo", result.stdout.decode())
        self.assertIn("ipfs daemon", result.stdout.decode())
        findings = json.loads(run(self.daemon.socket_path, "doctor", "--json").stdout)
        self.assertEqual([f["check"] for f in findings if f["verdict"] == "problem"], ["kubo"])
        result = run(self.folder / "none.sock", "doctor")
        self.assertEqual(result.returncode, FAILED)
        self.assertIn("systemctl start ptwopd", result.stdout.decode())

    def test_socket_search(self):
        for variable, below in (("XDG_RUNTIME_DIR", "ptwop"), ("XDG_STATE_HOME", "ptwop"), ("HOME", ".local/state/ptwop"), ("PTWOP_DATA", ".")):
            root = self.folder / variable
            (root / below).mkdir(parents=True)
            (root / below / "rpc.sock").symlink_to(self.daemon.socket_path)
            self.assertEqual(run(None, "system", "ready", environment=clean_environment(**{variable: root})).returncode, DONE, variable)
        found = run(None, "system", "ready", environment=clean_environment(PTWOP_SOCKET=self.daemon.socket_path))
        self.assertEqual(found.returncode, DONE)
        # A dead socket in the first place does not hide a live one in the next.
        dead = socket.socket(socket.AF_UNIX)
        (self.folder / "dead/ptwop").mkdir(parents=True)
        dead.bind(str(self.folder / "dead/ptwop/rpc.sock"))
        dead.close()
        both = clean_environment(XDG_RUNTIME_DIR=self.folder / "dead", XDG_STATE_HOME=self.folder / "XDG_STATE_HOME")
        self.assertEqual(run(None, "system", "ready", environment=both).returncode, DONE)


class Batch(Live):
    def batch(self, lines, code=DONE):
        result = run(self.daemon.socket_path, "batch", stdin=lines)
        self.assertEqual(result.returncode, code, result.stderr)
        return [json.loads(line) for line in result.stdout.splitlines()]

    def test_lines_of_all_kinds_are_answered_in_order(self):
        answers = self.batch(b"""# a comment
kv put notes a 1

{"method": "kv.put", "params": {"channel": "notes", "key": "b", "value": "two words"}}
{"jsonrpc": "2.0", "id": "mine", "method": "kv.get", "params": ["notes", "b"]}
kv put notes 'a key' "a value"
kv get notes 'a key'
kv put notes bin --bytes hi
kv get notes bin""")
        self.assertEqual([a["id"] for a in answers], [2, 4, "mine", 6, 7, 8, 9])
        self.assertEqual(answers[2]["result"]["value"], "two words")
        self.assertEqual(answers[4]["result"]["value"], "a value")
        self.assertEqual(answers[6]["result"]["value"], {"/": {"bytes": "aGk"}})

    def test_a_failure_shows_in_its_place_and_in_the_exit_code(self):
        answers = self.batch(b"kv put notes a 1\nkv get notes gone\nnonsense\n{\"method\":\nkv get notes a\n", FAILED)
        self.assertEqual([a.get("error", {}).get("code", 0) for a in answers], [0, 102, -32602, -32700, 0])
        self.assertEqual(answers[4]["result"]["value"], 1)

    def test_a_line_sees_what_the_lines_before_it_did(self):
        lines = ["channel create fresh kv"]
        for n in range(200):
            lines += [f"kv put fresh k {n}", "kv get fresh k"]
        lines += ["channel leave fresh"]
        answers = self.batch("\n".join(lines).encode())
        self.assertEqual([a["result"]["value"] for a in answers[2:-1:2]], list(range(200)))
        answers = self.batch(b"kv put notes pd 1\nkv del notes pd\nkv get notes pd\nkv put notes pd 2\nkv get notes pd", FAILED)
        self.assertEqual([a.get("error", {}).get("code") for a in answers], [None, None, 102, None, None])

    def test_many_are_pipelined_and_writes_keep_their_order(self):
        answers = self.batch(b"".join(b"log add journal %d\n" % n for n in range(5000)))
        self.assertEqual([a["id"] for a in answers], list(range(1, 5001)))
        ids = [a["result"]["id"] for a in answers]
        shown = [json.loads(line) for line in self.ctl("log", "list", "journal", "--all").splitlines()]
        self.assertEqual([(e["id"], e["value"]) for e in shown], list(zip(ids, range(5000))))

    def test_large_answers_do_not_lock_up(self):
        self.ctl("kv", "put", "notes", "big", "-", stdin=b"x" * 500_000)
        answers = self.batch(b"kv get notes big\n" * 200)
        self.assertEqual({len(a["result"]["value"]) for a in answers}, {500_000})
        self.assertEqual(len(answers), 200)

    def test_a_line_that_is_too_long(self):
        answers = self.batch(b"kv put notes a 1\nkv put notes a " + b"x" * (9 << 20) + b"\nkv get notes a\n", FAILED)
        self.assertEqual(answers[1]["error"]["code"], 105)
        self.assertEqual(answers[2]["result"]["value"], 1)
        self.assertEqual(self.batch(b"x" * (9 << 20), FAILED)[0]["error"]["code"], 105)

    def test_each_line_is_answered_at_once(self):
        process = subprocess.Popen([PTWOPCTL, "--socket", str(self.daemon.socket_path), "batch"], stdin=subprocess.PIPE,
                                   stdout=subprocess.PIPE, env=clean_environment())
        for n in range(3):
            process.stdin.write(b"count add visits by=1 key=each\n")
            process.stdin.flush()
            self.assertTrue(select.select([process.stdout], [], [], 10)[0], "no answer while standard input is open")
            self.assertEqual(json.loads(process.stdout.readline())["result"]["value"], n + 1)
        process.stdin.close()
        self.assertEqual(process.stdout.read(), b"")
        self.assertEqual(process.wait(LIMIT_S), DONE)
        process.stdout.close()

    def test_nothing_at_all(self):
        self.assertEqual(self.batch(b""), [])


class Shells(Live):
    def complete(self, *words):
        return self.ctl("__complete", "--", "--socket", str(self.daemon.socket_path), *words).decode().split("\n")[:-1]

    def test_candidates(self):
        self.assertEqual(self.complete("kv", "pu"), ["put"])
        self.assertEqual(self.complete("kv", "get", "no"), ["notes"])
        self.assertEqual(self.complete("channel", "create", "x", "c"), ["count"])
        self.assertEqual(run(self.folder / "none.sock", "__complete", "--", "--socket=/none", "kv", "get", "n").returncode, DONE)

    def test_bash(self):
        script = f"""
            source <('{PTWOPCTL}' completion bash) || exit 9
            try() {{ COMP_LINE="$1" COMP_POINT=${{#1}}; COMPREPLY=(); _ptwopctl 2>/dev/null; printf '%s,' "${{COMPREPLY[@]}}"; echo; }}
            try 'ptwopctl kv pu'; try 'ptwopctl kv get no'; try 'ptwopctl kv get channel=no'; try 'ptwopctl channel create x '
            try 'ptwopctl kv put notes k @/etc/host'; try 'ptwopctl kv put notes k value=@/etc/host'
            try 'ptwopctl --socket /etc/host'; try 'ptwopctl kv put notes /etc/host'"""
        environment = clean_environment(PTWOP_SOCKET=self.daemon.socket_path)
        environment["PATH"] = f"{pathlib.Path(PTWOPCTL).parent}:{environment['PATH']}"
        out = subprocess.run(["bash", "-c", script], capture_output=True, timeout=LIMIT_S, env=environment, text=True)
        lines = out.stdout.splitlines()
        self.assertEqual(lines[:4], ["put,", "notes,", "notes,", "count,kv,log,public=,"], out.stderr)
        for line, file in zip(lines[4:7], ("@/etc/hosts", "@/etc/hosts", "/etc/hosts")):
            self.assertIn(file, line.split(","), out.stderr)
        self.assertEqual(lines[7], ",")

    def test_other_shells(self):
        for shell in ("zsh", "fish"):
            script = self.ctl("completion", shell)
            if found := shutil.which(shell):
                checked = subprocess.run([found, "-n"], input=script, capture_output=True, timeout=LIMIT_S)
                self.assertEqual((checked.returncode, checked.stderr), (0, b""), shell)
        self.ctl("completion", "tcsh", code=USAGE)

    def test_man_pages(self):
        self.assertIn(b".TH PTWOPCTL 1", self.ctl("man", "ptwopctl"))
        page = self.ctl("man", "ptwopd").decode()
        self.assertIn(".TH PTWOPD 8", page)
        usage = subprocess.run([PTWOPD, "--help"], capture_output=True, text=True, timeout=LIMIT_S).stdout
        flags = {word.rstrip(",") for word in usage.split() if word.startswith("--")}
        self.assertIn("--data", flags)
        for flag in flags:
            self.assertIn(flag.replace("-", "\\-"), page)
        if groff := shutil.which("groff"):
            for name in ("ptwopctl", "ptwopd"):
                shown = subprocess.run([groff, "-man", "-Tutf8", "-ww", "-Kutf8"], input=self.ctl("man", name), capture_output=True, timeout=LIMIT_S)
                self.assertEqual((shown.returncode, shown.stderr), (0, b""), name)


class BesideKubo(unittest.TestCase):
    """Two daemons beside two real Kubo nodes."""

    @classmethod
    def setUpClass(cls):
        cls.trio = fixtures.Trio()
        cls.addClassCleanup(cls.trio.close)

    def test_sync_returns_once_the_other_replica_has_it(self):
        fixtures.share("shared", "kv", self.trio.a, self.trio.b)
        for n, flag in enumerate(("--sync", f"--sync={fixtures.identity(self.trio.b)}")):
            written = run(self.trio.a.socket_path, "kv", "put", "shared", "k", str(n), flag, "--timeout", "20")
            self.assertEqual((written.returncode, written.stderr), (DONE, b""))
            self.assertEqual(run(self.trio.b.socket_path, "kv", "get", "shared", "k", "--raw").stdout, b"%d\n" % n)
        stranger = "did:key:z6MkhaXgBZDvotDkL5257faiztiGiC2QtKLGpbnnEGta2doK"
        written = run(self.trio.a.socket_path, "kv", "put", "shared", "k", "2", f"--sync={stranger}", "--timeout", "0.5")
        self.assertEqual(written.returncode, FAILED)

    def test_status_and_doctor_see_the_other_replica(self):
        fixtures.share("seen", "log", self.trio.a, self.trio.b)
        written = run(self.trio.a.socket_path, "log", "add", "seen", "x", "--sync", "--timeout", "20")
        self.assertEqual(written.returncode, DONE, written.stderr)
        text = run(self.trio.a.socket_path, "status").stdout.decode()
        self.assertIn("connected", text)
        self.assertRegex(text, r"seen +log .* [1-9]\d* +\d+ s ago")
        findings = json.loads(run(self.trio.a.socket_path, "doctor", "--json").stdout)
        self.assertEqual([f for f in findings if f["check"] in ("kubo", "clock", "peers") and f["verdict"] != "ok"], [], findings)


class FakeDaemon:
    """Answers on a unix socket as told: {method: result | callable(params) -> result}; an Exception's argument is the error."""

    def __init__(self, path, answers):
        self.path, self.answers, self.calls = path, answers, []
        self.listener = socket.socket(socket.AF_UNIX)
        self.listener.bind(str(path))
        self.listener.listen(8)
        threading.Thread(target=self.accept, daemon=True).start()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.listener.close()
        self.path.unlink()

    def accept(self):
        with contextlib.suppress(OSError):
            while True:
                connection = self.listener.accept()[0]
                threading.Thread(target=self.serve, args=(connection,), daemon=True).start()

    def serve(self, connection):
        with contextlib.suppress(OSError), connection, connection.makefile("rb") as lines:
            for line in lines:
                request = json.loads(line)
                self.calls.append((request["method"], request["params"]))
                answer = self.answers.get(request["method"])
                if callable(answer):
                    answer = answer(request["params"])
                if isinstance(answer, bytes):  # as it is, and no more
                    connection.sendall(answer)
                    return
                key = "error" if isinstance(answer, Exception) else "result"
                body = answer.args[0] if key == "error" else answer
                connection.sendall(json.dumps({"jsonrpc": "2.0", "id": request["id"], key: body}).encode() + b"\n")


def refusal(code, kind):
    return Exception({"code": code, "message": f"This is {kind}.", "data": {"kind": kind, "retryable": True}})


class Fakes(Folder):
    def setUp(self):
        self.path = self.folder / f"{self.id().rsplit('.', 1)[-1][:20]}.sock"

    def fake(self, **answers):
        return FakeDaemon(self.path, {name.replace("__", "."): answer for name, answer in answers.items()})

    def ctl(self, *arguments, code, **options):
        result = run(self.path, *arguments, **options)
        self.assertEqual(result.returncode, code, (arguments, result.stdout[-2000:], result.stderr[-2000:]))
        return result

    def test_what_does_not_speak_json_rpc(self):
        for answer in (b"HTTP/1.1 400 Bad Request\r\n\r\n", b"{}\n", b'{"id":1}\n', b"\xff\n", b""):
            with self.fake(system__ready=answer):
                result = self.ctl("system", "ready", code=UNREACHABLE)
                self.assertIn(b"not known", result.stderr)

    def test_an_endless_answer_is_given_up(self):
        with self.fake(system__ready=lambda _: b"x" * (70 << 20)):
            self.assertIn(b"longer than", self.ctl("system", "ready", code=UNREACHABLE).stderr)

    def test_timeout(self):
        with self.fake(system__ready=lambda _: time.sleep(5)):
            started = time.monotonic()
            self.assertIn(b"No answer within 0.2 s", self.ctl("system", "ready", "--timeout", "0.2", code=UNREACHABLE).stderr)
            self.assertLess(time.monotonic() - started, 3)
            self.ctl("batch", "--timeout", "0.2", stdin=b"system ready\n", code=UNREACHABLE)

    def test_wait_for_a_socket_that_is_not_there_yet(self):
        self.ctl("system", "ready", "--wait=0.2", code=UNREACHABLE)
        started = []

        def later():
            time.sleep(0.5)
            started.append(self.fake(system__ready={"ready": True, "reason": ""}))

        thread = threading.Thread(target=later)
        thread.start()
        self.ctl("system", "ready", "--wait", code=DONE)
        thread.join()
        started[0].__exit__()

    def test_wait_for_a_daemon_that_is_starting(self):
        ready_at = time.monotonic() + 0.6
        starting = refusal(-32002, "starting")
        answers = {"system__ready": lambda _: {"ready": time.monotonic() > ready_at, "reason": "opening"},
                   "identity__show": lambda _: {"id": "me"} if time.monotonic() > ready_at else starting}
        with self.fake(**answers):
            result = self.ctl("identity", "show", code=FAILED)
            self.assertIn(b"--wait", result.stderr)
            self.ctl("identity", "show", "--wait=0.1", code=FAILED)
            self.assertEqual(self.ctl("identity", "show", "--wait=10", "--raw", code=DONE).stdout, b"me\n")

    def test_sync_waits_for_the_peer(self):
        with self.fake(kv__put={"at": "T"}, channel__wait={"reached": True}) as fake:
            self.ctl("kv", "put", "notes", "k", "v", "--sync", code=DONE)
            self.assertEqual(fake.calls[-1], ("channel.wait", {"channel": "notes", "at": "T", "timeout_ms": 10000, "peer": "any"}))
            self.ctl("kv", "put", "notes", "k", "v", "--sync=did:key:z6Mk", "--timeout=2", code=DONE)
            self.assertEqual(fake.calls[-1][1]["peer"], "did:key:z6Mk")
            self.assertEqual(fake.calls[-1][1]["timeout_ms"], 2000)

    def test_a_daemon_that_turns_the_same_page_for_ever(self):
        with self.fake(kv__list={"entries": [{"key": "k", "value": 1}], "next": "same"}):
            result = self.ctl("kv", "list", "notes", "--all", code=UNREACHABLE)
            self.assertEqual(len(result.stdout.splitlines()), 2)

    def test_batch_orders_answers_and_bounds_what_is_under_way(self):
        most = [0]

        def out_of_order(connection):
            unread = b""
            with connection:
                while chunk := connection.recv(65536):
                    unread += chunk
                    while select.select([connection], [], [], 0.05)[0] and (chunk := connection.recv(65536)):
                        unread += chunk
                    *requests, unread = unread.split(b"\n")
                    most[0] = max(most[0], len(requests))
                    for number in [json.loads(request)["id"] for request in reversed(requests)]:
                        connection.sendall(json.dumps({"jsonrpc": "2.0", "id": number, "result": number}).encode() + b"\n")

        fake = self.fake()
        fake.serve = out_of_order
        with fake:
            result = self.ctl("batch", stdin=b"system ready\n" * 300, code=DONE)
        self.assertEqual([json.loads(line)["result"] for line in result.stdout.splitlines()], list(range(1, 301)))
        self.assertEqual(most[0], 64)

    def test_batch_that_loses_its_daemon_says_how_far_it_came(self):
        with self.fake(kv__put={"at": "t"}, system__stop=b""):
            result = self.ctl("batch", stdin=b"kv put n a 1\nkv put n b 2\nsystem stop\nkv put n c 3\n", code=UNREACHABLE)
            self.assertEqual(len(result.stdout.splitlines()), 2)
            self.assertIn(b"2 requests were answered", result.stderr)

    HEALTHY = {
        "system.ready": {"ready": True, "reason": ""},
        "system.info": {"version": "0.1.0", "identity": "did:key:me", "uptime_s": 1, "channels": 1, "outbox": 0, "data": "/",
                        "kubo": {"state": "connected", "version": "0.43.0", "peer_id": "p", "pubsub": True, "streams": True}},
        "system.stats": {"refused": {}, "queues": {}},
        "channel.list": {"channels": [{"name": "n", "address": "/ptwop/b"}]},
        "channel.members": {"members": [{"id": "did:key:me", "role": "admin", "since_ms": 1}, {"id": "y", "role": "read", "since_ms": 1}]},
    }

    def info(self, **changes):
        peers = [{"id": "y", "last_seen_ms": int(time.time() * 1000), "clock_lead_ms": 5}]
        return {"name": "n", "address": "/ptwop/b", "type": "kv", "nodes": 1, "readable": True, "writable": True, "lists": [],
                "peers": peers, "epoch": 1, "missing": 0, "root": None} | changes

    def doctor(self, expected, **changes):
        os.chmod(self.folder, stat.S_IRWXU)
        with FakeDaemon(self.path, self.HEALTHY | {"channel.info": self.info()} | changes):
            result = run(self.path, "doctor", "--json")
        problems = [f for f in json.loads(result.stdout) if f["verdict"] == "problem"]
        self.assertEqual([f["check"] for f in problems], expected, result.stdout)
        self.assertEqual(result.returncode, FAILED if expected else DONE)
        for finding in problems:
            self.assertTrue(finding["remedy"])

    def test_status_shows_what_is_under_way(self):
        work = {"method": "system.backup", "done_bytes": 3 << 20, "bytes": 7 << 20}
        for now, says in ((work, b"system.backup, 3 MiB of 7\n"), (work | {"bytes": 0}, b"system.backup, 3 MiB\n")):
            info = self.HEALTHY["system.info"] | {"work": now}
            with FakeDaemon(self.path, self.HEALTHY | {"channel.info": self.info(), "system.info": info}):
                self.assertIn(says, run(self.path, "status").stdout)

    def test_doctor(self):
        self.doctor([])
        kubo = self.HEALTHY["system.info"]["kubo"]
        off = self.HEALTHY["system.info"] | {"kubo": kubo | {"pubsub": False, "streams": False}}
        self.doctor(["pubsub"], **{"system.info": off})
        self.doctor([], **{"system.info": off | {"kubo": kubo | {"pubsub": False}}})
        stuck = self.HEALTHY["system.info"] | {"outbox": 7}
        self.doctor(["outbox"], **{"system.info": stuck})
        self.doctor(["peers"], **{"channel.info": self.info(peers=[])})
        self.doctor(["channel"], **{"channel.info": self.info(type=None)})
        self.doctor(["clock"], **{"channel.info": self.info(peers=[self.info()["peers"][0] | {"clock_lead_ms": 10**6}])})
        self.doctor(["channel", "channel"], **{"channel.info": self.info(readable=False, writable=False)})


if __name__ == "__main__":
    unittest.main()
