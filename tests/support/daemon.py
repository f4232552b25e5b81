"""A ptwopd under test, and a JSON-RPC client that holds every request and reply against rpc-schema/.

Standard library only; with python3-jsonschema installed every call is validated (scripts/test installs it).
"""

import contextlib
import itertools
import json
import os
import pathlib
import signal
import socket
import subprocess
import time

REPO = pathlib.Path(__file__).resolve().parents[2]
BUILD = pathlib.Path(os.environ.get("PTWOP_BUILD", REPO / "build"))
PTWOPD = BUILD / "src/app/ptwopd"
PTWOPCTL = BUILD / "src/ctl/ptwopctl"
STOP_LIMIT_S = 5.0


class RpcError(Exception):
    """The daemon answered with an error object."""

    def __init__(self, error):
        super().__init__(f"{error['code']}: {error['message']}")
        self.code = error["code"]
        self.message = error["message"]
        self.data = error.get("data")


class Schemas:
    """What rpc-schema/ says of requests and replies. Raises on what does not fit; checks nothing without jsonschema."""

    # Any method may answer with these, whether its file lists them or not.
    COMMON_ERRORS = {"internal", "overloaded", "not_permitted", "starting", "shutting_down"}

    def __init__(self, folder=REPO / "rpc-schema"):
        self.methods = {path.stem: json.loads(path.read_text()) for path in folder.glob("*.*.json")}
        self.errors = json.loads((folder / "errors.json").read_text())["errors"]
        self._validators = {}
        try:
            import jsonschema
        except ImportError:
            self._jsonschema = None
        else:
            self._jsonschema = jsonschema
            self._resolver = jsonschema.RefResolver(folder.as_uri() + "/", {})

    def _check(self, value, schema):
        key = id(schema)  # the schemas live as long as we do
        if key not in self._validators:
            self._validators[key] = self._jsonschema.Draft202012Validator(schema, resolver=self._resolver)
        self._validators[key].validate(value)

    def check_request(self, method, params):
        """Named parameters of a request that is meant to be right."""
        if not self._jsonschema:
            return
        known = {param["name"]: param for param in self.methods[method]["params"]}
        unknown = set(params) - set(known)
        assert not unknown, f"{method}: parameters without a schema: {sorted(unknown)}"
        for name, param in known.items():
            given = name in params and (params[name] is not None or name == "value")
            assert given or not param["required"], f"{method}: {name} is required"
            if given:
                self._check(params[name], param["schema"])

    def check_result(self, method, result):
        if self._jsonschema:
            self._check(result, self.methods[method]["result"]["schema"])

    def check_error(self, method, error):
        kind = error["data"]["kind"]
        allowed = self.COMMON_ERRORS | set(self.methods.get(method, {"errors": ["method_not_found"]})["errors"])
        assert kind in allowed, f"{method} answers {kind}, which its schema does not list"
        described = self.errors[kind]
        assert error["code"] == described["code"], f"{kind} has code {error['code']}, not {described['code']}"
        assert error["data"]["retryable"] == described["data"]["retryable"], error
        assert isinstance(error["message"], str) and error["message"], error


class Connection:
    """One connection to the socket. Calls validate; `send` and `read_line` are for what no client should do."""

    def __init__(self, path, schemas=None, timeout_s=30.0):
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.socket.settimeout(timeout_s)
        try:
            self.socket.connect(str(path))
        except OSError:
            self.socket.close()
            raise
        self.schemas = schemas
        self.ids = itertools.count(1)
        self.unread = bytearray()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    def close(self):
        self.socket.close()

    def send(self, data):
        """Raw bytes, as they are."""
        self.socket.sendall(data)

    def shut_down_sending(self):
        self.socket.shutdown(socket.SHUT_WR)

    def read_line(self):
        """The next line without its end; None where the daemon closed the connection."""
        searched = 0
        while (end := self.unread.find(b"\n", searched)) < 0:
            searched = len(self.unread)
            chunk = self.socket.recv(1 << 20)
            if not chunk:
                assert not self.unread, f"closed in the middle of a line: {bytes(self.unread[:200])!r}"
                return None
            self.unread += chunk
        line = bytes(self.unread[:end])
        del self.unread[: end + 1]
        return line

    def read_reply(self):
        """The next line as a JSON document (an object, or a list for a batch)."""
        line = self.read_line()
        if line is None:
            raise ConnectionError("the daemon closed the connection")
        return json.loads(line)

    def exchange(self, document):
        """Sends one document that is JSON, valid or not as a request, and reads one reply. Validates nothing."""
        self.send(json.dumps(document).encode() + b"\n")
        return self.read_reply()

    def _outcome(self, method, reply):
        assert reply.get("jsonrpc") == "2.0" and ("result" in reply) != ("error" in reply), reply
        if "error" in reply:
            if self.schemas:
                self.schemas.check_error(method, reply["error"])
            return RpcError(reply["error"])
        if self.schemas:
            self.schemas.check_result(method, reply["result"])
        return reply["result"]

    def pipeline(self, calls, window=64, check_requests=True):
        """Runs [(method, params)], up to `window` in flight. Returns results, or RpcError objects, in order of calls."""
        calls = list(calls)
        outcomes = [None] * len(calls)
        waiting = {}
        started = 0
        while started < len(calls) or waiting:
            lines = bytearray()
            while started < len(calls) and len(waiting) < window:
                method, params = calls[started]
                if self.schemas and check_requests:
                    self.schemas.check_request(method, params)
                request_id = next(self.ids)
                waiting[request_id] = started
                request = {"jsonrpc": "2.0", "id": request_id, "method": method, "params": params}
                lines += json.dumps(request, separators=(",", ":")).encode() + b"\n"
                started += 1
            if lines:
                self.send(lines)
            reply = self.read_reply()
            index = waiting.pop(reply["id"])
            outcomes[index] = self._outcome(calls[index][0], reply)
        return outcomes

    def call(self, method, /, **params):
        """The result, or raises RpcError."""
        (outcome,) = self.pipeline([(method, params)])
        if isinstance(outcome, RpcError):
            raise outcome
        return outcome

    def refusal(self, method, /, **params):
        """The RpcError for a request that may be wrong; fails where it is accepted."""
        (outcome,) = self.pipeline([(method, params)], check_requests=False)
        assert isinstance(outcome, RpcError), f"{method} accepted {params}"
        return outcome


class Daemon:
    """ptwopd with its data, socket and log in `folder`. `kubo` is None (offline), an API address, or a KuboNode."""

    def __init__(self, folder, kubo=None, extra=(), binary=PTWOPD, environment=None):
        self.folder = pathlib.Path(folder)
        self.folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        self.data = self.folder / "data"
        self.socket_path = self.folder / "rpc.sock"
        self.log_path = self.folder / "ptwopd.log"
        self.kubo = kubo
        self.extra = list(extra)
        self.binary = binary
        self.environment = environment or {}
        self.schemas = Schemas()
        self.process = None
        self._connection = None

    def __enter__(self):
        return self.start()

    def __exit__(self, *failure):
        if self.running():
            # A failure on the way out must not hide the one that brought us here.
            if failure[0]:
                self.kill()
            else:
                self.stop()

    def running(self):
        return self.process is not None and self.process.poll() is None

    def command(self):
        kubo = "none" if self.kubo is None else getattr(self.kubo, "api", self.kubo)
        return [str(self.binary), "--data", str(self.data), "--socket", str(self.socket_path), "--kubo", str(kubo),
                *map(str, self.extra)]

    def start(self, ready=True, timeout_s=20.0):
        """Starts the program; with `ready` returns once system.ready says so."""
        assert not self.running()
        # The user's own settings and Kubo stay out of it.
        environment = {name: value for name, value in os.environ.items()
                       if not name.startswith(("PTWOP_", "LISTEN_")) and name not in ("NOTIFY_SOCKET", "IPFS_PATH")}
        environment.update(XDG_CONFIG_HOME=str(self.folder / "config"), IPFS_PATH=str(self.folder / "no-kubo"))
        environment.update(self.environment)
        with open(self.log_path, "ab") as log:
            self.process = subprocess.Popen(self.command(), stdin=subprocess.DEVNULL, stdout=log, stderr=log,
                                            env=environment)
        if ready:
            try:
                self.wait_ready(timeout_s)
            except BaseException:
                self.kill()
                raise
        return self

    def wait_ready(self, timeout_s=20.0):
        deadline = time.monotonic() + timeout_s
        while True:
            if not self.running():
                raise AssertionError(f"ptwopd ended with {self.process.returncode}:\n{self.log_tail()}")
            with contextlib.suppress(OSError, RpcError):
                if self.call("system.ready")["ready"]:
                    return
            assert time.monotonic() < deadline, f"not ready after {timeout_s} s:\n{self.log_tail()}"
            time.sleep(0.01)

    def log_tail(self, size=4000):
        return self.log_path.read_bytes()[-size:].decode(errors="replace")

    def _disconnect(self):
        if self._connection:
            self._connection.close()
            self._connection = None

    def stop(self, with_signal=signal.SIGTERM):
        """Asks it to end; fails unless it does so cleanly and in time."""
        self._disconnect()
        self.process.send_signal(with_signal)
        try:
            code = self.process.wait(STOP_LIMIT_S)
        except subprocess.TimeoutExpired:
            self.kill()
            raise AssertionError(f"still running {STOP_LIMIT_S} s after signal {with_signal}:\n{self.log_tail()}") from None
        assert code == 0, f"ended with {code} after signal {with_signal}:\n{self.log_tail()}"

    def kill(self):
        """kill -9."""
        self._disconnect()
        if self.running():
            self.process.kill()
        if self.process:
            self.process.wait()

    def restart(self):
        self.stop()
        return self.start()

    def connect(self, validate=True, timeout_s=30.0):
        return Connection(self.socket_path, self.schemas if validate else None, timeout_s)

    def connection(self):
        """The connection that `call` and `pipeline` use; made when first needed and again after it broke."""
        if self._connection is None:
            self._connection = self.connect()
        return self._connection

    def _on_connection(self, use):
        try:
            return use(self.connection())
        except OSError:
            self._disconnect()
            raise

    def call(self, method, /, **params):
        return self._on_connection(lambda connection: connection.call(method, **params))

    def refusal(self, method, /, **params):
        return self._on_connection(lambda connection: connection.refusal(method, **params))

    def pipeline(self, calls, window=64):
        return self._on_connection(lambda connection: connection.pipeline(calls, window))

    def resident_bytes(self):
        pages = int(pathlib.Path(f"/proc/{self.process.pid}/statm").read_text().split()[1])
        return pages * os.sysconf("SC_PAGE_SIZE")

    def ctl(self, *arguments, stdin=None, timeout_s=30.0):
        """Runs ptwopctl against this daemon; returns the CompletedProcess with text output."""
        return subprocess.run([str(PTWOPCTL), "--socket", str(self.socket_path), *map(str, arguments)], input=stdin,
                              capture_output=True, text=True, timeout=timeout_s)


def wait_until(condition, timeout_s=10.0, interval_s=0.01):
    """The first true value of `condition()`; fails after `timeout_s`."""
    deadline = time.monotonic() + timeout_s
    while not (value := condition()):
        assert time.monotonic() < deadline, f"not within {timeout_s} s"
        time.sleep(interval_s)
    return value
