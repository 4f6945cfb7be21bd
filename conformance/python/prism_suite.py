"""Beam's tests of its runner Prism, with another server in Prism's place.

    python -m pytest -p beam_pytest_plugin prism_suite.py \
        --test-pipeline-options="--prism_bin=bin/gorunner --environment_type=LOOPBACK"

The tests start the server themselves.
"""

from apache_beam.runners.portability import prism_runner_test
from apache_beam.runners.portability.fn_api_runner import fn_runner_test


class DropIn(prism_runner_test.PrismRunnerTest):
  """The tests, with those that are skipped because Prism fails them."""


for _name in ('test_custom_merging_window', 'test_custom_window_type'):
  setattr(DropIn, _name, getattr(fn_runner_test.FnApiRunnerTest, _name))
