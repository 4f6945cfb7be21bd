"""Groups records of 100 bytes, timed: prints {"seconds": ...}."""

import argparse
import json
import sys
import time

import apache_beam as beam
from apache_beam.options.pipeline_options import PipelineOptions
from apache_beam.options.pipeline_options import SetupOptions
from apache_beam.testing.util import assert_that
from apache_beam.testing.util import equal_to

# The source is read in parts, like the files of a data set.
SHARDS = 16


class Records(beam.DoFn):
  """Makes the records of a part of the source."""

  def __init__(self, records, keys):
    self.records = records
    self.keys = keys

  def process(self, shard):
    value = b'x' * 92
    for i in range(shard, self.records, SHARDS):
      yield i % self.keys, i.to_bytes(8, 'little') + value


def count(group):
  """Counts the values of a group, and reads every one of them."""
  n = 0
  for value in group[1]:
    n += len(value) == 100
  return n


def run(argv):
  parser = argparse.ArgumentParser()
  parser.add_argument('--records', type=int, required=True)
  parser.add_argument('--keys', type=int, default=1000)
  known, rest = parser.parse_known_args(argv)
  options = PipelineOptions(rest)
  options.view_as(SetupOptions).save_main_session = False
  start = time.monotonic()
  with beam.Pipeline(options=options) as p:
    total = (
        p
        | beam.Create(range(SHARDS))
        | beam.Reshuffle()
        | beam.ParDo(Records(known.records, known.keys))
        | beam.GroupByKey()
        | beam.Map(count)
        | beam.CombineGlobally(sum))
    assert_that(total, equal_to([known.records]))
  return time.monotonic() - start


if __name__ == '__main__':
  print(json.dumps({'seconds': run(sys.argv[1:])}))
