#!/usr/bin/python3
"""Runs the suites and adds up what they say: `tests/run.py [--build DIR] [--sanitized DIR]... [NAME]...`.

A suite is a test of meson in the build folder, one of its programs in a folder built with a sanitizer, or a file
tests/<live|kubo|crash|sim|fuzz>/*_test.py. NAMEs select suites by substring. Prints one line a suite, the output of those
that failed, and last `N passed, N failed, N skipped`. Ends with 1 where anything failed or nothing passed.
"""

import argparse
import concurrent.futures
import dataclasses
import json
import os
import pathlib
import re
import signal
import subprocess
import sys
import threading
import time

REPO = pathlib.Path(__file__).resolve().parents[1]
PYTHON_KINDS = ("live", "kubo", "crash", "sim", "fuzz")
PYTHON_LIMIT_S = 300
DOCTEST = re.compile(rb"\[doctest\] test cases: +(\d+) \| +(\d+) passed \| +(\d+) failed \| +(\d+) skipped")
PYTHON = re.compile(rb"^\[suite\] (\d+) passed, (\d+) failed, (\d+) skipped$", re.MULTILINE)
OUTPUT_SHOWN_BYTES = 20_000
SANITIZED_FACTOR = 5  # how much longer a suite may take there
MESON_SKIP = 77  # the exit code by which a test says that it cannot run here


@dataclasses.dataclass
class Suite:
    name: str
    command: list
    limit_s: float
    environment: dict
    folder: pathlib.Path = REPO
    alone: bool = False  # must not share the machine with another suite


@dataclasses.dataclass
class Outcome:
    passed: int = 0
    failed: int = 0
    skipped: int = 0
    note: str = ""
    output: bytes = b""
    seconds: float = 0.0


def meson_suites(build, label="", compiled_only=False):
    """The tests that meson knows in a build folder."""
    listed = json.loads(subprocess.run(["meson", "introspect", "--tests", str(build)], check=True,
                                       capture_output=True).stdout)
    for test in listed:
        if compiled_only and build not in pathlib.Path(test["cmd"][0]).parents:
            continue
        limit_s = (test["timeout"] or PYTHON_LIMIT_S) * (SANITIZED_FACTOR if compiled_only else 1)
        yield Suite(test["name"] + label, test["cmd"], limit_s, test["env"],
                    pathlib.Path(test["workdir"] or build), not test["is_parallel"])


def python_suites():
    """A file may set its own limit with a line `TIME_LIMIT_S = 600`."""
    for kind in PYTHON_KINDS:
        for path in sorted((REPO / "tests" / kind).glob("*_test.py")):
            limit = re.search(r"^TIME_LIMIT_S = (\d+)", path.read_text(), re.MULTILINE)
            yield Suite(f"{kind} {path.stem.removesuffix('_test')}",
                        [sys.executable, str(REPO / "tests/support/run_suite.py"), str(path)],
                        int(limit[1]) if limit else PYTHON_LIMIT_S, {}, alone=True)


class Runner:
    def __init__(self, environment):
        self.environment = environment
        self.processes = set()
        self.lock = threading.Lock()
        self.stopped = False

    def stop(self):
        """Ends what runs, with the daemons and Kubo nodes that it started."""
        with self.lock:
            self.stopped = True
            for process in self.processes:
                os.killpg(process.pid, signal.SIGKILL)

    def _execute(self, suite):
        """(exit code or None where the limit was reached, output)"""
        with self.lock:
            if self.stopped:
                return -signal.SIGINT, b""
            process = subprocess.Popen(suite.command, cwd=suite.folder, env=self.environment | suite.environment,
                                       stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                                       start_new_session=True)
            self.processes.add(process)
        try:
            output, _ = process.communicate(timeout=suite.limit_s)
            return process.returncode, output
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            return None, process.communicate()[0]
        finally:
            with self.lock:
                self.processes.discard(process)

    def run(self, suite):
        started = time.monotonic()
        try:
            code, output = self._execute(suite)
        except OSError as error:
            return Outcome(failed=1, note=f"cannot be started: {error}")
        outcome = read_counts(output)
        outcome.output = output
        outcome.seconds = time.monotonic() - started
        if code is None:
            outcome.failed += 1
            outcome.note = f"stopped at its limit of {suite.limit_s} s"
        elif code < 0:
            outcome.failed += 1
            outcome.note = f"ended by signal {-code}"
        elif code == MESON_SKIP and not outcome.passed + outcome.failed:
            outcome.skipped = max(1, outcome.skipped)
            outcome.note = output.strip().rsplit(b"\n", 1)[-1].decode(errors="replace")
        elif code and not outcome.failed:
            outcome.failed = 1
            outcome.note = f"ended with {code}"
        elif not outcome.passed + outcome.failed + outcome.skipped:
            outcome.failed = 1
            outcome.note = "no test ran, or no summary"
        return outcome


def read_counts(output):
    """The sums of all summaries in the output: doctest's and run_suite.py's."""
    outcome = Outcome()
    for _, passed, failed, skipped in DOCTEST.findall(output):
        outcome.passed += int(passed)
        outcome.failed += int(failed)
        outcome.skipped += int(skipped)
    for passed, failed, skipped in PYTHON.findall(output):
        outcome.passed += int(passed)
        outcome.failed += int(failed)
        outcome.skipped += int(skipped)
    return outcome


def show(suite, outcome):
    word = "FAILED" if outcome.failed else "ok" if outcome.passed else "skipped"
    counts = f"{outcome.passed} passed"
    counts += f", {outcome.failed} failed" if outcome.failed else ""
    counts += f", {outcome.skipped} skipped" if outcome.skipped else ""
    note = f" ({outcome.note})" if outcome.note else ""
    print(f"{word:8}{outcome.seconds:7.1f} s  {suite.name}: {counts}{note}", flush=True)
    if outcome.failed:
        text = outcome.output[-OUTPUT_SHOWN_BYTES:].decode(errors="replace")
        print(f"----- {suite.name}\n{text.rstrip()}\n-----", flush=True)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--build", type=pathlib.Path, default=REPO / "build", help="whose programs are tested")
    parser.add_argument("--sanitized", action="append", type=pathlib.Path, default=[], help="run its test programs too")
    parser.add_argument("--list", action="store_true", help="name the suites and end")
    parser.add_argument("names", nargs="*", help="run the suites whose name contains one of these")
    arguments = parser.parse_args()
    build = arguments.build.resolve()

    suites = list(meson_suites(build))
    for folder in arguments.sanitized:
        suites += meson_suites(folder.resolve(), f" [{folder.name}]", compiled_only=True)
    suites += python_suites()
    if arguments.names:
        suites = [suite for suite in suites if any(name in suite.name for name in arguments.names)]
    if arguments.list:
        print("\n".join(suite.name for suite in suites))
        return 0

    runner = Runner(os.environ | {"PTWOP_BUILD": str(build), "PYTHONDONTWRITEBYTECODE": "1"})
    total = Outcome()

    def account(suite, outcome):
        show(suite, outcome)
        total.passed += outcome.passed
        total.failed += outcome.failed
        total.skipped += outcome.skipped

    for name in (signal.SIGINT, signal.SIGTERM):
        signal.signal(name, lambda *_: runner.stop())
    with concurrent.futures.ThreadPoolExecutor(os.cpu_count()) as pool:
        shared = {pool.submit(runner.run, suite): suite for suite in suites if not suite.alone}
        for future in concurrent.futures.as_completed(shared):
            account(shared[future], future.result())
    for suite in suites:
        if suite.alone:
            account(suite, runner.run(suite))

    print(f"{total.passed} passed, {total.failed} failed, {total.skipped} skipped")
    return 0 if total.passed and not total.failed else 1


if __name__ == "__main__":
    sys.exit(main())
