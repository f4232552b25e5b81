"""The scripts a newcomer starts with: arguments, where paths point, and what is left when they are killed."""

import contextlib
import os
import pathlib
import re
import signal
import subprocess
import sys
import unittest

import fixtures
from daemon import BUILD, REPO, wait_until

USAGE = 64


def run(*command, **more):
    return subprocess.run([str(part) for part in command], stdin=subprocess.DEVNULL, capture_output=True, text=True,
                          timeout=60, **more)


class Arguments(unittest.TestCase):
    def test_unknown_ones_are_refused(self):
        for name in ("setup", "test", "demo", "kubo"):
            done = run(REPO / "scripts" / name, "--frobnicate")
            self.assertEqual((done.returncode, done.stdout), (USAGE, ""), name)
            self.assertIn("--frobnicate", done.stderr)
            self.assertEqual(run(REPO / "scripts" / name, "--help").returncode, 0)

    def test_setup_says_what_is_wrong(self):
        for arguments in (["--for"], ["--for", "nonsense", "--packages-only"], ["--builddir"]):
            done = run(REPO / "scripts/setup", *arguments)
            self.assertEqual(done.returncode, USAGE, done.stderr)
            self.assertTrue(done.stderr.startswith("setup: --"), done.stderr)


class Started(unittest.TestCase):
    """Starts a script in a folder of its own, and reads what it prints."""

    def setUp(self):
        stack = contextlib.ExitStack()
        self.addCleanup(stack.close)
        self.folder = fixtures.temporary_folder(stack)

    def start(self, *command, **environment):
        self.output = self.folder / "output"
        with open(self.output, "wb") as output:
            process = subprocess.Popen([str(part) for part in command], cwd=self.folder, stdin=subprocess.DEVNULL,
                                       stdout=output, stderr=output, start_new_session=True,
                                       env=os.environ | {"HOME": str(self.folder)} | environment)
        self.addCleanup(self.end, process)
        return process

    @staticmethod
    def end(process):
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()

    def says(self, pattern, timeout_s=30):
        return wait_until(lambda: re.search(pattern, self.output.read_text()), timeout_s)


class Kubo(Started):
    def test_only_a_go_that_can_build_it_is_used(self):
        """Not one that is too old, and not one that is too new for the pinned modules."""
        for version in ("1.26.4", "1.27.0"):
            go = self.folder / version / "go"
            go.parent.mkdir()
            go.write_text(f"#!/bin/sh\necho go version go{version} linux/amd64\n")
            go.chmod(0o755)
            # Without a Kubo on PATH, and with an empty cache. What it then gets or builds is not waited for.
            process = self.start(REPO / "scripts/kubo", PATH=f"{go.parent}:/usr/sbin:/usr/bin:/sbin:/bin",
                                 XDG_CACHE_HOME=str(self.folder / "cache"), PTWOP_IPFS="")
            self.assertNotIn(str(go), self.says("(Building Kubo with|getting one from PyPI).*")[0])
            self.end(process)


class Run(Started):
    def setUp(self):
        super().setUp()
        stamp = REPO / "build/.setup-options"
        if BUILD != REPO / "build" or not stamp.exists():
            self.skipTest("scripts/run builds in build/, and that is not what is tested")
        # As it was built: other options would build all of it again.
        self.ci = {"CI": "true"} if "-Dwerror=true" in stamp.read_text() else {"CI": ""}

    def test_from_another_folder_without_kubo(self):
        process = self.start(REPO / "scripts/run", "--kubo", "none", "--data", "mine", **self.ci,
                             XDG_RUNTIME_DIR="", XDG_STATE_HOME="")
        self.says("without Kubo, as asked")
        ctl = self.says(r"  (build/\S+ --socket \S+) kv get")[1].split()
        self.assertTrue((self.folder / "mine/rpc.sock").exists())
        done = run(*ctl, "system", "ready", cwd=REPO)
        self.assertEqual((done.returncode, done.stderr), (0, ""))
        process.terminate()
        self.assertEqual(process.wait(10), 0)


class Demo(Started):
    def setUp(self):
        super().setUp()
        self.environment = {"PTWOP_IPFS": fixtures.needs_kubo(), "TMPDIR": str(self.folder)}

    def keep(self):
        """A demo that runs, and the pids of the four that it started."""
        process = self.start(sys.executable, REPO / "scripts/demo.py", "--keep", **self.environment)
        self.says("Ctrl-C here stops")
        started = {int(path.name) for path in pathlib.Path("/proc").iterdir()
                   if path.name.isdigit() and self.belongs(path) and path.name != str(process.pid)}
        return process, {pid for pid in started if self.is_program(pid)}

    def belongs(self, path):
        with contextlib.suppress(OSError):
            return str(self.folder).encode() in (path / "environ").read_bytes()

    @staticmethod
    def is_program(pid):
        with contextlib.suppress(OSError):
            return pathlib.Path(f"/proc/{pid}/comm").read_text().startswith(("ipfs", "ptwopd"))

    def all_gone(self, pids):
        wait_until(lambda: not any(map(self.is_program, pids)), 20)
        wait_until(lambda: not list(self.folder.glob("ptwop-demo-*")), 20)

    def test_shows_writes_and_ends(self):
        done = run(sys.executable, REPO / "scripts/demo.py", env=os.environ | self.environment)
        self.assertEqual(done.returncode, 0, done.stdout + done.stderr)
        self.assertEqual(len(re.findall("'hello [1-5]': on .'s disk after", done.stdout)), 10)
        self.all_gone([])

    def test_leaves_nothing(self):
        for number, code in ((signal.SIGINT, 0), (signal.SIGTERM, 128 + signal.SIGTERM), (signal.SIGKILL, -9)):
            with self.subTest(number=number):
                process, pids = self.keep()
                self.assertEqual(len(pids), 4)
                process.send_signal(number)
                self.assertEqual(process.wait(20), code)
                self.all_gone(pids)

    def test_a_daemon_that_ends(self):
        process, pids = self.keep()
        daemons = [pid for pid in pids if pathlib.Path(f"/proc/{pid}/comm").read_text().strip() == "ptwopd"]
        os.kill(daemons[0], signal.SIGKILL)
        self.assertEqual(process.wait(20), 1)
        self.says("A daemon has ended")
        self.all_gone(pids)


if __name__ == "__main__":
    unittest.main()
