"""What scripts/bench measures; run that, which builds and finds everything first.

Each figure stands beside a yardstick that was measured in the same run, in rounds that alternate between the two; what
is shown is the median of the rounds, and a ratio is the median of the rounds' ratios.
"""

import argparse
import base64
import contextlib
import datetime
import json
import os
import pathlib
import platform
import random
import signal
import statistics
import subprocess
import sys
import tempfile
import time

REPO = pathlib.Path(__file__).resolve().parents[2]
sys.path.insert(0, str(REPO / "tests/support"))
import daemon as ptwop  # noqa: E402
import kubo_nodes  # noqa: E402

DRIVER = ptwop.BUILD / "tests/bench/bench_driver"
KEYS = 100_000
VALUE_BYTES = 200
CONNECTIONS = 64
DEPTH = 32
SETTLE_S = 5.0
SECTIONS = ("reads", "writes", "growth", "memory", "visible", "replicated", "cold", "million")


def say(text):
    print(text, file=sys.stderr, flush=True)


def driver(kind, **arguments):
    """Runs the load driver; what it prints."""
    words = [f"{name}={value}" for name, value in arguments.items() if value is not None]
    done = subprocess.run([str(DRIVER), kind, *words], text=True, stdin=subprocess.DEVNULL, capture_output=True)
    if done.returncode:
        sys.exit(f"bench_driver {kind} {' '.join(words)}: {done.stderr.strip()}")
    return json.loads(done.stdout)


class Redis:
    """redis-server on a unix socket in `folder`. `durable`: every write is on the disk before its answer."""

    def __init__(self, folder, durable):
        self.folder = pathlib.Path(folder)
        self.folder.mkdir(parents=True)
        self.socket_path = self.folder / "redis.sock"
        self.append = ["--appendonly", "yes", "--appendfsync", "always"] if durable else ["--appendonly", "no"]

    def __enter__(self):
        with open(self.folder / "log", "wb") as log:
            self.process = subprocess.Popen(
                ["redis-server", "--port", "0", "--unixsocket", str(self.socket_path), "--save", "", "--dir",
                 str(self.folder), *self.append], stdin=subprocess.DEVNULL, stdout=log, stderr=log)
        ptwop.wait_until(lambda: self.socket_path.exists() or self.process.poll() is not None)
        if self.process.poll() is not None:
            raise RuntimeError("redis-server did not start: " + (self.folder / "log").read_text())
        return self

    def __exit__(self, *_):
        self.process.terminate()
        self.process.wait()


class Table:
    def __init__(self):
        self.rows = []

    def add(self, what, ours, yardstick, ratio, goal, met):
        self.rows.append((what, ours, yardstick, ratio, goal, "" if met is None else "yes" if met else "**no**"))
        say("  " + " | ".join(cell for cell in self.rows[-1] if cell))

    def text(self):
        head = ("what", "PtwopDB", "yardstick", "ratio", "goal", "met")
        lines = [head, tuple("---" for _ in head), *self.rows]
        return "\n".join("| " + " | ".join(cells) + " |" for cells in lines)


def ratio_of(ours, theirs):
    return statistics.median(a / b for a, b in zip(ours, theirs))


def us(value):
    return f"{value:.0f} µs" if value < 1000 else f"{value / 1000:.2f} ms"


def per_s(value):
    return f"{value:,.0f}/s"


@contextlib.contextmanager
def on_one_core(*pids):
    """The main threads of these processes and what is started meanwhile."""
    before = os.sched_getaffinity(0)
    core = {min(before)}
    for pid in (0, *pids):
        os.sched_setaffinity(pid, core)
    try:
        yield
    finally:
        for pid in (0, *pids):
            os.sched_setaffinity(pid, before)


def load(keys, daemon=None, redis=None, first=0):
    driver("loop", op="put", in_order=1, depth=16, connections=4, first=first, count=keys, value=VALUE_BYTES,
           ptwop=daemon and daemon.socket_path, redis=redis and redis.socket_path)


class Bench:
    def __init__(self, folder, quick):
        self.folder = pathlib.Path(folder)
        self.rounds = 3 if quick else 9
        self.scale = 10 if quick else 1
        self.table = Table()
        self.started = 0

    def fresh(self, name):
        self.started += 1
        return self.folder / f"{self.started}-{name}"

    @contextlib.contextmanager
    def offline(self, name):
        with ptwop.Daemon(self.fresh(name)) as one:
            one.call("channel.create", name="bench", type="kv")
            yield one

    # --- beside redis -------------------------------------------------------------------------------------------------

    def reads(self):
        with self.offline("reads") as one, Redis(self.fresh("redis"), durable=False) as redis:
            load(KEYS, one, redis)
            both = {"op": "get", "keys": KEYS, "value": VALUE_BYTES, "rounds": self.rounds,
                    "ptwop": one.socket_path, "redis": redis.socket_path}
            # A round trip between two idle cores measures how they wake each other; on one core it measures the server.
            with on_one_core(one.process.pid, redis.process.pid):
                found = driver("loop", **both, count=20_000 // self.scale)
            for share, goal in (("p50", 1.2), ("p99", None)):
                ours, theirs = found["ptwop"][share + "_us"], found["redis"][share + "_us"]
                ratio = ratio_of(ours, theirs)
                self.table.add(f"`kv.get`, one at a time, client and server on one core, {share}", us(statistics.median(ours)),
                               f"redis `GET` {us(statistics.median(theirs))}", f"{ratio:.2f}×",
                               f"≤ {goal}×" if goal else "", goal and ratio <= goal)
            found = driver("loop", **both, depth=DEPTH, count=100_000 // self.scale)
            ours, theirs = found["ptwop"]["per_s"], found["redis"]["per_s"]
            ratio = ratio_of(theirs, ours)
            self.table.add(f"`kv.get`, {DEPTH} in flight on one connection", per_s(statistics.median(ours)),
                           f"redis {per_s(statistics.median(theirs))}", f"{ratio:.2f}× slower", "≤ 3×", ratio <= 3)

    def writes(self):
        with self.offline("writes") as one, Redis(self.fresh("redis-durable"), durable=True) as redis:
            found = driver("loop", op="put", in_order=1, connections=CONNECTIONS, count=20_000 // self.scale,
                           value=VALUE_BYTES, rounds=self.rounds, ptwop=one.socket_path, redis=redis.socket_path)
        ours, theirs = found["ptwop"]["per_s"], found["redis"]["per_s"]
        ratio = ratio_of(ours, theirs)
        self.table.add(f"durable `kv.put`, {CONNECTIONS} connections", per_s(statistics.median(ours)),
                       f"redis `appendfsync always` {per_s(statistics.median(theirs))}", f"{ratio:.2f}×", "≥ 1×", ratio >= 1)

    def growth(self):
        with self.offline("growth") as one:
            there = 0
            for keys in (1_000, 10_000, KEYS):
                load(keys - there, one, first=there)
                there = keys
                common = {"keys": keys, "value": VALUE_BYTES, "rounds": self.rounds, "ptwop": one.socket_path}
                get = driver("loop", **common, op="get", count=5_000 // self.scale)["ptwop"]["p50_us"]
                put = driver("loop", **common, op="put", count=1_000 // self.scale)["ptwop"]["p50_us"]
                ready_ms = statistics.median(self.restart_ms(one) for _ in range(3))
                self.table.add(f"with {keys:,} keys", f"get {us(statistics.median(get))}, put {us(statistics.median(put))}, "
                               f"restart to ready {ready_ms:.0f} ms", "", "", "", None)

    @staticmethod
    def restart_ms(one):
        one.stop()
        started = time.monotonic()
        one.start(ready=False)
        while True:
            with contextlib.suppress(OSError), one.connect(validate=False) as connection:
                if connection.call("system.ready")["ready"]:
                    return (time.monotonic() - started) * 1000
            time.sleep(0.001)

    def memory(self):
        with self.offline("memory") as one:
            load(KEYS, one)
            driver("loop", op="get", keys=KEYS, value=VALUE_BYTES, count=100_000 // self.scale, ptwop=one.socket_path)
            time.sleep(SETTLE_S)
            self.show_memory(f"resident with {KEYS:,} keys, after as many reads", one)
            one.restart()
            driver("loop", op="get", keys=KEYS, value=VALUE_BYTES, count=100_000 // self.scale, ptwop=one.socket_path)
            self.show_memory("the same after a restart and as many reads", one)

    def show_memory(self, what, one):
        mebibytes = one.resident_bytes() / 2**20
        self.table.add(what, f"{mebibytes:.1f} MiB", "", "", "< 64 MiB", mebibytes < 64)

    # --- beside Kubo --------------------------------------------------------------------------------------------------

    def pair(self, stack):
        """Two daemons beside two connected Kubo nodes, sharing the channel `bench`."""
        binary = kubo_nodes.find_ipfs()
        nodes = [stack.enter_context(kubo_nodes.KuboNode(binary, self.fresh("kubo"))) for _ in range(2)]
        kubo_nodes.connect(*nodes)
        daemons = [stack.enter_context(ptwop.Daemon(self.fresh("beside"), kubo=node)) for node in nodes]
        for one in daemons:
            ptwop.wait_until(lambda: one.call("system.info")["kubo"]["state"] == "connected")
        a, b = daemons
        b.call("channel.join", address=a.call("channel.create", name="bench", type="kv")["address"], name="bench")
        granted = a.call("channel.grant", channel="bench", id=b.call("identity.show")["id"], role="write")["at"]
        b.call("channel.wait", channel="bench", at=granted, timeout_ms=30_000)
        return nodes, daemons

    def beside_kubo(self, sections):
        with contextlib.ExitStack() as stack:
            nodes, daemons = self.pair(stack)
            if "memory" in sections:
                self.idle(daemons)
            if "visible" in sections:
                self.visible(nodes, daemons)
            if "replicated" in sections:
                self.replicated(daemons)

    def idle(self, daemons):
        seconds = 20 // min(self.scale, 2)
        time.sleep(SETTLE_S)
        before = [cpu_seconds(one.process.pid) for one in daemons]
        time.sleep(seconds)
        percent = max(cpu_seconds(one.process.pid) - spent for one, spent in zip(daemons, before)) / seconds * 100
        self.table.add(f"idle beside Kubo, of one core, over {seconds} s", f"{percent:.2f} %", "", "", "< 0.5 %", percent < 0.5)

    def visible(self, nodes, daemons):
        topic = "u" + base64.urlsafe_b64encode(b"ptwop-bench-raw").decode().rstrip("=")
        found = driver("visible", a=daemons[0].socket_path, b=daemons[1].socket_path, count=400 // self.scale, topic=topic,
                       value=VALUE_BYTES, api_a=nodes[0].url.rsplit(":", 1)[1], api_b=nodes[1].url.rsplit(":", 1)[1])
        raw = found["pubsub_us"]
        for what, kind in (("`kv.put` → `kv.get` at the other shows it", "get_us"),
                           ("`kv.put` → durable at the other (`channel.wait`)", "wait_us")):
            for share in ("p50", "p99"):
                ratio = found[kind][share] / raw[share]
                goal = share == "p50" and kind == "get_us"
                self.table.add(f"{what}, {share}", us(found[kind][share]), f"raw pubsub {us(raw[share])}", f"{ratio:.2f}×",
                               "≤ 1.5×" if goal else "", ratio <= 1.5 if goal else None)
        self.table.add("of which until `kv.put` is acknowledged, p50", us(found["acknowledged_us"]["p50"]), "", "", "", None)

    def replicated(self, daemons):
        count = 20_000 // self.scale
        found = driver("replicated", a=daemons[0].socket_path, b=daemons[1].socket_path, count=count, value=VALUE_BYTES)
        missing = count - count_keys(daemons[1], "key-6")
        if missing:
            sys.exit(f"channel.wait says that all is there, but {missing} of {count} keys are not at B")
        self.table.add(f"{count:,} `kv.put` at {per_s(found['per_s'])} on A; from the last answer until all are on B",
                       f"{found['lag_s']:.2f} s", "", "", "≤ 3 s", found["lag_s"] <= 3)
        ptwop.wait_until(lambda: all(one.call("system.info")["outbox"] == 0 for one in daemons), timeout_s=60)
        for name, one in zip("AB", daemons):
            self.show_memory(f"resident afterwards, {name}", one)


    # --- long histories -----------------------------------------------------------------------------------------------

    def write_batches(self, one, count, size=100, first=0):
        batches = [("kv.batch", {"channel": "bench", "ops": [
            {"put": {"key": f"key-{number:08}", "value": value_of(number)}} for number in range(start, start + size)]})
            for start in range(first, first + count, size)]
        with one.connect(validate=False, timeout_s=300) as connection:
            for start in range(0, len(batches), 16):
                last = connection.pipeline(batches[start:start + 16])[-1]
        return last["at"]

    def write_one_by_one(self, one, count):
        driver("loop", op="put", in_order=1, count=count, value=VALUE_BYTES, ptwop=one.socket_path)
        return one.call("channel.clock", channel="bench")["at"]

    def cold(self):
        for entries, how, write in ((20_000, "in batches of 100", self.write_batches), (200_000, "in batches of 100", self.write_batches),
                                    (20_000, "one by one", self.write_one_by_one)):
            with contextlib.ExitStack() as stack:
                self.cold_sync(stack, entries // self.scale, how, write)
        small, large = self.cold_s
        self.table.add("cold sync of ten times as much, in batches of 100", f"{large:.2f} s", f"{small:.2f} s", f"{large / small:.1f}×", "≤ 11×",
                       large / small <= 11)

    def cold_sync(self, stack, entries, how, write):
        """A newcomer beside a fresh Kubo, and a file of as many bytes as the packs have, each from the same Kubo."""
        binary = kubo_nodes.find_ipfs()
        source = stack.enter_context(kubo_nodes.KuboNode(binary, self.fresh("kubo")))
        writer = stack.enter_context(ptwop.Daemon(self.fresh("cold"), kubo=source))
        ptwop.wait_until(lambda: writer.call("system.info")["kubo"]["state"] == "connected")
        address = writer.call("channel.create", name="bench", type="kv")["address"]
        at = write(writer, entries)
        ptwop.wait_until(lambda: writer.call("system.info")["outbox"] == 0, timeout_s=300)
        root = writer.call("channel.info", channel="bench")["root"]
        size = packed_bytes(source, root)
        path = self.fresh("file")
        path.write_bytes(os.urandom(size))
        file = source.ipfs("add", "--quieter", str(path)).strip()
        times, cats = [], []
        for _ in range(3):
            with contextlib.ExitStack() as round_stack:
                node = round_stack.enter_context(kubo_nodes.KuboNode(binary, self.fresh("kubo")))
                kubo_nodes.connect(source, node)
                newcomer = round_stack.enter_context(ptwop.Daemon(self.fresh("newcomer"), kubo=node))
                ptwop.wait_until(lambda: newcomer.call("system.info")["kubo"]["state"] == "connected")
                writer.call("channel.grant", channel="bench", id=newcomer.call("identity.show")["id"], role="read")
                started = time.monotonic()
                newcomer.call("channel.join", address=address, name="bench")
                with newcomer.connect(timeout_s=320) as connection:
                    connection.call("channel.wait", channel="bench", at=at, timeout_ms=300_000)
                times.append(time.monotonic() - started)
                missing = entries - count_keys(newcomer, "key-")
                if missing:
                    sys.exit(f"channel.wait says that all is there, but {missing} of {entries} keys are not")
                time.sleep(SETTLE_S)
                started = time.monotonic()
                node.rpc("cat", arg=file, timeout=300)
                cats.append(time.monotonic() - started)
        ours, theirs = statistics.median(times), statistics.median(cats)
        rate = entries / ours
        batches = how != "one by one"
        self.table.add(f"cold sync of {entries:,} entries of {VALUE_BYTES} B, written {how}", f"{ours:.2f} s, {per_s(rate)}",
                       f"`ipfs cat` of {size / 2**20:.1f} MiB {theirs:.2f} s", f"{ours / theirs:.1f}×", "≤ 3×" if batches else "≥ 20,000/s",
                       ours <= 3 * theirs if batches else rate >= 20_000)
        if batches:
            self.cold_s = (*getattr(self, "cold_s", ()), ours)

    def million(self):
        with self.offline("million") as one:
            self.write_batches(one, 1_000)
            common = {"op": "put", "in_order": 1, "first": 90_000_000, "count": 2_000 // self.scale, "value": VALUE_BYTES, "rounds": self.rounds,
                      "ptwop": one.socket_path}
            few = statistics.median(driver("loop", **common)["ptwop"]["p50_us"])
            count = 1_000_000 // self.scale
            self.write_batches(one, count - 1_000, first=1_000)
            one.restart()
            many = statistics.median(driver("loop", **common)["ptwop"]["p50_us"])
            self.table.add(f"durable `kv.put` with {count:,} keys, p50", us(many), f"with 1,000 keys {us(few)}", f"{many / few:.2f}×", "≤ 1.2×",
                           many <= 1.2 * few)
            ready_ms = statistics.median(self.restart_ms(one) for _ in range(3))
            self.table.add(f"restart to ready with {count:,} keys", f"{ready_ms:.0f} ms", "", "", "< 300 ms", ready_ms < 300)
            driver("loop", op="get", keys=KEYS, value=VALUE_BYTES, count=100_000 // self.scale, ptwop=one.socket_path)
            mebibytes = one.resident_bytes() / 2**20
            self.table.add(f"resident with {count:,} keys, after {100_000 // self.scale:,} reads", f"{mebibytes:.1f} MiB", "", "", "< 128 MiB",
                           mebibytes < 128)
            one.stop()
            self.show_disk(f"on disk, {count:,} entries in batches of 100", one, count, 2.5)
        with self.offline("one-by-one") as one:
            count = 50_000 // self.scale
            self.write_one_by_one(one, count)
            one.stop()
            self.show_disk(f"on disk, {count:,} entries one by one", one, count, 5)

    def show_disk(self, what, one, entries, goal):
        used = sum(path.stat().st_size for path in pathlib.Path(one.data).rglob("*") if path.is_file())
        payload = entries * (VALUE_BYTES + len("key-00000000"))
        self.table.add(what, f"{used / 2**20:.0f} MiB", f"payload {payload / 2**20:.0f} MiB", f"{used / payload:.1f}×", f"≤ {goal}×",
                       used <= goal * payload)


def value_of(number):
    """Text that does not compress."""
    return base64.b64encode(random.Random(number).randbytes(VALUE_BYTES)).decode()[:VALUE_BYTES]


def packed_bytes(node, cid):
    """What stands below this root."""
    size = len(node.rpc("block/get", arg=cid))
    for line in node.rpc("refs", arg=cid, recursive="true", unique="true").decode().splitlines():
        size += len(node.rpc("block/get", arg=json.loads(line)["Ref"]))
    return size


def count_keys(one, prefix):
    count, after = 0, None
    while True:
        page = one.call("kv.list", channel="bench", prefix=prefix, after=after, limit=1000)
        count += len(page["entries"])
        after = page["next"]
        if after is None:
            return count


def cpu_seconds(pid):
    fields = pathlib.Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def machine():
    model = next((line.split(":", 1)[1].strip() for line in pathlib.Path("/proc/cpuinfo").read_text().splitlines()
                  if line.startswith("model name")), platform.machine())
    return f"{model}, {os.cpu_count()} cores, {platform.system()} {platform.release()}"


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--only", default=",".join(SECTIONS))
    parser.add_argument("--folder")
    options = parser.parse_args()
    sections = options.only.split(",")
    if unknown := set(sections) - set(SECTIONS):
        parser.error(f"unknown: {', '.join(sorted(unknown))}")
    signal.signal(signal.SIGTERM, lambda number, _: sys.exit(128 + number))
    load_before = os.getloadavg()[0]
    with tempfile.TemporaryDirectory(prefix="ptwop-bench-", dir=options.folder) as folder:
        bench = Bench(folder, options.quick)
        for section in ("reads", "writes", "growth", "memory"):
            if section in sections:
                say(section)
                getattr(bench, section)()
        for section in ("cold", "million"):
            if section in sections:
                say(section)
                getattr(bench, section)()
        if set(sections) & {"memory", "visible", "replicated"}:
            say("beside Kubo")
            bench.beside_kubo(sections)
    print(bench.table.text())
    print(f"\n{datetime.date.today()}, {machine()}, load {load_before:.1f} before and {os.getloadavg()[0]:.1f} after.")


if __name__ == "__main__":
    main()
