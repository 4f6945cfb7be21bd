"""The pipelines in Python that are run while processes are killed.

    python pipelines.py PIPELINE --out=DIR --size=N [--in=FILE] [pipeline options]

Each writes files whose lines are the same however often something was executed,
if each element has counted once; so are the counters that it prints.
"""

import argparse
import hashlib
import os

import apache_beam as beam
from apache_beam import coders
from apache_beam.io import fileio
from apache_beam.io.restriction_trackers import OffsetRange
from apache_beam.io.restriction_trackers import OffsetRestrictionTracker
from apache_beam.io.watermark_estimators import ManualWatermarkEstimator
from apache_beam.metrics import Metrics
from apache_beam.options.pipeline_options import PipelineOptions
from apache_beam.transforms import trigger
from apache_beam.transforms import userstate
from apache_beam.transforms import window
from apache_beam.utils.timestamp import Duration
from apache_beam.utils.timestamp import Timestamp

KEYS = 100


def key_of(i):
  Metrics.counter('chaos', 'elements').inc()
  return i * 7919 % KEYS, i


def write(lines, args):
  _ = lines | beam.io.WriteToText(os.path.join(args.out, 'out'))


def wordcount(p, args):
  counts = (
      p
      | beam.io.ReadFromText(args.input)
      | beam.FlatMap(lambda line: line.split())
      | beam.combiners.Count.PerElement()
      | beam.MapTuple(lambda word, n: f'{word}: {n}'))
  write(counts, args)


def record(i):
  key, _ = key_of(i)
  return key, hashlib.sha256(b'%d' % i).digest() * 30


def digest(key, values):
  n = total = 0
  for v in values:
    n += 1
    total += int.from_bytes(hashlib.sha256(v).digest()[:8], 'big')
  return f'{key}: {n} values, {total:x}'


def gbk(p, args):
  lines = (
      p
      | beam.Create(range(args.size))
      | beam.Reshuffle()
      | beam.Map(record)
      | beam.GroupByKey()
      | beam.MapTuple(digest))
  write(lines, args)


class Count(beam.DoFn):
  """Keeps what it sees of a key, and emits it when a timer fires."""
  SUM = userstate.ReadModifyWriteStateSpec('sum', coders.VarIntCoder())
  ALL = userstate.BagStateSpec('all', coders.VarIntCoder())
  FIRE = userstate.TimerSpec('fire', userstate.TimeDomain.WATERMARK)

  def process(
      self,
      element,
      total=beam.DoFn.StateParam(SUM),
      seen=beam.DoFn.StateParam(ALL),
      fire=beam.DoFn.TimerParam(FIRE)):
    total.write((total.read() or 0) + element[1])
    seen.add(element[1])
    fire.set(Timestamp(1))

  @userstate.on_timer(FIRE)
  def on_fire(
      self,
      key=beam.DoFn.KeyParam,
      total=beam.DoFn.StateParam(SUM),
      seen=beam.DoFn.StateParam(ALL)):
    values = list(seen.read())
    yield (
        f'{key}: sum {total.read()}, bag of {len(values)}, '
        f'{len(set(values))} different, sum {sum(values)}')


def stateful(p, args):
  lines = (
      p
      | beam.Create(range(args.size))
      | beam.Reshuffle()
      | beam.Map(key_of)
      | beam.ParDo(Count()))
  write(lines, args)


class Loop(beam.DoFn):
  """Sets a timer of processing time again and again, and counts."""
  COUNT = userstate.ReadModifyWriteStateSpec('count', coders.VarIntCoder())
  AGAIN = userstate.TimerSpec('again', userstate.TimeDomain.REAL_TIME)
  ROUNDS = 20

  def process(self, element, again=beam.DoFn.TimerParam(AGAIN)):
    again.set(Timestamp.now() + 0.01)

  @userstate.on_timer(AGAIN)
  def on_again(
      self,
      key=beam.DoFn.KeyParam,
      count=beam.DoFn.StateParam(COUNT),
      again=beam.DoFn.TimerParam(AGAIN)):
    n = (count.read() or 0) + 1
    count.write(n)
    if n < self.ROUNDS:
      again.set(Timestamp.now() + 0.01)
    yield f'{key}: {n}'


def loops(p, args):
  lines = (
      p
      | beam.Create([(i, i) for i in range(KEYS)])
      | beam.Reshuffle()
      | beam.ParDo(Loop()))
  write(lines, args)


def side(p, args):
  integers = p | beam.Create(range(args.size)) | beam.Reshuffle()
  records = integers | beam.Map(key_of)
  main = p | 'main' >> beam.Create(range(2 * KEYS)) | 'again' >> beam.Reshuffle()
  lines = main | beam.Map(
      lambda i, by_key, everything, total:
      f'{i}: {sum(by_key[i % KEYS])} {sum(everything)} {total}',
      beam.pvalue.AsDict(
          records | beam.GroupByKey() | beam.MapTuple(lambda k, v: (k, list(v)))),
      beam.pvalue.AsIter(integers),
      beam.pvalue.AsSingleton(integers | beam.CombineGlobally(sum)))
  write(lines, args)


class Steps(beam.DoFn, beam.RestrictionProvider):
  """A source that does not know its end, and leaves its rest for later."""
  def __init__(self, size, step):
    self.size, self.step = size, step

  def initial_restriction(self, element):
    return OffsetRange(0, self.size)

  def create_tracker(self, restriction):
    return OffsetRestrictionTracker(restriction)

  def restriction_size(self, element, restriction):
    return restriction.size()

  @beam.DoFn.unbounded_per_element()
  def process(
      self,
      element,
      tracker=beam.DoFn.RestrictionParam(),
      estimator=beam.DoFn.WatermarkEstimatorParam(
          ManualWatermarkEstimator.default_provider())):
    start = tracker.current_restriction().start
    for i in range(start, start + self.step):
      if not tracker.try_claim(i):
        return
      at = Timestamp(micros=i * 1000)
      estimator.set_watermark(at)
      yield window.TimestampedValue(element * self.size + i, at)
    tracker.defer_remainder(Duration.of(0.005))


def streaming(p, args):
  """Counts in windows what comes without an end, into files by window."""
  p.options.view_as(beam.options.pipeline_options.StandardOptions).streaming = True
  lines = (
      p
      | beam.Create([0, 1, 2])
      | beam.Reshuffle()
      | beam.ParDo(Steps(args.size // 3, 50))
      | beam.Map(key_of)
      | beam.WindowInto(window.FixedWindows(1))
      | beam.GroupByKey()
      | beam.Map(
          lambda kv, w=beam.DoFn.WindowParam:
          f'{w.start.micros // 1000} {kv[0]}: {sorted(kv[1])}'))
  _ = lines | fileio.WriteToFiles(
      os.path.join(args.out, 'out'), shards=2, sink=lambda _: fileio.TextSink())


def sessions(p, args):
  lines = (
      p
      | beam.Create(range(args.size))
      | beam.Reshuffle()
      | beam.Map(
          lambda i: window.TimestampedValue((i % 7, i), i // 20 * 100 + i % 20))
      | beam.WindowInto(
          window.Sessions(30),
          trigger=trigger.AfterWatermark(),
          accumulation_mode=trigger.AccumulationMode.DISCARDING)
      | beam.GroupByKey()
      | beam.Map(
          lambda kv, w=beam.DoFn.WindowParam:
          f'{w.start.micros // 1000} {w.end.micros // 1000} {kv[0]}: {sorted(kv[1])}')
      | 'Global' >> beam.WindowInto(window.GlobalWindows()))
  write(lines, args)


PIPELINES = [wordcount, gbk, stateful, loops, side, streaming, sessions]


def main():
  parser = argparse.ArgumentParser()
  parser.add_argument('pipeline', choices=[p.__name__ for p in PIPELINES])
  parser.add_argument('--out')
  parser.add_argument('--in', dest='input')
  parser.add_argument('--size', type=int, default=1000)
  args, rest = parser.parse_known_args()
  options = PipelineOptions(rest, save_main_session=False)
  p = beam.Pipeline(options=options)
  {f.__name__: f for f in PIPELINES}[args.pipeline](p, args)
  result = p.run()
  result.wait_until_finish()
  for counter in result.metrics().query()['counters']:
    if counter.key.metric.namespace == 'chaos':
      print('counter', counter.key.metric.name, counter.committed)


if __name__ == '__main__':
  main()
