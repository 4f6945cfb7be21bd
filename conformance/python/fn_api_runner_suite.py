"""Beam's FnApiRunner tests against a job service that already runs.

Run it with the plugin beside it, and tell it the endpoint and the environment:

    python -m pytest -p beam_pytest_plugin fn_api_runner_suite.py \
        --test-pipeline-options="--job_endpoint=localhost:8073 --environment_type=LOOPBACK"

``Batch`` and ``Streaming`` run the same tests, the latter with the option
``--streaming``. The experiment ``pre_optimize`` of the given options is passed
on; without it the client optimizes as it does by default.
"""

from apache_beam.options.pipeline_options import DebugOptions
from apache_beam.options.pipeline_options import PipelineOptions
from apache_beam.options.pipeline_options import PortableOptions
from apache_beam.options.pipeline_options import StandardOptions
from apache_beam.runners.portability import portable_runner_test
from apache_beam.testing.test_pipeline import TestPipeline


def given_options():
  return PipelineOptions((TestPipeline.pytest_test_pipeline_options or
                          '').split())


class Endpoint(portable_runner_test.PortableRunnerTest):
  """The tests, with the endpoint and the environment of the command line."""

  # pytest must not take this class for a suite of its own.
  __test__ = False

  @classmethod
  def _create_job_endpoint(cls):
    endpoint = given_options().view_as(PortableOptions).job_endpoint
    if not endpoint:
      raise ValueError('--test-pipeline-options lacks --job_endpoint')
    return endpoint

  def create_options(self):
    options = super().create_options()
    given = given_options()
    portable = options.view_as(PortableOptions)
    # Without an environment the tests would run in the job server itself.
    portable.environment_type = (
        given.view_as(PortableOptions).environment_type or 'LOOPBACK')
    portable.environment_config = (
        given.view_as(PortableOptions).environment_config)
    debug = options.view_as(DebugOptions)
    debug.add_experiment('beam_fn_api')
    for experiment in given.view_as(DebugOptions).experiments or ():
      debug.add_experiment(experiment)
    return options


class Batch(Endpoint):
  __test__ = True


class Streaming(Endpoint):
  __test__ = True

  def create_options(self):
    options = super().create_options()
    options.view_as(StandardOptions).streaming = True
    return options
