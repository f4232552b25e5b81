"""A channel as a file: carried between machines that never meet, read by Kubo, damaged, forged, found by its writer."""

import contextlib
import hashlib
import os
import random
import shutil
import stat
import subprocess
import threading
import time
import unittest

import fixtures
import kubo_nodes
from daemon import PTWOPCTL, Daemon, RpcError, wait_until
from fixtures import identity, lists_of


def varint(number):
    out = bytearray()
    while number >= 128:
        out.append(number % 128 + 128)
        number //= 128
    return bytes(out) + bytes([number])


def sections(car):
    """The parts of a CAR file: the header, then (CID, bytes)."""
    parts, at = [], 0
    while at < len(car):
        size = shift = 0
        while True:
            byte = car[at]
            at += 1
            size |= (byte & 127) << shift
            shift += 7
            if byte < 128:
                break
        parts.append(car[at:at + size])
        assert len(parts[-1]) == size
        at += size
    return parts[0], [(part[:36], part[36:]) for part in parts[1:]]


def joined(header, blocks):
    return b"".join(varint(len(part)) + part for part in [header, *(cid + data for cid, data in blocks)])


def cid_of(data):
    return b"\x01\x71\x12\x20" + hashlib.sha256(data).digest()


class Case(unittest.TestCase):
    def setUp(self):
        self.stack = contextlib.ExitStack()
        self.addCleanup(self.stack.close)
        self.folder = fixtures.temporary_folder(self.stack)
        self.stick = self.folder / "stick.car"
        self.a, self.b = self.daemon("a"), self.daemon("b")

    def daemon(self, name):
        daemon = Daemon(self.folder / name)
        self.stack.callback(daemon.kill)
        return daemon.start()

    def export(self, daemon, channel="c", **more):
        return daemon.call("channel.export", channel=channel, to=str(self.stick), **more)

    def take(self, daemon, path=None, **more):
        """What came of it; the parts add up."""
        done = daemon.call("channel.import", **{"from": str(path or self.stick)}, **more)
        self.assertEqual(done["nodes"], sum(done[part] for part in ("taken", "here", "refused", "waiting")), done)
        return done

    def refused(self, code, daemon, path=None, **more):
        error = daemon.refusal("channel.import", **{"from": str(path or self.stick)}, **more)
        self.assertEqual(error.code, code, error)
        return error.message

    def clocks_equal(self, *daemons, channel="c"):
        clocks = [sorted(one.call("channel.clock", channel=channel)["at"]) for one in daemons]
        self.assertEqual(clocks[0], clocks[1])
        self.assertTrue(clocks[0])

    def cuts(self, daemon, channel="c"):
        return [one for one in daemon.call("channel.info", channel=channel)["lists"] if "cut" in one]


class Stick(Case):
    def test_there_and_back(self):
        """Machines without Kubo, whose users give each other files."""
        large = random.Random(1).randbytes(200_000).hex()  # over 64 KiB: for the network a block of its own
        small = [{"key": f"k{i}", "value": i} for i in range(300)]
        writes = {"kv": ("kv.put", [*small, {"key": "large", "value": large}]),
                  "log": ("log.add", [{"value": {"n": i}} for i in range(300)]),
                  "count": ("count.add", [{"by": i} for i in range(300)])}
        for kind, (method, params) in writes.items():
            self.a.call("channel.create", name=kind, type=kind)
            self.a.call("channel.grant", channel=kind, id=identity(self.b), role="write")
            outcomes = self.a.pipeline([(method, {"channel": kind, **each}) for each in params])
            self.assertFalse([one for one in outcomes if isinstance(one, RpcError)])
            done = self.export(self.a, kind)
            self.assertEqual(done["bytes"], self.stick.stat().st_size)
            self.assertEqual(stat.S_IMODE(self.stick.stat().st_mode), 0o600)
            self.assertFalse([path for path in self.folder.iterdir() if "part" in path.name])
            taken = self.take(self.b, name=f"a's {kind}")
            self.assertEqual((taken["name"], taken["type"], taken["taken"]), (f"a's {kind}", kind, done["nodes"]))
            self.assertEqual(taken["address"], self.a.call("channel.info", channel=kind)["address"])
            self.assertEqual(self.take(self.b)["here"], done["nodes"])  # its name is known now
            for each in params[:3]:
                self.b.call(method, channel=f"a's {kind}", **each)
            done = self.export(self.b, f"a's {kind}")
            back = self.take(self.a)
            self.assertEqual((back["name"], back["taken"]), (kind, 3))
            self.assertEqual(back["here"], done["nodes"] - 3)
            shown = [one.call(f"{kind}.list", channel=name, limit=1000) for one, name in
                     ((self.a, kind), (self.b, f"a's {kind}"))]
            self.assertEqual(shown[0]["entries"], shown[1]["entries"])
            self.clocks_equal(self.a, self.b, channel=self.a.call("channel.info", channel=kind)["address"])
            for one in (self.a, self.b):
                self.assertFalse(self.cuts(one, self.a.call("channel.info", channel=kind)["address"]))
        self.assertEqual(self.b.call("kv.get", channel="a's kv", key="large")["value"], large)

    def test_by_commands(self):
        self.a.call("channel.create", name="c", type="kv", public=True)
        self.a.call("kv.put", channel="c", key="k", value=1)
        for one, *words in ((self.a, "export", "c", "c.car"), (self.b, "import", "c.car", "c")):
            done = subprocess.run([PTWOPCTL, "--socket", one.socket_path,
                                   "channel", *words], cwd=self.folder, capture_output=True, text=True)
            self.assertEqual((done.returncode, done.stderr), (0, ""))
        self.assertTrue((self.folder / "c.car").is_file())
        self.assertEqual(self.b.call("kv.get", channel="c", key="k")["value"], 1)

    def test_a_carrier_who_cannot_read(self):
        self.a.call("channel.create", name="c", type="kv")
        self.a.call("channel.grant", channel="c", id=identity(self.b), role="write")
        self.a.call("kv.put", channel="c", key="k", value="Schmetterling")
        carrier = self.daemon("carrier")
        self.export(self.a)
        self.assertNotIn(b"Schmetterling", self.stick.read_bytes())
        self.take(carrier, name="c")
        self.assertEqual(carrier.refusal("kv.get", channel="c", key="k").code, 401)
        self.export(carrier)
        self.take(self.b, name="c")
        self.assertEqual(self.b.call("kv.get", channel="c", key="k")["value"], "Schmetterling")

    def test_only_what_is_new_or_one_list(self):
        self.a.call("channel.create", name="c", type="log", public=True)
        self.a.call("channel.grant", channel="c", id=identity(self.b), role="write")
        for number in range(50):
            self.a.call("log.add", channel="c", value=number)
        whole = self.export(self.a)
        self.take(self.b, name="c")
        since = self.b.call("channel.clock", channel="c")["at"]
        for number in range(5):
            self.a.call("log.add", channel="c", value=number)
        self.b.call("log.add", channel="c", value="b's")
        new = self.export(self.a, since=since)
        self.assertEqual((new["nodes"], new["lists"]), (5, 1))
        self.assertLess(new["bytes"], whole["bytes"] / 5)
        # Who lacks what came before can do nothing with it, and no harm is done.
        late = self.daemon("late")
        early = self.take(late, name="c")
        self.assertEqual((early["taken"], early["waiting"] + early["refused"]), (0, 5))
        self.assertEqual(self.take(self.b)["taken"], 5)
        self.export(self.b)
        self.take(self.a)
        self.clocks_equal(self.a, self.b)
        (own,) = lists_of(self.b, "c", self.b)
        one = self.export(self.a, list=own)
        _, blocks = sections(self.stick.read_bytes())
        self.assertEqual(len(blocks), one["nodes"] + 1)
        self.assertEqual(self.take(late)["taken"], one["nodes"])
        self.export(self.a)
        self.take(late)
        self.clocks_equal(self.a, late)

    def test_many_nodes(self):
        """The others are served meanwhile, and memory stays bounded."""
        self.a.call("channel.create", name="c", type="log", public=True)
        self.a.pipeline([("log.add", {"channel": "c", "value": random.Random(i).randbytes(8000).hex()})
                         for i in range(3000)], window=1)
        before = [one.resident_bytes() for one in (self.a, self.b)]
        slowest, stop = [0.0], threading.Event()

        def ask(daemon):
            with daemon.connect() as connection:
                while not stop.is_set():
                    began = time.monotonic()
                    connection.call("channel.create", name=f"c{began}", type="kv")
                    slowest[0] = max(slowest[0], time.monotonic() - began)

        asking = [threading.Thread(target=ask, args=(one,)) for one in (self.a, self.b)]
        for thread in asking:
            thread.start()
        began = time.monotonic()
        done = self.export(self.a)
        exported = time.monotonic() - began
        began = time.monotonic()
        taken = self.take(self.b, name="c")
        imported = time.monotonic() - began
        stop.set()
        for thread in asking:
            thread.join()
        self.assertEqual(taken["taken"], done["nodes"])
        grown = [one.resident_bytes() - old for one, old in zip((self.a, self.b), before)]
        print(f"  {done['nodes']} nodes, {done['bytes'] >> 20} MiB: export {exported:.2f} s, import {imported:.2f} s, "
              f"memory +{grown[0] >> 20} and +{grown[1] >> 20} MiB, slowest write beside it {slowest[0] * 1000:.0f} ms")
        self.assertGreater(done["bytes"], 20 << 20)
        self.assertLess(max(grown), 48 << 20)
        self.assertLess(slowest[0], 1.5)

    def test_interrupted(self):
        self.a.call("channel.create", name="c", type="kv", public=True)
        self.a.pipeline([("kv.put", {"channel": "c", "key": f"k{i}", "value": os.urandom(4000).hex()})
                         for i in range(3000)], window=1)
        done = self.export(self.a)
        went_on = False
        for pause in (0.02, 0.05, 0.1, 0.2):
            with self.b.connect() as connection:
                connection.send(b'{"jsonrpc":"2.0","id":1,"method":"channel.import","params":["%s","c"]}\n'
                                % str(self.stick).encode())
                time.sleep(pause)
                self.b.kill()
            self.b.start()
            here = {one["name"]: one["nodes"] for one in self.b.call("channel.list")["channels"]}.get("c", 0)
            went_on |= 0 < here < done["nodes"]
        self.assertEqual(self.take(self.b, name="c")["refused"], 0)
        self.clocks_equal(self.a, self.b)
        self.assertTrue(went_on, "never interrupted in the middle")

    def test_stopped(self):
        """A stop does not wait for a long import, nor for a long export."""
        self.a.call("channel.create", name="c", type="kv", public=True)
        self.a.pipeline([("kv.put", {"channel": "c", "key": f"k{i}", "value": "v"}) for i in range(3000)], window=1)
        self.export(self.a)
        with self.b.connect() as connection:
            connection.send(b'{"jsonrpc":"2.0","id":1,"method":"channel.import","params":["%s","c"]}\n'
                            % str(self.stick).encode())
            work = wait_until(lambda: self.b.call("system.info")["work"])
            self.assertEqual(work["method"], "channel.import")
            self.b.stop()
            reply = connection.read_reply()
            self.assertIn(reply.get("error", {}).get("code", -32000), (-32000,), reply)


class Hostile(Case):
    def setUp(self):
        super().setUp()
        self.a.call("channel.create", name="c", type="kv", public=True)
        self.a.call("channel.grant", channel="c", id=identity(self.b), role="write")
        for number in range(20):
            self.a.call("kv.put", channel="c", key=f"k{number}", value=number)
        self.done = self.export(self.a)
        self.good = self.stick.read_bytes()
        self.header, self.blocks = sections(self.good)

    def write(self, data):
        self.stick.write_bytes(data)

    def test_the_format_is_the_standard(self):
        self.assertEqual(joined(self.header, self.blocks), self.good)
        self.assertEqual(len(self.blocks), self.done["nodes"] + 1)
        for cid, data in self.blocks:
            self.assertEqual(cid, cid_of(data))
        self.assertIn(self.blocks[0][0], self.header)

    def test_files_that_are_none(self):
        pipe = self.folder / "pipe"
        os.mkfifo(pipe)
        for path in (pipe, self.folder, "/dev/zero", self.folder / "nothing", self.folder / "no" / "thing"):
            self.refused(-32602, self.b, path, name="c")
        self.assertEqual(self.b.refusal("channel.import", **{"from": "relative.car", "name": "c"}).code, -32602)
        second_version = b"\x0a\xa1\x67version\x02"
        for data in (b"", b"\0", b"x", b"\xff" * 100, os.urandom(5000), self.good[:30], second_version + self.good,
                     joined(self.header, []), joined(self.header, self.blocks[1:]),
                     joined(self.header, [(self.blocks[0][0], self.blocks[0][1] + b"x")])):
            self.write(data)
            self.assertIn(str(self.stick), self.refused(502, self.b, name="c"))
        self.assertEqual(self.b.call("channel.list")["channels"], [])
        self.write(self.good)
        self.assertIn("give a name", self.refused(-32602, self.b))
        self.assertEqual(self.b.refusal("channel.import", **{"from": str(self.stick), "name": "/x"}).code, -32602)
        for place in (self.a.data / "x.car", self.a.data / "identity", self.a.data / "rocksdb" / "CURRENT",
                      self.a.folder / "x" / ".." / "data" / "x.car", self.folder / "no" / "x.car", self.folder):
            self.assertEqual(self.a.refusal("channel.export", channel="c", to=str(place)).code, -32602, place)

    def test_cut_off(self):
        """What is whole is taken; the rest is another try."""
        for size in (len(self.good) - 1, len(self.good) // 2):
            self.write(self.good[:size])
            message = self.refused(502, self.b, name="c")
            self.assertRegex(message, r"ends within a part at byte \d+.*blocks before it were taken")
        self.assertTrue(self.b.call("kv.list", channel="c")["entries"])
        self.write(self.good)
        self.assertGreater(self.take(self.b)["taken"], 0)
        self.clocks_equal(self.a, self.b)

    def test_changed_and_forged(self):
        self.a.call("channel.create", name="other", type="kv", public=True)
        self.a.call("kv.put", channel="other", key="k", value="of another channel")
        other = self.folder / "other.car"
        self.a.call("channel.export", channel="other", to=str(other))
        _, foreign = sections(other.read_bytes())
        flipped = lambda data: data[:-10] + bytes([data[-10] ^ 1]) + data[-9:]
        last_cid, last = self.blocks[-1]
        bad = [(last_cid, flipped(last)),  # not what its CID says
               (cid_of(flipped(last)), flipped(last)),  # its signature is wrong
               (cid_of(b"\xa0"), b"\xa0"), (cid_of(b"noise"), b"noise"),
               (b"\x01\x55\x12\x20" + bytes(32), b"raw"), *foreign]
        blocks = self.blocks[:-1]
        for one in bad:
            blocks.insert(random.Random(len(blocks)).randrange(1, len(blocks)), one)
        self.write(joined(self.header, blocks))
        done = self.take(self.b, name="c")
        self.assertEqual(done["refused"], len(bad), done)
        self.assertEqual(done["taken"], self.done["nodes"] - 1, done)
        kinds = self.b.call("system.stats")["refused"]
        self.assertGreaterEqual(kinds["not_canonical"], 2)
        self.assertGreaterEqual(kinds["other_channel"], 1)
        self.write(self.good)
        self.assertEqual(self.take(self.b)["taken"], 1)
        self.clocks_equal(self.a, self.b)

    def test_in_any_order(self):
        """Nodes that come before what they follow are taken when that is here: at the latest by the next import."""
        shuffled = self.blocks[1:]
        random.Random(3).shuffle(shuffled)
        self.write(joined(self.header, self.blocks[:1] + shuffled))
        for _ in range(3):
            self.take(self.b, name="c")
        self.clocks_equal(self.a, self.b)


class Owners(Case):
    """Who finds nodes of their own in a file."""

    def setUp(self):
        super().setUp()
        self.a.call("channel.create", name="c", type="count")
        self.a.call("channel.grant", channel="c", id=identity(self.b), role="write")
        self.export(self.a)
        self.take(self.b, name="c")
        self.b.call("count.add", channel="c", by=1)

    def end(self, again, value, *others):
        """All agree, and nothing is cut off."""
        again.call("count.add", channel="c", by=1000)
        self.export(again)
        for other in others:
            self.take(other)
            self.assertEqual(other.call("count.get", channel="c")["value"], value + 1000)
            self.assertFalse(self.cuts(other))
        self.assertEqual(again.call("count.get", channel="c")["value"], value + 1000)
        self.assertFalse(self.cuts(again))

    def test_after_a_restore(self):
        self.b.call("system.backup", to=str(self.folder / "backup"))
        self.b.call("count.add", channel="c", by=10)
        self.export(self.b)
        self.b.kill()
        again = Daemon(self.folder / "again")
        self.addCleanup(again.kill)
        self.assertEqual(self.b.ctl("restore", self.folder / "backup", again.data).returncode, 0)
        again.start()
        again.call("count.add", channel="c", by=100)  # before it knows what it had written
        self.assertEqual(self.take(again)["taken"], 1)
        self.assertEqual(again.call("count.get", channel="c")["value"], 111)
        self.end(again, 111, self.a)

    def test_with_an_older_copy(self):
        self.b.stop()
        again = Daemon(self.folder / "again")
        self.addCleanup(again.kill)
        shutil.copytree(self.b.data, again.data)
        self.b.start()
        self.b.call("count.add", channel="c", by=10)
        self.export(self.b)
        self.b.kill()
        again.start()
        self.assertEqual(self.take(again)["taken"], 1)
        self.end(again, 11, self.a)


class BesideKubo(unittest.TestCase):
    def test_kubo_reads_it(self):
        binary = fixtures.needs_kubo()
        stack = contextlib.ExitStack()
        self.addCleanup(stack.close)
        folder = fixtures.temporary_folder(stack)
        node = kubo_nodes.KuboNode(binary, folder / "kubo")
        stack.callback(node.kill)
        node.start()
        daemon = Daemon(folder / "d")  # it has never met that Kubo
        stack.callback(daemon.kill)
        daemon.start()
        address = daemon.call("channel.create", name="c", type="kv")["address"]
        for number in range(50):
            daemon.call("kv.put", channel="c", key=f"k{number}", value=number)
        daemon.call("channel.export", channel="c", to=str(folder / "c.car"))
        said = node.ipfs("dag", "import", "--stats", str(folder / "c.car"))
        self.assertIn(fixtures.cid_of(address), said)
        _, blocks = sections((folder / "c.car").read_bytes())
        self.assertIn(f"Imported {len(blocks)} blocks", said)
        self.assertIn('"kv"', node.ipfs("dag", "get", fixtures.cid_of(address)))
        head = next(one["head"] for one in daemon.call("channel.info", channel="c")["lists"] if not one.get("control"))
        self.assertIn('"number":50', node.ipfs("dag", "get", head))
        # And back: what Kubo exports is a file of the same kind, of the manifest alone.
        with open(folder / "back.car", "wb") as file:
            subprocess.run([binary, "dag", "export", fixtures.cid_of(address)], env=node.env, stdout=file,
                           stderr=subprocess.DEVNULL, check=True, timeout=30)
        other = Daemon(folder / "other")
        stack.callback(other.kill)
        other.start()
        done = other.call("channel.import", **{"from": str(folder / "back.car")}, name="c")
        self.assertEqual((done["address"], done["type"], done["nodes"]), (address, "kv", 0))


if __name__ == "__main__":
    unittest.main()
