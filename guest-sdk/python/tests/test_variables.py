"""Granted variables of scripts."""

import os
import unittest
from unittest import mock

from wasgi.guest import variables


class Variables(unittest.TestCase):
    def setUp(self):
        # Each test has its own variables, and the process keeps its.
        patch = mock.patch.dict(os.environ, {"OF_THE_BUILD": "1"}, clear=True)
        patch.start()
        self.addCleanup(patch.stop)
        self.addCleanup(setattr, variables, "_changes", None)

    def _imported(self, granted, script):
        before = variables.begin(granted)
        script()
        variables.end(before)

    def _instance(self, granted):
        """Begins an instance to which these variables are granted."""

        def reload_environ():
            os.environ.clear()
            os.environ.update(granted)

        with mock.patch.object(os, "reload_environ", reload_environ, create=True):
            variables.refresh()
        return dict(os.environ)

    def test_a_script_is_imported_with_granted_variables_alone(self):
        seen = []
        self._imported({"A": "1"}, lambda: seen.append(dict(os.environ)))
        self.assertEqual(seen, [{"A": "1"}])

    def test_an_instance_has_its_grants_and_what_the_script_has_changed(self):
        def script():
            os.environ["OWN"] = "own"
            os.environ.setdefault("A", "default")
            os.environ["B"] = "changed"
            del os.environ["C"]

        self._imported({"A": "1", "B": "1", "C": "1"}, script)
        self.assertEqual(
            self._instance({"A": "2", "B": "2", "C": "2", "D": "2"}),
            {"A": "2", "B": "changed", "D": "2", "OWN": "own"},
        )

    def test_a_build_keeps_what_its_runtime_has_set(self):
        self.assertEqual(self._instance({"A": "1"}), {"OF_THE_BUILD": "1"})


if __name__ == "__main__":
    unittest.main()
