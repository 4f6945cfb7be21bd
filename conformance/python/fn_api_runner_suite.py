"""Beam's FnApiRunner tests against a job service that already runs.

Run it with the plugin beside it, and tell it the endpoint and the environment:

    python -m pytest -p beam_pytest_plugin fn_api_runner_suite.py \
        --test-pipeline-options="--job_endpoint=localhost:8073 --environment_type=LOOPBACK"

The options ``--streaming`` and ``--sdk_worker_parallelism`` and the experiments
that are given are passed on to every pipeline.
"""

from apache_beam.options.pipeline_options import DebugOptions
from apache_beam.options.pipeline_options import PipelineOptions
from apache_beam.options.pipeline_options import PortableOptions
from apache_beam.options.pipeline_options import StandardOptions
from apache_beam.runners.portability import portable_runner_test
from apache_beam.runners.portability.fn_api_runner import fn_runner_test
from apache_beam.testing.test_pipeline import TestPipeline
import apache_beam as beam


def given_options():
  return PipelineOptions((TestPipeline.pytest_test_pipeline_options or
                          '').split())


class Endpoint(portable_runner_test.PortableRunnerTest):
  """The tests, with the endpoint and the environment of the command line."""
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
    portable.sdk_worker_parallelism = (
        given.view_as(PortableOptions).sdk_worker_parallelism)
    options.view_as(StandardOptions).streaming = (
        given.view_as(StandardOptions).streaming)
    debug = options.view_as(DebugOptions)
    debug.add_experiment('beam_fn_api')
    for experiment in given.view_as(DebugOptions).experiments or ():
      debug.add_experiment(experiment)
    return options

  def create_pipeline(self, is_drain=False):
    options = self.create_options()
    if is_drain:
      # The job is drained as soon as it runs.
      options = PipelineOptions.from_dictionary({
          **options.get_all_options(drop_default=True), 'drain': True
      })
    return beam.Pipeline(self.get_runner(), options)


# Portable runners are not expected to drain: their suite skips these tests.
for _name in (
    'test_draining_sdf_with_sdf_initiated_checkpointing',
    'test_sdf_default_truncate_when_bounded',
    'test_sdf_default_truncate_when_unbounded',
    'test_sdf_with_truncate',
):
  setattr(Endpoint, _name, getattr(fn_runner_test.FnApiRunnerTest, _name))
