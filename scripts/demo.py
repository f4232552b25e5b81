"""What scripts/demo shows; run that, which builds and finds everything first."""

import contextlib
import os
import pathlib
import shutil
import signal
import sys
import tempfile
import time

REPO = pathlib.Path(__file__).resolve().parents[1]
sys.path.insert(0, str(REPO / "tests/support"))
import daemon as ptwop  # noqa: E402
import kubo_nodes  # noqa: E402

WRITES_EACH_WAY = 5


def say(text=""):
    print(text, flush=True)


def share_channel(a, b):
    """A makes a channel, B joins by its address and gets the write role."""
    address = a.call("channel.create", name="demo", type="kv")["address"]
    b.call("channel.join", address=address, name="demo")
    granted = a.call("channel.grant", channel="demo", id=b.call("identity.show")["id"], role="write")["at"]
    started = time.monotonic()
    b.call("channel.wait", channel="demo", at=granted, timeout_ms=30_000)
    say(f"A made {address}")
    say(f"B joined; A granted it the role `write`, and B knew after {(time.monotonic() - started) * 1000:.0f} ms")


def show_writes(names, writer, reader):
    say(f"\n{names[0]} writes, {names[1]} reads:")
    for number in range(1, WRITES_EACH_WAY + 1):
        key, value = f"from-{names[0]}", f"hello {number}"
        started = time.monotonic()
        at = writer.call("kv.put", channel="demo", key=key, value=value)["at"]
        written = time.monotonic()
        reader.call("channel.wait", channel="demo", at=at)
        seen = reader.call("kv.get", channel="demo", key=key)["value"]
        arrived = time.monotonic()
        if seen != value:
            sys.exit(f"{names[1]} reads {seen!r}, not {value!r}")
        say(f"  {value!r}: on {names[0]}'s disk after {(written - started) * 1000:5.1f} ms, "
            f"read at {names[1]} after {(arrived - started) * 1000:5.1f} ms")


def keep_running(daemons, nodes):
    ctl = os.path.relpath(ptwop.PTWOPCTL)
    say("\nBoth keep running. From another terminal, in this folder:")
    for name, one in daemons.items():
        say(f"  {name}: {ctl} --socket {one.socket_path} kv list demo")
    say(f"  write: {ctl} --socket {daemons['A'].socket_path} kv put demo greeting hello")
    say(f"  read:  {ctl} --socket {daemons['B'].socket_path} kv get demo greeting")
    for name, node in nodes.items():
        say(f"  {name}'s Kubo: ipfs --api {node.api} swarm peers")
    for name, one in daemons.items():
        say(f"  {name}'s log: {one.log_path}")
    say("Ctrl-C here stops all four and removes their data.")
    while all(one.running() for one in daemons.values()):
        time.sleep(0.5)
    sys.exit("A daemon has ended; the rest was stopped.")


class Guardian:
    """Ends what the demo started and removes its folder where the demo itself was killed and cannot."""

    def __init__(self, folder):
        self.folder = folder
        reading, self.writing = os.pipe()
        if os.fork():
            os.close(reading)
            return
        # A child that outlives the terminal's signals; the pipe ends with the demo, however that ends.
        os.setsid()
        os.close(self.writing)
        with open(reading) as pipe:
            lines = pipe.read().splitlines()
        if lines[-1:] != ["done"]:
            for pid in map(int, lines):
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
            shutil.rmtree(folder, ignore_errors=True)
        os._exit(0)

    def started(self, process):
        os.write(self.writing, f"{process.pid}\n".encode())

    def done(self):
        os.write(self.writing, b"done\n")


def main():
    for name in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(name, lambda number, _: sys.exit(128 + number))
    with contextlib.ExitStack() as stack:
        folder = pathlib.Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="ptwop-demo-")))
        guardian = Guardian(folder)
        stack.callback(guardian.done)

        def start(one):
            stack.enter_context(one)
            guardian.started(one.process)
            return one

        say("Starting two Kubo nodes and two daemons on loopback")
        binary = kubo_nodes.find_ipfs()
        nodes = {name: start(kubo_nodes.KuboNode(binary, folder / f"kubo-{name}")) for name in "AB"}
        kubo_nodes.connect(nodes["A"], nodes["B"])
        daemons = {name: start(ptwop.Daemon(folder / name, kubo=nodes[name])) for name in "AB"}
        for name, one in daemons.items():
            info = ptwop.wait_until(lambda: (info := one.call("system.info"))["kubo"]["state"] == "connected" and info)
            say(f"  {name}: {info['identity']}, beside Kubo {info['kubo']['version']}")
        share_channel(daemons["A"], daemons["B"])
        show_writes("AB", daemons["A"], daemons["B"])
        show_writes("BA", daemons["B"], daemons["A"])
        if "--keep" in sys.argv[1:]:
            keep_running(daemons, nodes)


if __name__ == "__main__":
    with contextlib.suppress(KeyboardInterrupt):
        main()
