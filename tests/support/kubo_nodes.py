"""Real Kubo nodes for tests, the demo and the benchmarks: on loopback, alone, in a folder of their own.

No traffic leaves the machine: no bootstrap peers, no routing, no mDNS, no AutoConf.
"""
import http.client
import json
import os
import shutil
import signal
import socket
import subprocess
import time
import urllib.parse
from pathlib import Path


class Refused(RuntimeError):
    """Kubo answered with an error."""

    def __init__(self, status, text):
        super().__init__(f"HTTP {status}: {text}")
        self.status = status


class _UnixConnection(http.client.HTTPConnection):
    def __init__(self, path, timeout):
        super().__init__("localhost", timeout=timeout)
        self.path = path

    def connect(self):
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(self.timeout)
        self.sock.connect(self.path)


def find_ipfs():
    """The ipfs binary: $PTWOP_IPFS, else the one on PATH, else the one scripts/test built; None without."""
    named = os.environ.get("PTWOP_IPFS")
    if named:
        return named
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    built = cache / "ptwopdb" / "bin" / "ipfs"
    return shutil.which("ipfs") or (str(built) if built.exists() else None)


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


class KuboNode:
    """One node with its repository in `folder`. After `stop` or `kill`, `start` finds address and data again."""

    def __init__(self, binary, folder, pubsub=True, profile="test"):
        self.binary = str(binary)
        self.folder = Path(folder)
        self.process = None
        # The environment is the node's own: nothing of the user's Kubo is touched.
        self.env = {**os.environ, "IPFS_PATH": str(self.folder), "IPFS_TELEMETRY": "off"}
        if (self.folder / "config").exists():
            return
        self.folder.mkdir(parents=True, exist_ok=True)
        self.ipfs("init", "--profile=" + profile)
        self.api_port, self.swarm_port = free_port(), free_port()
        self.config("Addresses.API", f"/ip4/127.0.0.1/tcp/{self.api_port}")
        self.config("Addresses.Gateway", [])
        self.config("Addresses.Swarm", [f"/ip4/127.0.0.1/tcp/{self.swarm_port}"])
        self.config("Pubsub.Enabled", pubsub)
        self.config("Experimental.Libp2pStreamMounting", True)
        self.config("Routing.Type", "none")
        self.config("Discovery.MDNS.Enabled", False)
        self.config("AutoConf.Enabled", False)
        self.config("Bootstrap", [])
        self.config("DNS.Resolvers", {})
        self.config("Routing.DelegatedRouters", [])
        self.config("Ipns.DelegatedPublishers", [])

    def ipfs(self, *arguments, check=True):
        """Runs the ipfs command on this repository; its output. Raises with what it said on an error."""
        done = subprocess.run([self.binary, *arguments], env=self.env, text=True,
                              stdin=subprocess.DEVNULL, capture_output=True, timeout=60)
        if check and done.returncode:
            raise RuntimeError(f"ipfs {' '.join(arguments)}: {done.stderr.strip()}")
        return done.stdout

    def config(self, key, value):
        """Sets one value in the configuration file; counts from the next start."""
        path = self.folder / "config"
        settings = json.loads(path.read_text())
        *parents, last = key.split(".")
        place = settings
        for name in parents:
            place = place.setdefault(name, {})
        place[last] = value
        path.write_text(json.dumps(settings, indent=2))

    @property
    def api(self):
        """The API's multiaddr, as configured."""
        return json.loads((self.folder / "config").read_text())["Addresses"]["API"]

    @property
    def url(self):
        """The API's URL; only for a TCP address."""
        _, _, host, _, port = self.api.split("/")[:5]
        return f"http://{host}:{port}"

    def rpc(self, path, timeout=10, authorization=None, **arguments):
        """POSTs to /api/v0/<path>; the answer's bytes. Raises Refused, or OSError when nobody answers."""
        if self.api.startswith("/unix/"):
            connection = _UnixConnection(self.api[len("/unix"):], timeout)
        else:
            host, port = self.url[len("http://"):].split(":")
            connection = http.client.HTTPConnection(host, int(port), timeout=timeout)
        query = urllib.parse.urlencode(arguments, doseq=True)
        headers = {"Authorization": authorization} if authorization else {}
        try:
            connection.request("POST", f"/api/v0/{path}?{query}", headers=headers)
            answer = connection.getresponse()
            body = answer.read()
        except http.client.HTTPException as error:
            raise OSError(str(error)) from error
        finally:
            connection.close()
        if answer.status != 200:
            raise Refused(answer.status, body.decode(errors="replace"))
        return body

    def start(self, wait_s=30):
        self.log = open(self.folder / "log", "ab")
        self.process = subprocess.Popen([self.binary, "daemon"], env=self.env, stdout=self.log,
                                        stderr=self.log, stdin=subprocess.DEVNULL)
        give_up = time.monotonic() + wait_s
        while time.monotonic() < give_up and self.process.poll() is None:
            try:
                self.rpc("id", timeout=2)
                return self
            except Refused:
                return self  # it answers, if only to ask for a secret
            except OSError:
                time.sleep(0.05)
        tail = (self.folder / "log").read_text(errors="replace")[-2000:]
        self.stop()
        raise RuntimeError(f"ipfs daemon did not start: {tail}")

    def stop(self, wait_s=15):
        self._end(signal.SIGTERM, wait_s)

    def kill(self):
        self._end(signal.SIGKILL, 15)

    def restart(self):
        self.stop()
        return self.start()

    def _end(self, signal_number, wait_s):
        if not self.process:
            return
        if self.process.poll() is None:
            self.process.send_signal(signal_number)
            try:
                self.process.wait(wait_s)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()
        self.process = None
        self.log.close()

    def __enter__(self):
        return self.start()

    def __exit__(self, *_):
        self.stop()


def connect(a, b, wait_s=10):
    """Connects two running nodes; returns when each sees the other."""
    peers = [json.loads(node.rpc("id"))["ID"] for node in (a, b)]
    address = f"/ip4/127.0.0.1/tcp/{swarm_port(b)}/p2p/{peers[1]}"
    a.rpc("swarm/connect", arg=address)
    give_up = time.monotonic() + wait_s
    while time.monotonic() < give_up:
        if peers[1].encode() in a.rpc("swarm/peers") and peers[0].encode() in b.rpc("swarm/peers"):
            return
        time.sleep(0.05)
    raise RuntimeError("the nodes do not see each other")


def swarm_port(node):
    address = json.loads((node.folder / "config").read_text())["Addresses"]["Swarm"][0]
    return int(address.split("/")[4])
