#!/usr/bin/python3
"""Runs one Python suite (a file of unittest cases): `run_suite.py FILE [name ...]`.

unittest's own summary cannot be added up: skipped classes and failing subtests are counted apart from tests. This one
counts every test once and ends with `[suite] N passed, N failed, N skipped`, which tests/run.py reads.
"""

import importlib.util
import pathlib
import sys
import time
import unittest

SUPPORT = pathlib.Path(__file__).resolve().parent


class Result(unittest.TextTestResult):
    """One outcome a test: the worst of what its subtests and fixtures said."""

    RANK = {"passed": 0, "skipped": 1, "failed": 2}

    def __init__(self, *arguments):
        super().__init__(*arguments)
        self.outcomes = {}

    def _note(self, test, outcome):
        # A subtest counts as the test that holds it.
        name = getattr(test, "test_case", test).id()
        if self.RANK[outcome] >= self.RANK[self.outcomes.get(name, "passed")]:
            self.outcomes[name] = outcome

    def startTest(self, test):
        super().startTest(test)
        self.started_at = time.monotonic()

    def stopTest(self, test):
        super().stopTest(test)
        outcome = self.outcomes.get(test.id(), "failed")
        print(f"  {outcome:8}{time.monotonic() - self.started_at:7.2f} s  {test.id()}", flush=True)

    def addSuccess(self, test):
        super().addSuccess(test)
        self._note(test, "passed")

    def addSkip(self, test, reason):
        super().addSkip(test, reason)
        self._note(test, "skipped")
        print(f"  skipped: {test.id()}: {reason}", flush=True)

    def addFailure(self, test, error):
        super().addFailure(test, error)
        self._note(test, "failed")

    def addError(self, test, error):
        super().addError(test, error)
        self._note(test, "failed")

    def addSubTest(self, test, subtest, error):
        super().addSubTest(test, subtest, error)
        if error:
            self._note(test, "failed")

    def addExpectedFailure(self, test, error):
        super().addExpectedFailure(test, error)
        self._note(test, "passed")

    def addUnexpectedSuccess(self, test):
        super().addUnexpectedSuccess(test)
        self._note(test, "failed")

    def count(self, outcome):
        return list(self.outcomes.values()).count(outcome)


def main(path, *names):
    path = pathlib.Path(path).resolve()
    sys.path[:0] = [str(SUPPORT), str(path.parent)]
    spec = importlib.util.spec_from_file_location(path.stem, path)
    module = importlib.util.module_from_spec(spec)
    sys.modules[path.stem] = module
    spec.loader.exec_module(module)
    loader = unittest.defaultTestLoader
    suite = loader.loadTestsFromNames(names, module) if names else loader.loadTestsFromModule(module)
    result = unittest.TextTestRunner(stream=sys.stdout, verbosity=0, resultclass=Result).run(suite)
    print(f"[suite] {result.count('passed')} passed, {result.count('failed')} failed, {result.count('skipped')} skipped")
    return 1 if result.count("failed") else 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
