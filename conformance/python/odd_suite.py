"""Pipelines at the edges: nothing, too much of it, odd names and shapes, errors.

Each test says exactly what must come out. Without an endpoint the tests run in
the in-memory runner of the Python SDK.

    python -m pytest -p beam_pytest_plugin odd_suite.py \
        --test-pipeline-options="--job_endpoint=localhost:8073 --environment_type=LOOPBACK"
"""

import logging
import math
import typing
import unittest

import apache_beam as beam
from apache_beam import coders
from apache_beam.io.restriction_trackers import OffsetRange
from apache_beam.io.restriction_trackers import OffsetRestrictionTracker
from apache_beam.metrics import Metrics
from apache_beam.options.pipeline_options import PipelineOptions
from apache_beam.options.pipeline_options import TypeOptions
from apache_beam.runners.portability.fn_api_runner import FnApiRunner
from apache_beam.runners.portability.portable_runner import PortableRunner
from apache_beam.testing.test_pipeline import TestPipeline
from apache_beam.testing.util import assert_that
from apache_beam.testing.util import equal_to
from apache_beam.transforms import trigger
from apache_beam.transforms import userstate
from apache_beam.transforms import window
from apache_beam.transforms.core import RestrictionProvider
from apache_beam.utils.timestamp import MAX_TIMESTAMP
from apache_beam.utils.timestamp import MIN_TIMESTAMP
from apache_beam.utils.timestamp import Timestamp

MB = 1 << 20


class Suite(unittest.TestCase):
  """What all tests here use."""
  def setUp(self):
    self.result = None

  def run_all(self, build):
    """Runs the pipeline that build makes."""
    given = (TestPipeline.pytest_test_pipeline_options or '').split()
    options = PipelineOptions(given)
    options.view_as(TypeOptions).allow_unsafe_triggers = True
    remote = any(flag.startswith('--job_endpoint') for flag in given)
    p = beam.Pipeline(
        runner=PortableRunner() if remote else FnApiRunner(), options=options)
    build(p)
    self.result = p.run()
    self.result.wait_until_finish()

  def check(self, build, expected):
    """Runs the pipeline that build makes; its result must be as expected."""
    def checked(p):
      result = build(p) | 'Global' >> beam.WindowInto(window.GlobalWindows())
      assert_that(result, equal_to(expected))

    self.run_all(checked)

  def fails(self, build, text):
    """Runs the pipeline that build makes; its error must have the text."""
    with self.assertRaisesRegex(Exception, text):
      self.run_all(build)

  def metric(self, kind, name):
    """The committed values of a metric."""
    found = self.result.metrics().query(
        beam.metrics.MetricsFilter().with_name(name))[kind]
    return [m.committed for m in found]


def at(t, value):
  return window.TimestampedValue(value, t)


def timed(times, value=lambda t: ('k', t)):
  """Makes a collection of values at times, in seconds."""
  return beam.Create(list(times)) | beam.Map(lambda t: at(t, value(t)))


def bounds(kv, w=beam.DoFn.WindowParam):
  return int(w.start), int(w.end), sorted(kv[1])


def total(key, values):
  return key, sum(values)


class Nothing(Suite):
  """Collections without an element, pipelines without a transform."""
  def test_no_transform(self):
    self.run_all(lambda p: None)

  def test_impulse_alone(self):
    self.run_all(lambda p: p | beam.Impulse())

  def test_output_that_nobody_reads(self):
    self.run_all(lambda p: p | beam.Create([1]) | beam.Map(str))

  def test_nothing_through_everything(self):
    def tag(name):
      return name >> beam.Map(lambda x: (name, x))

    def build(p):
      none = p | beam.Create([])
      pairs = none | beam.Map(lambda x: (x, x))
      parts = [
          none | tag('map'),
          pairs | beam.GroupByKey() | tag('group'),
          pairs | beam.CombinePerKey(sum),
          {
              'a': pairs, 'b': pairs
          } | beam.CoGroupByKey(),
          none | beam.CombineGlobally(sum) | tag('sum'),
          none | beam.combiners.Count.Globally() | tag('count'),
          pairs | beam.ParDo(EveryKind()),
          none | beam.Reshuffle(),
          none | beam.ParDo(splittable(lambda e: 3)),
          none | beam.combiners.ToList() | tag('list'),
          pairs | beam.GroupIntoBatches(3),
          none | beam.Distinct(),
          none | beam.combiners.Top.Of(3) | tag('top'),
      ]
      read = p | 'One' >> beam.Create([0]) | 'Read' >> beam.Map(
          lambda x, i, l, d, m, s: ('read', (list(i), l, d, list(m['x']), s)),
          beam.pvalue.AsIter(none),
          beam.pvalue.AsList(none),
          beam.pvalue.AsDict(pairs),
          beam.pvalue.AsMultiMap(pairs),
          beam.pvalue.AsSingleton(none, default_value='default'))
      return parts + [read] | beam.Flatten()

    self.check(
        build,
        [('sum', 0), ('count', 0), ('list', []), ('top', []),
         ('read', ([], [], {}, [], 'default'))])

  def test_flatten_of_nothing(self):
    self.check(lambda p: () | beam.Flatten(pipeline=p), [])

  def test_flatten_of_empty_collections(self):
    self.check(
        lambda p: [p | str(i) >> beam.Create([])
                   for i in range(20)] | beam.Flatten(), [])

  def test_windows_without_elements(self):
    self.check(
        lambda p: p | beam.Create([]) | beam.WindowInto(window.FixedWindows(1))
        | beam.Map(lambda x: (x, x)) | beam.GroupByKey(), [])

  def test_elements_without_a_window(self):
    """Windows that do not cover the time line lose what is between them."""
    self.check(
        lambda p: p | timed(range(10))
        | beam.WindowInto(window.SlidingWindows(1, 5)) | beam.GroupByKey()
        | beam.MapTuple(lambda k, vs: sorted(vs)), [[0], [5]])

  def test_zero_bytes(self):
    """Keys and values that have no bytes."""
    self.check(
        lambda p: p | beam.Create(['', '', 'a'])
        | beam.Map(lambda s: (s.encode(), None)) | beam.GroupByKey()
        | beam.MapTuple(lambda k, vs: (k, len(list(vs)))), [(b'', 2), (b'a', 1)])

  def test_nones(self):
    self.check(
        lambda p: p | beam.Create([None] * 5) | beam.Map(lambda x: (x, x))
        | beam.Reshuffle() | beam.GroupByKey()
        | beam.MapTuple(lambda k, vs: (k, list(vs))), [(None, [None] * 5)])


class TooMuch(Suite):
  """Large values, and many of what one usually has a few of."""
  def test_large_value_everywhere(self):
    """A value of 100 MB is shuffled, grouped, and read as a side input."""
    size = 100 * MB

    def build(p):
      one = p | beam.Create([7]) | beam.Map(lambda x: bytes([x]) * size)
      shuffled = one | beam.Reshuffle()
      grouped = shuffled | beam.Map(lambda v: ('k', v)) | beam.GroupByKey()
      return [
          shuffled | 'S' >> beam.Map(lambda v: ('shuffled', len(v), v[-1])),
          grouped | 'G' >> beam.MapTuple(
              lambda k, vs: ('grouped', sum(map(len, vs)), 7)),
          p | 'Root' >> beam.Create([0]) | 'R' >> beam.Map(
              lambda _, v:
              ('read', len(v), v[-1]), beam.pvalue.AsSingleton(one)),
      ] | beam.Flatten()

    self.check(
        build, [(what, size, 7) for what in ('shuffled', 'grouped', 'read')])

  def test_large_state(self):
    size = 40 * MB

    class Keep(beam.DoFn):
      VALUE = userstate.ReadModifyWriteStateSpec('value', coders.BytesCoder())
      BAG = userstate.BagStateSpec('bag', coders.BytesCoder())

      def process(
          self,
          kv,
          value=beam.DoFn.StateParam(VALUE),
          bag=beam.DoFn.StateParam(BAG)):
        before = value.read() or b''
        value.write(bytes([kv[1]]) * size)
        bag.add(bytes([kv[1]]) * (size // 4))
        yield len(before) // size, sum(map(len, bag.read())) // (size // 4)

    self.check(
        lambda p: p | beam.Create([('k', i) for i in range(3)])
        | beam.ParDo(Keep()), [(0, 1), (1, 2), (1, 3)])

  def test_many_windows_an_element(self):
    self.check(
        lambda p: p | timed([1, 2])
        | beam.WindowInto(window.SlidingWindows(10000, 1)) | beam.GroupByKey()
        | beam.MapTuple(lambda k, vs: (sum(vs), 1))
        | 'All' >> beam.WindowInto(window.GlobalWindows())
        | beam.CombinePerKey(sum), [(3, 9999), (1, 1), (2, 1)])

  def test_many_windows_through_state(self):
    self.check(
        lambda p: p | timed([1, 2])
        | beam.WindowInto(window.SlidingWindows(1000, 1))
        | beam.ParDo(EveryKind())
        | 'All' >> beam.WindowInto(window.GlobalWindows())
        | beam.combiners.Count.PerElement() | beam.MapTuple(lambda x, n: n),
        [999, 1001])

  def test_many_keys_of_state(self):
    """State of each kind, for many keys."""
    self.check(
        lambda p: p | beam.Create(range(4000)) | beam.Reshuffle()
        | beam.Map(lambda i: (i % 1000, i)) | beam.ParDo(EveryKind())
        | beam.Map(lambda t: t[0]) | beam.combiners.Count.PerElement(),
        [(1, 1000), (2, 1000), (3, 1000), (4, 1000)])

  def test_many_values_of_state(self):
    """A bag of very many values, read in each of a few elements."""
    class Fill(beam.DoFn):
      BAG = userstate.BagStateSpec('bag', coders.VarIntCoder())
      SET = userstate.SetStateSpec('set', coders.VarIntCoder())

      def process(
          self,
          kv,
          bag=beam.DoFn.StateParam(BAG),
          some=beam.DoFn.StateParam(SET)):
        for i in range(100000):
          bag.add(i)
        for i in range(5000):
          some.add(i)
        yield sum(1 for _ in bag.read()), sum(1 for _ in some.read())

    self.check(
        lambda p: p | beam.Create([('k', 0), ('k', 1), ('k', 2)])
        | beam.ParDo(Fill()), [(100000 * i, 5000) for i in (1, 2, 3)])

  def test_many_timers_of_a_key(self):
    class Set(beam.DoFn):
      TIMER = userstate.TimerSpec('timer', userstate.TimeDomain.WATERMARK)

      def process(self, kv, timer=beam.DoFn.TimerParam(TIMER)):
        for i in range(2000):
          timer.set(i % 50, dynamic_timer_tag=str(i))

      @userstate.on_timer(TIMER)
      def fire(
          self,
          tag=beam.DoFn.DynamicTimerTagParam,
          t=beam.DoFn.TimestampParam):
        assert int(tag) % 50 == int(t)
        yield int(t)

    self.check(
        lambda p: p | timed([0], lambda t: 'ab') | beam.FlatMap(list)
        | beam.Map(lambda k: (k, 1)) | beam.ParDo(Set())
        | beam.combiners.Count.PerElement(), [(t, 80) for t in range(50)])

  def test_many_outputs(self):
    tags = [f't{i}' for i in range(300)]

    class Spread(beam.DoFn):
      def process(self, i):
        yield beam.pvalue.TaggedOutput(tags[i % 300], i)

    def build(p):
      out = (
          p | beam.Create(range(600))
          | beam.ParDo(Spread()).with_outputs(*tags))
      return [out[t] for t in tags[::3]] | beam.Flatten()

    self.check(build, [i for i in range(600) if i % 3 == 0])

  def test_many_side_inputs(self):
    def build(p):
      sides = [
          beam.pvalue.AsIter(p | f's{i}' >> beam.Create([i] * (i % 3)))
          for i in range(50)
      ]
      return p | beam.Create([1]) | beam.Map(
          lambda x, *them: x + sum(sum(s) for s in them), *sides)

    self.check(build, [1 + sum(i * (i % 3) for i in range(50))])

  def test_ten_inputs_of_one_group(self):
    def build(p):
      inputs = {
          f'in{i}': p | f'in{i}' >> beam.Create([(k, i) for k in range(i + 1)])
          for i in range(10)
      }
      return inputs | beam.CoGroupByKey() | beam.MapTuple(
          lambda k, d: (k, [list(d[f'in{i}']) for i in range(10)]))

    self.check(
        build,
        [(k, [[i] if k <= i else [] for i in range(10)]) for k in range(10)])

  def test_long_chain(self):
    def build(p):
      c = p | beam.Create([0])
      for i in range(300):
        c = c | f'step {i}' >> beam.Map(lambda x: x + 1)
        if i % 60 == 59:
          c = c | f'shuffle {i}' >> beam.Reshuffle()
      return c

    self.check(build, [300])

  def test_many_groups_in_sequence(self):
    def build(p):
      c = p | beam.Create([(i % 7, 1) for i in range(70)])
      for i in range(30):
        c = c | f'g{i}' >> beam.GroupByKey() | f'u{i}' >> beam.FlatMapTuple(
            lambda k, vs: [((k + 1) % 7, v) for v in vs])
      return c | beam.CombinePerKey(sum)

    self.check(build, [(k, 10) for k in range(7)])

  def test_wide(self):
    def build(p):
      root = p | beam.Create([('a', 1), ('b', 2)])
      sums = [root | f'c{i}' >> beam.CombinePerKey(sum) for i in range(60)]
      return sums | beam.Flatten() | 'All' >> beam.CombinePerKey(sum)

    self.check(build, [('a', 60), ('b', 120)])

  def test_values_that_outlive_their_element(self):
    """The values of a key are read in the end, once more, and passed on."""
    class Late(beam.DoFn):
      def start_bundle(self):
        self.kept = []

      def process(self, kv):
        self.kept.append((kv[0], kv[1], len(next(iter(kv[1])))))
        yield kv

      def finish_bundle(self):
        for key, values, n in self.kept:
          assert sum(map(len, values)) == 100 * n, key

    self.check(
        lambda p: p | beam.Create(range(300)) | beam.Reshuffle()
        | beam.Map(lambda i: (i % 3, b'x' * 50000)) | beam.GroupByKey()
        | beam.ParDo(Late()) | 'Pass' >> beam.Reshuffle()
        | 'Again' >> beam.GroupByKey()
        | beam.MapTuple(lambda k, vss: (k, [sum(map(len, vs)) for vs in vss])),
        [(k, [5000000]) for k in range(3)])

  def test_long_log_lines(self):
    def log(x):
      logging.warning('x' * (6 * MB))
      for i in range(2000):
        logging.info('line %d', i)
      return x

    self.check(lambda p: p | beam.Create([1, 2]) | beam.Map(log), [1, 2])


class Odd(Suite):
  """Names, keys, windows and shapes that one seldom sees."""
  NAMES = [
      'ü/ñ', '日本語', '🦆', 'a\nb', ' ', '%s %d', '"quoted"', "a'b", '../..',
      '\t', 'a' * 500
  ]

  def test_names_of_transforms(self):
    def build(p):
      c = p | beam.Create([0])
      for name in self.NAMES:
        c = c | name >> beam.Map(lambda x: x + 1)
        c = c | ('shuffle' + name) >> beam.Reshuffle()
      return c

    self.check(build, [len(self.NAMES)])

  def test_names_of_outputs(self):
    names = self.NAMES

    class Spread(beam.DoFn):
      def process(self, x):
        for i, name in enumerate(names):
          yield beam.pvalue.TaggedOutput(name, i)

    def build(p):
      out = p | beam.Create([0]) | beam.ParDo(Spread()).with_outputs(*names)
      return [out[n] for n in names] | beam.Flatten()

    self.check(build, list(range(len(names))))

  def test_names_of_state_and_timers(self):
    class Named(beam.DoFn):
      STATE = userstate.CombiningValueStateSpec('état/🦆 %s', sum)
      TIMER = userstate.TimerSpec(
          'minuterie/🦆 %s', userstate.TimeDomain.WATERMARK)

      def process(
          self,
          kv,
          s=beam.DoFn.StateParam(STATE),
          t=beam.DoFn.TimerParam(TIMER)):
        s.add(kv[1])
        t.set(10, dynamic_timer_tag='étiquette 🦆')

      @userstate.on_timer(TIMER)
      def fire(
          self,
          k=beam.DoFn.KeyParam,
          s=beam.DoFn.StateParam(STATE),
          tag=beam.DoFn.DynamicTimerTagParam):
        yield k, s.read(), tag

    self.check(
        lambda p: p | beam.Create([('ключ', 1), ('ключ', 2), ('', 3)])
        | beam.ParDo(Named()),
        [('ключ', 3, 'étiquette 🦆'), ('', 3, 'étiquette 🦆')])

  def test_names_of_metrics(self):
    names = self.NAMES

    class Metered(beam.DoFn):
      def process(self, x):
        for n in names:
          Metrics.counter('ns ' + n, n).inc(2)
        yield x

    self.check(
        lambda p: p | beam.Create([1, 2]) | 'Météo 🦆' >> beam.ParDo(Metered()),
        [1, 2])
    for n in names:
      self.assertEqual([4], self.metric('counters', n), n)

  def test_metrics_of_each_kind(self):
    class Metered(beam.DoFn):
      def process(self, i):
        Metrics.counter('odd', 'negative').inc(-3)
        Metrics.distribution('odd', 'large').update(1 << 40)
        Metrics.distribution('odd', 'large').update(-(1 << 40))
        Metrics.string_set('odd', 'set').add('ü🦆')
        Metrics.string_set('odd', 'set').add('')
        yield i

    self.check(
        lambda p: p | beam.Create(range(10)) | beam.ParDo(Metered()),
        list(range(10)))
    self.assertEqual([-30], self.metric('counters', 'negative'))
    d = self.metric('distributions', 'large')[0]
    self.assertEqual((20, 0, -(1 << 40), 1 << 40),
                     (d.count, d.sum, d.min, d.max))
    self.assertEqual([{'ü🦆', ''}],
                     [set(s) for s in self.metric('string_sets', 'set')])

  def test_keys_of_every_type(self):
    keys = [
        0, -1, 1 << 62, '', 'x', b'', b'\x00\xff', None, True, (1, 'a'),
        ((), ()), 1.5, -0.0, math.inf, ('x', ('y', (b'z', None)))
    ]
    self.check(
        lambda p: p | beam.Create(list(range(len(keys))) * 2)
        | beam.Map(lambda i: (keys[i], i)).with_output_types(
            typing.Tuple[typing.Any, int])
        | beam.GroupByKey() | beam.MapTuple(lambda k, vs: sorted(vs)),
        [[i, i] for i in range(len(keys))])

  def test_flatten_with_itself(self):
    def build(p):
      c = p | beam.Create([1])
      for i in range(10):
        c = (c, c) | f'f{i}' >> beam.Flatten()
      return c | beam.combiners.Count.Globally()

    self.check(build, [1024])

  def test_flatten_is_grouped_and_read(self):
    def build(p):
      a = p | 'a' >> beam.Create([('k', 1)])
      b = a | beam.GroupByKey() | beam.MapTuple(lambda k, vs: (k, sum(vs) + 1))
      both = (a, b, a) | beam.Flatten()
      return both | 'g2' >> beam.GroupByKey() | beam.Map(
          lambda kv, side: (sorted(kv[1]), sorted(side)),
          beam.pvalue.AsList(both | beam.Values()))

    self.check(build, [([1, 1, 2], [1, 1, 2])])

  def test_collection_reads_itself(self):
    def build(p):
      c = p | beam.Create([1, 2, 3])
      c = c | beam.Map(lambda x, me: x * sum(me), beam.pvalue.AsIter(c))
      return c | 'again' >> beam.Map(
          lambda x, me: (x, max(me)), beam.pvalue.AsList(c))

    self.check(build, [(6, 18), (12, 18), (18, 18)])

  def test_side_input_of_side_input(self):
    def build(p):
      c = p | beam.Create([1])
      for i in range(12):
        c = p | f'root{i}' >> beam.Create([1]) | f'read{i}' >> beam.Map(
            lambda x, s: x + s, beam.pvalue.AsSingleton(c))
      return c

    self.check(build, [13])

  def test_side_input_in_other_windows(self):
    def build(p):
      side = (
          p | 'side' >> timed(range(20), lambda t: t)
          | 'tens' >> beam.WindowInto(window.FixedWindows(10)))
      return (
          p | timed([1, 4, 11, 25], lambda t: t)
          | beam.WindowInto(window.FixedWindows(5))
          | beam.Map(lambda x, s: (x, sum(s)), beam.pvalue.AsIter(side)))

    self.check(build, [(1, 45), (4, 45), (11, 145), (25, 0)])

  def test_side_input_of_sessions(self):
    def build(p):
      side = p | 's' >> beam.Create([1, 2, 3])
      return (
          p | timed([1, 15]) | beam.WindowInto(window.Sessions(5))
          | beam.GroupByKey() | 'read' >> beam.Map(
              lambda kv, s: (sum(kv[1]), sum(s)), beam.pvalue.AsIter(side)))

    self.check(build, [(1, 6), (15, 6)])

  def test_sessions_of_sessions(self):
    def build(p):
      c = p | timed([0, 1, 5, 20, 22, 50], lambda t: ('k', 1))
      for gap in (3, 13, 20):
        c = (
            c | f'w{gap}' >> beam.WindowInto(window.Sessions(gap))
            | f'g{gap}' >> beam.GroupByKey()
            | f's{gap}' >> beam.MapTuple(total))
      return c | beam.Map(
          lambda kv, t=beam.DoFn.TimestampParam, w=beam.DoFn.WindowParam:
          (kv[1], float(w.start), float(w.end), float(t)))

    self.check(build, [(5, 20.998, 57.998, 57.997), (1, 65.998, 85.998, 85.997)])

  def test_windows_change_between_groups(self):
    def build(p):
      c = p | timed(range(20))
      for i, fn in enumerate(
          (window.FixedWindows(5), window.SlidingWindows(10, 5))):
        c = (
            c | f'w{i}' >> beam.WindowInto(fn) | f'g{i}' >> beam.GroupByKey()
            | f's{i}' >> beam.MapTuple(total))
      return (
          c | beam.WindowInto(window.FixedWindows(20)) | beam.GroupByKey()
          | beam.Map(bounds))

    self.check(build, [(0, 20, [10, 45, 95, 145]), (20, 40, [85])])

  def test_extreme_times(self):
    times = [
        MIN_TIMESTAMP, Timestamp(-1.5), Timestamp(-1), Timestamp(0),
        MAX_TIMESTAMP
    ]
    self.check(
        lambda p: p | timed(times, lambda t: t.micros) | beam.Reshuffle()
        | 'same' >> beam.Map(
            lambda v, t=beam.DoFn.TimestampParam: v // 1000 == t.micros // 1000
        ), [True] * 5)

  def test_windows_before_the_epoch(self):
    self.check(
        lambda p: p | timed([-11, -10, -1, 0, 9, 10])
        | beam.WindowInto(window.FixedWindows(10, offset=3))
        | beam.GroupByKey() | 'b' >> beam.Map(bounds),
        [(-17, -7, [-11, -10]), (-7, 3, [-1, 0]), (3, 13, [9, 10])])

  def test_short_windows(self):
    self.check(
        lambda p: p | timed([0, 0.001, 0.002, 0.003])
        | beam.WindowInto(window.FixedWindows(0.002)) | beam.GroupByKey()
        | beam.MapTuple(lambda k, vs: sorted(vs)), [[0, 0.001], [0.002, 0.003]])

  def test_sliding_windows_that_do_not_divide(self):
    self.check(
        lambda p: p | timed([7])
        | beam.WindowInto(window.SlidingWindows(10, 3, offset=1))
        | beam.GroupByKey() | 'b' >> beam.Map(bounds),
        [(s, s + 10, [7]) for s in (-2, 1, 4, 7)])

  def test_triggers_of_bounded_input(self):
    """Whatever the trigger, nothing of bounded input is lost."""
    many, few = trigger.AfterCount(100), trigger.AfterCount(2)
    soon, late = trigger.AfterProcessingTime(1), trigger.AfterProcessingTime(99)
    triggers = [
        trigger.AfterWatermark(),
        trigger.AfterWatermark(early=few, late=trigger.AfterCount(1)),
        trigger.Repeatedly(trigger.AfterCount(1)),
        trigger.Repeatedly(late),
        trigger.Repeatedly(trigger.AfterAny(few, soon)),
        trigger.Repeatedly(trigger.AfterAll(few, trigger.AfterCount(3))),
        trigger.Repeatedly(trigger.AfterEach(few, trigger.AfterCount(4))),
        trigger.OrFinally(trigger.Repeatedly(many), trigger.AfterWatermark()),
        trigger.Always(),
    ]
    discarding = trigger.AccumulationMode.DISCARDING

    def build(p):
      c = p | timed(range(10))
      out = []
      for i, t in enumerate(triggers):
        out.append(
            c | f'w{i}' >> beam.WindowInto(
                window.FixedWindows(100), trigger=t,
                accumulation_mode=discarding)
            | f'g{i}' >> beam.GroupByKey()
            | f'f{i}' >> beam.FlatMapTuple(
                lambda k, vs, i=i: [(i, v) for v in vs])
            | f'u{i}' >> beam.WindowInto(
                window.GlobalWindows(), trigger=trigger.DefaultTrigger(),
                accumulation_mode=discarding))
      return out | beam.Flatten() | beam.CombinePerKey(sum)

    self.check(build, [(i, 45) for i in range(len(triggers))])

  def test_bundle_ends_with_elements(self):
    class Last(beam.DoFn):
      def start_bundle(self):
        self.n = 0

      def process(self, x):
        self.n += 1

      def finish_bundle(self):
        yield beam.utils.windowed_value.WindowedValue(
            ('k', self.n), Timestamp(3), [window.IntervalWindow(0, 10)])

    self.check(
        lambda p: p | beam.Create(range(100))
        | beam.WindowInto(window.FixedWindows(10)) | beam.ParDo(Last())
        | beam.CombinePerKey(sum), [('k', 100)])

  def test_combiners(self):
    def tag(name):
      return name + '!' >> beam.Map(lambda x: (name, x))

    def build(p):
      c = p | beam.Create([(i % 2, i) for i in range(1000)])
      v = c | beam.Values()
      return [
          c | 'fixed' >> beam.CombinePerKey(sum).with_hot_key_fanout(7),
          c | 'by key' >>
          beam.CombinePerKey(max).with_hot_key_fanout(lambda k: 1 + k * 10),
          v | beam.CombineGlobally(min).with_fanout(5) | tag('min'),
          v | 'no' >> beam.CombineGlobally(max).without_defaults()
          | tag('max'),
          v | beam.combiners.Mean.Globally() | tag('mean'),
          v | beam.combiners.Top.Smallest(2) | tag('top'),
          c | beam.combiners.Top.LargestPerKey(2),
          v | 'mod' >> beam.Map(lambda x: x % 3) | beam.Distinct()
          | tag('distinct'),
          c | beam.GroupIntoBatches(400) | beam.MapTuple(
              lambda k, batch: len(batch)) | tag('batch'),
          v | beam.combiners.Sample.FixedSizeGlobally(5) | beam.Map(len)
          | tag('sample'),
      ] | beam.Flatten()

    self.check(
        build,
        [(0, 249500), (1, 250000), (0, 998), (1, 999), ('min', 0), ('max', 999),
         ('mean', 499.5), ('top', [0, 1]), (0, [998, 996]), (1, [999, 997]),
         ('distinct', 0), ('distinct', 1), ('distinct', 2), ('batch', 400),
         ('batch', 100), ('batch', 400), ('batch', 100), ('sample', 5)])

  def test_state_of_each_kind(self):
    self.check(
        lambda p: p | beam.Create([('k', 1), ('k', 2), ('k', 1)])
        | beam.ParDo(EveryKind()) | beam.Map(lambda t: (t[0], t[2])), [(1, 1),
                                                                       (2, 2),
                                                                       (3, 3)])

  def test_timers_of_both_domains_loop(self):
    class Loop(beam.DoFn):
      EVENT = userstate.TimerSpec('event', userstate.TimeDomain.WATERMARK)
      REAL = userstate.TimerSpec('real', userstate.TimeDomain.REAL_TIME)
      COUNT = userstate.CombiningValueStateSpec('count', sum)

      def process(
          self,
          kv,
          event=beam.DoFn.TimerParam(EVENT),
          real=beam.DoFn.TimerParam(REAL)):
        event.set(0)
        real.set(Timestamp.now())

      @userstate.on_timer(EVENT)
      def on_event(
          self, t=beam.DoFn.TimestampParam, event=beam.DoFn.TimerParam(EVENT)):
        if t < 20:
          event.set(t + 1)
        yield 'event'

      @userstate.on_timer(REAL)
      def on_real(
          self,
          real=beam.DoFn.TimerParam(REAL),
          count=beam.DoFn.StateParam(COUNT)):
        count.add(1)
        if count.read() < 20:
          real.set(Timestamp.now())
        yield 'real'

    self.check(
        lambda p: p | timed([0], lambda t: 'ab') | beam.FlatMap(list)
        | beam.Map(lambda k: (k, 1)) | beam.ParDo(Loop())
        | beam.combiners.Count.PerElement(), [('event', 42), ('real', 40)])

  def test_splits_of_itself(self):
    """A splittable function that leaves all but one step for later."""
    self.splits([5, 0, 7], [splittable(lambda e: e, leave=True)], [(5, 5),
                                                                   (7, 7)])

  def test_many_restrictions(self):
    self.splits([1000, 10], [splittable(lambda e: e, pieces=500)],
                [(1000, 1000), (10, 10)])

  def test_no_restrictions(self):
    self.splits([1000, 10], [splittable(lambda e: e, pieces=0)], [])

  def test_splittable_of_splittable(self):
    fns = [
        splittable(lambda e: e, leave=True), splittable(lambda e: e, pieces=2),
        splittable(lambda e: e, leave=True)
    ]
    self.splits([3], fns, [(3, 27)])

  def splits(self, elements, fns, expected):
    """Runs elements through splittable functions and counts the results."""
    def build(p):
      c = p | beam.Create(elements)
      for i, fn in enumerate(fns):
        c = c | f'fn{i}' >> beam.ParDo(fn)
      return c | beam.combiners.Count.PerElement()

    self.check(build, expected)

  def test_splittable_in_many_windows(self):
    self.check(
        lambda p: p | timed([10], lambda t: 3)
        | beam.WindowInto(window.SlidingWindows(10, 1))
        | beam.ParDo(splittable(lambda e: e, leave=True))
        | 'All' >> beam.WindowInto(window.GlobalWindows())
        | beam.combiners.Count.PerElement(), [(3, 30)])

  def test_rows(self):
    class Row(typing.NamedTuple):
      name: str
      value: typing.Optional[int]
      items: typing.Sequence[int]

    coders.registry.register_coder(Row, coders.RowCoder)
    self.check(
        lambda p: p | beam.Create([1, 2, 3]) | beam.Map(
            lambda i: Row(f'ü{i % 2}', None if i == 2 else i, [i] * i)).
        with_output_types(Row) | beam.Reshuffle()
        | beam.GroupBy('name').aggregate_field(
            'value', lambda vs: sum(v or 0 for v in vs), 'sum')
        | beam.Map(lambda r: (r.name, r.sum)), [('ü1', 4), ('ü0', 0)])


class Errors(Suite):
  """Exceptions, wherever they come from, end the job with their text."""
  def at_point(self, point):
    class Fails(beam.DoFn):
      def fail(self, here):
        if point == here:
          raise ValueError('odd 🦆 ' + here)

      def setup(self):
        self.fail('setup')

      def start_bundle(self):
        self.fail('start_bundle')

      def process(self, x):
        self.fail('process')
        yield x

      def finish_bundle(self):
        self.fail('finish_bundle')

      def teardown(self):
        self.fail('teardown')

    def build(p):
      return p | beam.Create([1]) | beam.ParDo(Fails())

    if point == 'teardown':
      self.check(build, [1])
    else:
      self.fails(build, 'odd 🦆 ' + point)

  def test_setup(self):
    self.at_point('setup')

  def test_start_bundle(self):
    self.at_point('start_bundle')

  def test_process(self):
    self.at_point('process')

  def test_finish_bundle(self):
    self.at_point('finish_bundle')

  def test_teardown_does_not_matter(self):
    self.at_point('teardown')

  def test_coder(self):
    class Unwritable:
      def __reduce__(self):
        raise ValueError('odd coder')

    self.fails(
        lambda p: p | beam.Create([1]) | beam.Map(lambda x: Unwritable())
        | beam.Reshuffle(), 'odd coder')

  def test_long_text(self):
    def fail(x):
      raise ValueError('odd text ' + 'x' * (5 * MB))

    self.fails(lambda p: p | beam.Create([1]) | beam.Map(fail), 'odd text xxx')

  def test_singleton_of_two(self):
    self.fails(
        lambda p: p | beam.Create([1]) | beam.Map(
            lambda x, s: s,
            beam.pvalue.AsSingleton(p | 'two' >> beam.Create([1, 2]))),
        'more than one element')

  def test_combiner(self):
    class Bad(beam.CombineFn):
      def create_accumulator(self):
        return 0

      def add_input(self, accumulator, x):
        return accumulator + x

      def merge_accumulators(self, accumulators):
        raise ValueError('odd merge')

      def extract_output(self, accumulator):
        return accumulator

    self.fails(
        lambda p: p | beam.Create([('k', 1), ('k', 2)])
        | beam.CombinePerKey(Bad()), 'odd merge')

  def test_window_fn(self):
    class Bad(window.NonMergingWindowFn):
      def assign(self, context):
        raise ValueError('odd window')

      def get_window_coder(self):
        return coders.coders.IntervalWindowCoder()

    self.fails(
        lambda p: p | beam.Create([1]) | beam.WindowInto(Bad()), 'odd window')

  def test_restriction(self):
    def size(element):
      raise ValueError('odd restriction')

    self.fails(
        lambda p: p | beam.Create([1]) | beam.ParDo(splittable(size)),
        'odd restriction')


class EveryKind(beam.DoFn):
  """Counts the elements of a key in state of each kind."""
  VALUE = userstate.ReadModifyWriteStateSpec('value', coders.VarIntCoder())
  BAG = userstate.BagStateSpec('bag', coders.VarIntCoder())
  SET = userstate.SetStateSpec('set', coders.VarIntCoder())
  SUM = userstate.CombiningValueStateSpec('sum', sum)
  LIST = userstate.OrderedListStateSpec('list', coders.VarIntCoder())

  def process(
      self,
      kv,
      value=beam.DoFn.StateParam(VALUE),
      bag=beam.DoFn.StateParam(BAG),
      some=beam.DoFn.StateParam(SET),
      count=beam.DoFn.StateParam(SUM),
      ordered=beam.DoFn.StateParam(LIST)):
    value.write((value.read() or 0) + 1)
    bag.add(kv[1])
    some.add(kv[1])
    count.add(1)
    ordered.add((Timestamp(kv[1]), kv[1]))
    values = set(bag.read())
    assert set(some.read()) == values
    assert set(v for _, v in ordered.read()) == values
    assert value.read() == count.read()
    yield value.read(), len(values), len(list(bag.read()))


class Pieces(RestrictionProvider):
  """Restrictions [0, size of the element), cut into pieces."""
  def __init__(self, size, pieces):
    self._size = size
    self._pieces = pieces

  def initial_restriction(self, element):
    return OffsetRange(0, self._size(element))

  def create_tracker(self, restriction):
    return OffsetRestrictionTracker(restriction)

  def split(self, element, restriction):
    start = restriction.start
    for i in range(self._pieces):
      stop = restriction.start + restriction.size() * (i + 1) // self._pieces
      yield OffsetRange(start, stop)  # some of them empty
      start = stop

  def restriction_size(self, element, restriction):
    return restriction.size()


def splittable(size, pieces=1, leave=False):
  """Makes a DoFn that emits an element as often as its size says."""
  class Splittable(beam.DoFn):
    def process(
        self,
        element,
        tracker=beam.DoFn.RestrictionParam(Pieces(size, pieces))):
      i = tracker.current_restriction().start
      while tracker.try_claim(i):
        yield element
        i += 1
        if leave:
          tracker.defer_remainder()
          return

  return Splittable()


if __name__ == '__main__':
  unittest.main()
