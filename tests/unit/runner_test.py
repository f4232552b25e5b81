#!/usr/bin/python3
"""tests/run.py and support/run_suite.py: nothing that goes wrong may be counted as passed."""

import os
import pathlib
import sys
import tempfile
import unittest

TESTS = pathlib.Path(__file__).resolve().parents[1]
sys.path.insert(0, str(TESTS))
import run  # noqa: E402

DOCTEST_OK = "[doctest] test cases:  3 |  2 passed | 0 failed | 1 skipped"
DOCTEST_BAD = "[doctest] test cases:  3 |  2 passed | 1 failed | 0 skipped"

SUITE = """
import unittest

class Mixed(unittest.TestCase):
    def test_good(self):
        pass
    def test_bad(self):
        self.fail()
    def test_broken(self):
        raise KeyError(1)
    @unittest.skip("not here")
    def test_skipped(self):
        pass
    def test_two_of_three_subtests_fail(self):
        for number in range(3):
            with self.subTest(number=number):
                self.assertEqual(number, 0)

class NoFixture(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        raise KeyError(2)
    def test_never_runs(self):
        pass
"""


def outcome(*command, limit_s=20):
    done = run.Runner(dict(os.environ)).run(run.Suite("a suite", list(command), limit_s, {}))
    return done.passed, done.failed, done.skipped


def shell(script, **named):
    return outcome("sh", "-c", script, **named)


class Counting(unittest.TestCase):
    def test_doctest(self):
        self.assertEqual(shell(f"echo '{DOCTEST_OK}'"), (2, 0, 1))
        self.assertEqual(shell(f"echo '{DOCTEST_BAD}'; exit 1"), (2, 1, 0))

    def test_several_summaries_add_up(self):
        self.assertEqual(shell(f"echo '{DOCTEST_OK}'; echo '[suite] 4 passed, 0 failed, 2 skipped'"), (6, 0, 3))

    def test_a_crash(self):
        self.assertEqual(shell("kill -SEGV $$"), (0, 1, 0))
        self.assertEqual(shell(f"echo '{DOCTEST_OK}'; kill -SEGV $$"), (2, 1, 1))

    def test_a_good_summary_with_a_bad_end(self):
        self.assertEqual(shell(f"echo '{DOCTEST_OK}'; exit 1"), (2, 1, 1))

    def test_no_summary(self):
        self.assertEqual(shell("true"), (0, 1, 0))
        self.assertEqual(shell("exit 3"), (0, 1, 0))

    def test_a_program_that_is_not_there(self):
        self.assertEqual(outcome("/nowhere/at/all"), (0, 1, 0))

    def test_the_limit(self):
        self.assertEqual(shell("sleep 20 & sleep 20", limit_s=0.2), (0, 1, 0))

    def test_not_here(self):
        self.assertEqual(shell("exit 77"), (0, 0, 1))

    def test_python_suite(self):
        with tempfile.TemporaryDirectory() as folder:
            path = pathlib.Path(folder) / "mixed_test.py"
            path.write_text(SUITE)
            self.assertEqual(outcome(sys.executable, str(TESTS / "support/run_suite.py"), str(path)), (1, 4, 1))


if __name__ == "__main__":
    unittest.main()
