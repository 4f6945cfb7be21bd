"""A pytest plugin that lets Beam's tests, as the wheel ships them, run against
an endpoint.

The wheel contains the tests but not the configuration they are run with. This
plugin stands in for it: it hands ``--test-pipeline-options`` to Beam's
``TestPipeline``, knows Beam's markers and turns on the type checks that the
tests expect. In addition ``--outcomes FILE`` writes one JSON object a line for
each test as soon as it is over, so that nothing is lost when a test takes the
whole process down: ``{"id", "name", "outcome", "reason", "seconds"}``, where
outcome is ``start``, ``pass``, ``fail`` or ``skip``.
"""

import json

import pytest

MARKERS = (
    'it_postcommit',
    'it_validatesrunner',
    'no_sickbay_batch',
    'no_sickbay_streaming',
    'no_xdist',
    'uses_dill',
    'uses_mock_api',
    'uses_testcontainer',
    'uses_tensorflow',
    'uses_torch',
    'uses_keras',
    'uses_lightgbm',
    'uses_transformers',
    'uses_pyarrow',
    'uses_gcp_java_expansion_service',
    'uses_io_java_expansion_service',
    'uses_java_expansion_service',
    'uses_python_expansion_service',
    'uses_transform_service',
    'xlang_transforms',
    'xlang_wrapper_generation',
)


def pytest_addoption(parser):
  group = parser.getgroup('beam')
  group.addoption(
      '--test-pipeline-options',
      default='',
      help='pipeline options for the tests, in one argument')
  group.addoption(
      '--outcomes',
      default='',
      metavar='FILE',
      help='write the outcome of each test to FILE, as JSON lines')
  group.addoption(
      '--not-applicable',
      action='append',
      default=[],
      metavar='NAME=REASON',
      help='skip a test, named as in the outcomes')


def pytest_configure(config):
  # Imported late: importing Beam takes a second, which --help need not wait for.
  from apache_beam.options import pipeline_options
  from apache_beam.testing.test_pipeline import TestPipeline

  for marker in MARKERS:
    config.addinivalue_line('markers', f'{marker}: a marker of Beam')
  TestPipeline.pytest_test_pipeline_options = config.getoption(
      '--test-pipeline-options')
  pipeline_options.enable_all_additional_type_checks()
  path = config.getoption('--outcomes')
  if path:
    config.pluginmanager.register(Outcomes(path), 'outcomes')


def pytest_collection_modifyitems(config, items):
  reasons = dict(
      option.split('=', 1) for option in config.getoption('--not-applicable'))
  for item in items:
    reason = reasons.get(short_name(item.nodeid))
    if reason:
      item.add_marker(pytest.mark.skip(reason=reason))


class Outcomes:
  """Writes outcomes as they become known, one line each."""

  def __init__(self, path):
    self._file = open(path, 'a', encoding='utf-8', buffering=1)

  def _write(self, **fields):
    self._file.write(json.dumps(fields) + '\n')

  def pytest_runtest_logstart(self, nodeid):
    self._write(id=nodeid, name=short_name(nodeid), outcome='start')

  @pytest.hookimpl(trylast=True)
  def pytest_runtest_logreport(self, report):
    if report.when == 'call' or report.skipped:
      pass
    elif report.passed:
      return  # set-up or tear-down without a fault says nothing
    outcome = {'passed': 'pass', 'skipped': 'skip', 'failed': 'fail'}
    self._write(
        id=report.nodeid,
        name=short_name(report.nodeid),
        outcome=outcome[report.outcome],
        reason=reason(report),
        seconds=report.duration)

  def pytest_unconfigure(self):
    self._file.close()


def short_name(nodeid):
  """Returns Class.method (or module.function): no path, no parameter noise."""
  path, _, rest = nodeid.partition('::')
  module = path.rsplit('/', 1)[-1].removesuffix('.py')
  name = rest.replace('::', '.')
  return name if '.' in name else f'{module}.{name}'


def reason(report):
  """Returns one line that says why a test did not pass."""
  if report.passed:
    return ''
  if report.skipped and isinstance(report.longrepr, tuple):
    return one_line(report.longrepr[2].removeprefix('Skipped: '))
  crash = getattr(report.longrepr, 'reprcrash', None)
  return one_line(crash.message if crash else str(report.longrepr))


def one_line(text, limit=200):
  """Returns the line of text that tells most, cut to limit characters."""
  lines = [line.strip() for line in text.splitlines() if line.strip()]
  if not lines:
    return ''
  for i, line in enumerate(lines):
    # The server's own words in an error of gRPC, in one line or more.
    if line.startswith('details = '):
      details = ' '.join(lines[i:i + 2]) if line.endswith(':') else line
      return details.replace('details = ', 'server: ').replace('"', '')[:limit]
  # A failed pipeline's message ends with the user's exception.
  line = lines[-1] if 'RuntimeError' in lines[0] else lines[0]
  return line[:limit]
