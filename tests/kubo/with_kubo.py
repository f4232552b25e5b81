#!/usr/bin/env python3
"""with_kubo.py COMMAND…: runs a command beside real Kubo nodes.

PTWOP_TEST_KUBO_A and _B name two connected ones, PTWOP_TEST_KUBO_CLOSED a third one on a unix socket,
with pubsub
and p2p streams off, that asks for the secret `bearer:open sesame`.

Exits as the command does; 77 (skipped) where there is no ipfs, 1 in that case under CI.
"""
import os
import shutil
import signal
import subprocess
import sys
import tempfile
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "support"))
import kubo_nodes  # noqa: E402


def main():
    if len(sys.argv) < 2:
        print(__doc__, file=sys.stderr)
        return 64
    binary = kubo_nodes.find_ipfs()
    if not binary:
        print("no ipfs found: set PTWOP_IPFS or put it on PATH", file=sys.stderr)
        return 1 if os.environ.get("CI") else 77
    # SIGTERM (meson's time-out) becomes an exception, so that the nodes go in every case.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    folder = Path(tempfile.mkdtemp(prefix="ptwop-kubo-"))
    nodes = []
    try:
        for name in ("a", "b", "closed"):
            nodes.append(kubo_nodes.KuboNode(binary, folder / name, pubsub=name != "closed"))
        nodes[2].config("Experimental.Libp2pStreamMounting", False)
        nodes[2].config("Addresses.API", f"/unix{folder}/closed/api.sock")
        secret = {"AuthSecret": "bearer:open sesame", "AllowedPaths": ["/api/v0"]}
        nodes[2].config("API.Authorizations", {"test": secret})
        for node in nodes:
            node.start()
        kubo_nodes.connect(nodes[0], nodes[1])
        names = ("PTWOP_TEST_KUBO_A", "PTWOP_TEST_KUBO_B", "PTWOP_TEST_KUBO_CLOSED")
        env = {**os.environ, **dict(zip(names, (node.api for node in nodes)))}
        return subprocess.run(sys.argv[1:], env=env).returncode
    finally:
        for node in nodes:
            node.stop()
        shutil.rmtree(folder, ignore_errors=True)


if __name__ == "__main__":
    sys.exit(main())
