"""Our own pipelines in Python: each checks its own result.

    python programs.py PROGRAM [--jobs=N] [pipeline options]

runs one of the programs below, N jobs of it at the same time, and prints one
JSON object a line for each: ``{"program", "state", "error", "metrics"}``.
"""

import argparse
import json
import sys

import apache_beam as beam
from apache_beam import coders
from apache_beam.metrics import Metrics
from apache_beam.options.pipeline_options import PipelineOptions
from apache_beam.testing.util import assert_that
from apache_beam.testing.util import equal_to
from apache_beam.transforms import window


def tiny(p):
  grouped = (
      p
      | beam.Create(range(4))
      | beam.Map(lambda i: ('even' if i % 2 == 0 else 'odd', 2 * i))
      | beam.GroupByKey()
      | beam.MapTuple(lambda k, vs: (k, sorted(vs))))
  assert_that(grouped, equal_to([('even', [0, 4]), ('odd', [2, 6])]))


class Unwelcome(Exception):
  """Has a name of its own, which must reach the client."""


def fail_at_three(i):
  if i == 3:
    raise Unwelcome('three is not welcome (error 4711)')
  return i


class Composite(beam.PTransform):
  def expand(self, pcoll):
    return pcoll | 'Inner' >> beam.Map(fail_at_three)


def usererror(p):
  _ = p | beam.Create(range(5)) | 'Outer' >> Composite()


class NoBytes(str):
  """A type whose coder writes nothing."""


class NoBytesCoder(coders.Coder):
  def encode(self, value):
    return b''

  def decode(self, encoded):
    return 'the key'

  def is_deterministic(self):
    return True

  def to_type_hint(self):
    return NoBytes


coders.registry.register_coder(NoBytes, NoBytesCoder)


def empty_keys(p):
  """Groups by keys that encode to no bytes at all."""
  grouped = (
      p
      | beam.Create(range(3))
      | beam.Map(lambda i: ('the key', i)).with_output_types(
          beam.typehints.Tuple[NoBytes, int])
      | beam.GroupByKey()
      | beam.MapTuple(lambda k, vs: (k, sorted(vs))))
  assert_that(grouped, equal_to([('the key', [0, 1, 2])]))


FAT_BYTES = 1 << 10
FAT_COUNT = 20_000


def hot_key(p):
  """Reads, twice, an iterable that is larger than any message."""
  def digest(key, values):
    first = sum(len(v) * v[0] for v in values)
    second = sum(len(v) * v[0] for v in values)
    return key, first == second, second

  digests = (
      p
      | beam.Create(range(FAT_COUNT))
      | beam.Map(lambda i: ('hot', bytes([i % 256]) * FAT_BYTES))
      | beam.GroupByKey()
      | beam.MapTuple(digest))
  total = sum(FAT_BYTES * (i % 256) for i in range(FAT_COUNT))
  assert_that(digests, equal_to([('hot', True, total)]))


def side_inputs(p):
  """Reads one collection in every shape a side input can have."""
  root = p | beam.Create(range(4))
  squares = root | beam.Map(lambda i: (i, i * i))
  nothing = root | beam.Filter(lambda i: False)
  seen = root | 'Read' >> beam.Map(
      lambda i, d, l, it, one, default: (i, d[i], sorted(l), sum(it), one, default),
      beam.pvalue.AsDict(squares),
      beam.pvalue.AsList(root),
      beam.pvalue.AsIter(root),
      beam.pvalue.AsSingleton(root | beam.CombineGlobally(sum)),
      beam.pvalue.AsSingleton(nothing, default_value='none'))
  assert_that(
      seen,
      equal_to([(i, i * i, [0, 1, 2, 3], 6, 6, 'none') for i in range(4)]))


def sessions(p):
  grouped = (
      p
      | beam.Create([0, 8, 20, 2, 40, 14])
      | beam.Map(lambda i: window.TimestampedValue(('k', i), i))
      | beam.WindowInto(window.Sessions(7))
      | beam.GroupByKey()
      | beam.Map(
          lambda kvs, w=beam.DoFn.WindowParam:
          (int(w.start), int(w.end), sorted(kvs[1]))))
  assert_that(
      grouped | 'Global' >> beam.WindowInto(window.GlobalWindows()),
      equal_to([(0, 27, [0, 2, 8, 14, 20]), (40, 47, [40])]))


class Metered(beam.DoFn):
  """Updates a metric of each kind that the Python SDK has."""
  def __init__(self):
    self.count = Metrics.counter('ours', 'count')
    self.sizes = Metrics.distribution('ours', 'sizes')
    self.last = Metrics.gauge('ours', 'last')
    self.names = Metrics.string_set('ours', 'names')
    self.tries = Metrics.bounded_trie('ours', 'tries')

  def process(self, i):
    self.count.inc()
    self.sizes.update(i)
    self.last.set(77)
    self.names.add('even' if i % 2 == 0 else 'odd')
    self.tries.add(('path', 'even' if i % 2 == 0 else 'odd'))
    yield i


def metrics(p):
  _ = p | beam.Create(range(10)) | 'Metered' >> beam.ParDo(Metered())


PROGRAMS = {
    f.__name__: f
    for f in (
        tiny, usererror, empty_keys, hot_key, side_inputs, sessions, metrics)
}


def metrics_of(result):
  """Returns {kind: {name: {step, attempted, committed}}} of our metrics."""
  found = {}
  for kind, values in result.metrics().query().items():
    for value in values:
      if value.key.metric.namespace != 'ours':
        continue
      found.setdefault(kind, {})[value.key.metric.name] = {
          'step': value.key.step,
          'attempted': plain(value.attempted),
          'committed': plain(value.committed),
      }
  return found


def plain(value):
  """Returns a metric's value as JSON can hold it."""
  if hasattr(value, 'sum') and hasattr(value, 'count'):
    return [value.count, value.sum, value.min, value.max]
  if hasattr(value, 'value'):
    return value.value
  if hasattr(value, 'flattened'):
    return sorted(list(path[:-1]) for path in value.flattened())
  if isinstance(value, (set, frozenset)):
    return sorted(value)
  return value


def main(argv):
  parser = argparse.ArgumentParser(allow_abbrev=False)
  parser.add_argument('program', choices=sorted(PROGRAMS))
  parser.add_argument('--jobs', type=int, default=1)
  args, rest = parser.parse_known_args(argv)
  pipelines = []
  for _ in range(args.jobs):
    p = beam.Pipeline(options=PipelineOptions(rest))
    PROGRAMS[args.program](p)
    pipelines.append(p)
  # All are submitted before the first is waited for.
  for result in [p.run() for p in pipelines]:
    report = {'program': args.program}
    try:
      report['state'] = result.wait_until_finish()
      report['metrics'] = metrics_of(result)
    except Exception as e:  # whatever it is, it is what a user sees
      report['error'] = f'{type(e).__name__}: {e}'
    print(json.dumps(report, default=str), flush=True)


if __name__ == '__main__':
  main(sys.argv[1:])
