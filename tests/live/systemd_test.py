"""The systemd units: what systemd itself says about them."""

import os
import pathlib
import re
import shutil
import subprocess
import tempfile
import unittest

UNITS = pathlib.Path(__file__).resolve().parents[2] / "scripts/systemd"
EXPOSURE_MAX = 2.0


def analyze(*arguments, environment=None):
    return subprocess.run(["systemd-analyze", *map(str, arguments)], capture_output=True, text=True, timeout=60,
                          env=os.environ | (environment or {}))


class Units(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        if not shutil.which("systemd-analyze"):
            if os.environ.get("CI"):
                raise AssertionError("systemd-analyze is missing; CI installs it")
            raise unittest.SkipTest("no systemd-analyze here")

    def setUp(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.folder = pathlib.Path(folder.name)

    def exposure(self, unit):
        said = analyze("security", "--offline=true", f"--threshold={EXPOSURE_MAX * 10:.0f}", unit)
        level = re.search(r"Overall exposure level for \S+: ([0-9.]+)", said.stdout)
        self.assertTrue(level, said.stdout + said.stderr)
        return float(level[1]), said.returncode

    def verify(self, folder, *arguments, environment=None):
        """What `verify` complains about, with a program in place of ours, which need not be installed."""
        for unit in folder.iterdir():
            if unit.suffix in (".service", ".socket"):
                text = unit.read_text().replace("ExecStart=ptwopd", "ExecStart=/bin/true")
                (self.folder / unit.name).write_text(re.sub("^Documentation=.*$", "", text, flags=re.MULTILINE))
        said = analyze(*arguments, "verify", *self.folder.glob("ptwopd.*"), environment=environment)
        return [line for line in said.stderr.splitlines() if "ptwopd" in line]

    def test_exposure(self):
        exposure, code = self.exposure(UNITS / "ptwopd.service")
        self.assertLessEqual(exposure, EXPOSURE_MAX)
        self.assertEqual(code, 0)

    def test_exposure_would_be_noticed(self):
        text = (UNITS / "ptwopd.service").read_text()
        loose = self.folder / "ptwopd.service"
        loose.write_text(re.sub("^(Protect|Private|Restrict|SystemCall|Capability).*$", "", text, flags=re.MULTILINE))
        exposure, code = self.exposure(loose)
        self.assertGreater(exposure, EXPOSURE_MAX)
        self.assertNotEqual(code, 0)

    def test_system_units(self):
        self.assertEqual(self.verify(UNITS), [])

    def test_user_units(self):
        runtime = self.folder / "runtime"
        runtime.mkdir(mode=0o700)
        self.assertEqual(self.verify(UNITS / "user", "--user", environment={"XDG_RUNTIME_DIR": str(runtime)}), [])

    def test_a_wrong_unit_would_be_noticed(self):
        wrong = self.folder / "wrong"
        wrong.mkdir()
        (wrong / "ptwopd.service").write_text("[Service]\nType=sometimes\nExecStart=ptwopd\n")
        self.assertNotEqual(self.verify(wrong), [])

    def test_kubo_and_the_socket_stay_reachable(self):
        lines = (UNITS / "ptwopd.service").read_text().splitlines()
        for line in ("Type=notify", "IPAddressDeny=any", "IPAddressAllow=localhost", "StateDirectory=ptwop",
                     "StateDirectoryMode=0700", "RuntimeDirectory=ptwop", "RuntimeDirectoryMode=0750",
                     "RestrictAddressFamilies=AF_UNIX AF_INET AF_INET6", "After=network.target ipfs.service"):
            self.assertIn(line, lines)


if __name__ == "__main__":
    unittest.main()
