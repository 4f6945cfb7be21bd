"""What streaming pipelines must do, one point of Beam's model a test.

Each test says exactly what must come out. Where time matters a TestStream moves
it, so that the results do not depend on how fast anything is.

    python -m pytest -p beam_pytest_plugin model_suite.py \
        --test-pipeline-options="--job_endpoint=localhost:8073 --environment_type=LOOPBACK"
"""

import time
import unittest

import apache_beam as beam
from apache_beam import coders
from apache_beam.io.restriction_trackers import OffsetRange
from apache_beam.io.restriction_trackers import OffsetRestrictionTracker
from apache_beam.io.watermark_estimators import ManualWatermarkEstimator
from apache_beam.options.pipeline_options import PipelineOptions
from apache_beam.options.pipeline_options import StandardOptions
from apache_beam.options.pipeline_options import TypeOptions
from apache_beam.runners.portability.portable_runner import PortableRunner
from apache_beam.runners.sdf_utils import RestrictionTrackerView
from apache_beam.testing.test_pipeline import TestPipeline
from apache_beam.testing.test_stream import TestStream
from apache_beam.testing.util import assert_that
from apache_beam.testing.util import equal_to
from apache_beam.transforms import trigger
from apache_beam.transforms import userstate
from apache_beam.transforms import window
from apache_beam.transforms.core import RestrictionProvider
from apache_beam.utils.timestamp import Duration
from apache_beam.utils.timestamp import Timestamp
from apache_beam.utils.windowed_value import PaneInfoTiming

EARLY, ON_TIME, LATE = (
    PaneInfoTiming.EARLY, PaneInfoTiming.ON_TIME, PaneInfoTiming.LATE)


def at(t, value):
  return window.TimestampedValue(value, t)


def stream(*events, tags=None):
  """Makes a TestStream of elements and of the watermarks between them.

  A list is a bundle of (time, value), a number a watermark, a Duration a step
  of processing time. With tags, an event of one output is a pair of tag and
  event.
  """
  s = TestStream(output_tags=tags) if tags else TestStream()
  for event in events:
    tag = None
    if isinstance(event, tuple):
      tag, event = event
    if isinstance(event, list):
      s.add_elements([at(t, v) for t, v in event], tag)
    elif isinstance(event, Duration):
      s.advance_processing_time(event.micros / 1e6)
    else:
      s.advance_watermark_to(event, tag)
  for tag in tags or [None]:
    s.advance_watermark_to_infinity(tag)
  return s


class Pane(beam.DoFn):
  """Makes (key, sorted values, end of the window, timing, index) of a group."""
  def process(
      self, kv, w=beam.DoFn.WindowParam, pane=beam.DoFn.PaneInfoParam):
    end = int(w.end) if isinstance(w, window.IntervalWindow) else None
    yield kv[0], sorted(kv[1]), end, pane.timing, pane.index


class Hundreds(window.NonMergingWindowFn):
  """Windows of 100 s that no runner knows."""
  def assign(self, context):
    start = context.timestamp.micros // 10**8 * 100
    return [window.IntervalWindow(start, start + 100)]

  def get_window_coder(self):
    return coders.coders.IntervalWindowCoder()


class Model(unittest.TestCase):
  """The tests. Each runs one pipeline or two."""
  def setUp(self):
    self.result = None

  def pipeline(self, *flags):
    given = (TestPipeline.pytest_test_pipeline_options or '').split()
    options = PipelineOptions(given + list(flags))
    options.view_as(StandardOptions).streaming = True
    options.view_as(TypeOptions).allow_unsafe_triggers = True
    return beam.Pipeline(runner=PortableRunner(), options=options)

  def check(self, build, expected, *flags):
    """Runs the pipeline that build makes; its result must be as expected."""
    p = self.pipeline(*flags)
    result = build(p) | 'Global' >> beam.WindowInto(window.GlobalWindows())
    assert_that(result, equal_to(expected))
    self.result = p.run()
    self.result.wait_until_finish()

  def counter(self, name):
    """The committed value of a counter, summed over its steps."""
    counters = self.result.metrics().query(
        beam.metrics.MetricsFilter().with_name(name))['counters']
    return sum(c.committed or 0 for c in counters)

  # Groups and panes

  def grouped(self, events, expected, fn, **windowing):
    self.check(
        lambda p: (
            p | stream(*events) | beam.WindowInto(fn, **windowing)
            | beam.GroupByKey() | beam.ParDo(Pane())),
        expected)

  def test_sessions_over_bundles(self):
    """A session grows over bundles, and the watermark does not cut it."""
    self.grouped(
        [[(1, ('a', 1))], [(4, ('a', 4)), (5, ('b', 5))], 6, [(8, ('a', 8))],
         11, [(30, ('a', 30))], [(12, ('a', 12))]],
        [('a', [1, 4, 8, 12], 17, ON_TIME, 0), ('b', [5], 10, ON_TIME, 0),
         ('a', [30], 35, ON_TIME, 0)],
        window.Sessions(5))

  def test_empty_pane_on_time(self):
    """The pane at the end of the window comes, even if it is empty."""
    self.grouped(
        [0, [(1, ('a', 1))], [(2, ('a', 2))], 10],
        [('a', [1], 10, EARLY, 0), ('a', [2], 10, EARLY, 1),
         ('a', [], 10, ON_TIME, 2)],
        window.FixedWindows(10),
        trigger=trigger.AfterWatermark(early=trigger.AfterCount(1)),
        accumulation_mode=trigger.AccumulationMode.DISCARDING)

  def test_late_panes(self):
    """Late elements get panes of their own until the window is forgotten."""
    self.grouped(
        [0, [(1, ('a', 1))], 11, [(2, ('a', 2))], 14, [(3, ('a', 3))], 16,
         [(4, ('a', 4))]],
        [('a', [1], 10, ON_TIME, 0), ('a', [1, 2], 10, LATE, 1),
         ('a', [1, 2, 3], 10, LATE, 2)],
        window.FixedWindows(10),
        trigger=trigger.AfterWatermark(late=trigger.AfterCount(1)),
        accumulation_mode=trigger.AccumulationMode.ACCUMULATING,
        allowed_lateness=5)
    self.assertEqual(1, self.counter('droppedDueToLateness'))

  def test_late_elements_are_dropped(self):
    self.grouped(
        [0, [(1, ('a', 1))], 20, [(2, ('a', 2)), (3, ('b', 3)),
                                  (25, ('a', 25))]],
        [('a', [1], 10, ON_TIME, 0), ('a', [25], 30, ON_TIME, 0)],
        window.FixedWindows(10))
    self.assertEqual(2, self.counter('droppedDueToLateness'))

  def test_finished_trigger_drops(self):
    """A trigger that has finished lets nothing more through, late or not."""
    self.grouped(
        [0, [(1, ('a', 1))], 11, [(2, ('a', 2))], 30],
        [('a', [1], 10, ON_TIME, 0)],
        window.FixedWindows(10),
        trigger=trigger.AfterWatermark(),
        accumulation_mode=trigger.AccumulationMode.DISCARDING,
        allowed_lateness=15)

  def test_processing_time_trigger(self):
    """A delay begins with the first element of a pane."""
    self.grouped(
        [0, [(1, ('a', 1))], Duration(3), [(2, ('a', 2))], Duration(3),
         [(3, ('a', 3))], Duration(4), [(4, ('a', 4))], Duration(2)],
        [('a', [1, 2], None, EARLY, 0), ('a', [3, 4], None, EARLY, 1)],
        window.GlobalWindows(),
        trigger=trigger.Repeatedly(trigger.AfterProcessingTime(5)),
        accumulation_mode=trigger.AccumulationMode.DISCARDING)

  def test_group_after_triggered_group(self):
    """What an early pane emits is grouped again, and fires again."""
    def build(p):
      return (
          p
          | stream(0, [(1, ('a', 1))], [(2, ('b', 2))], 10, [(11, ('a', 11))])
          | beam.WindowInto(
              window.FixedWindows(10),
              trigger=trigger.AfterWatermark(early=trigger.AfterCount(1)),
              accumulation_mode=trigger.AccumulationMode.DISCARDING)
          | beam.GroupByKey()
          | beam.FlatMap(lambda kv: [('all', v) for v in kv[1]])
          | 'Again' >> beam.GroupByKey()
          | beam.FlatMap(lambda kv: kv[1]))

    self.check(build, [1, 2, 11])

  # Side inputs

  def with_side(self, events, side_windowing, expected, main=None):
    def build(p):
      streams = p | stream(*events, tags=['main', 'side'])
      side = streams['side'] | 'Side' >> side_windowing
      into = main or beam.WindowInto(window.GlobalWindows())
      return streams['main'] | 'Main' >> into | beam.Map(
          lambda v, s: (v, sorted(s)), beam.pvalue.AsIter(side))

    self.check(build, expected)

  def test_side_input_is_the_latest_pane(self):
    """Discarding panes replace each other as well."""
    for mode, latest in (
        (trigger.AccumulationMode.DISCARDING, [2]),
        (trigger.AccumulationMode.ACCUMULATING, [1, 2]),
    ):
      self.with_side(
          [('main', 0), ('side', 0), ('side', [(1, 1)]), ('main', [(5, 'a')]),
           ('side', [(2, 2)]), ('main', [(6, 'b')])],
          beam.WindowInto(
              window.GlobalWindows(),
              trigger=trigger.Repeatedly(trigger.AfterCount(1)),
              accumulation_mode=mode),
          [('a', [1]), ('b', latest)])

  def test_side_input_is_waited_for(self):
    """The main input waits for its window of the side input, and only for it."""
    self.with_side(
        [('main', [(1, 'a')]), ('main', [(11, 'b')]), ('side', [(12, 12)]),
         ('main', 30), ('side', 5), ('side', [(6, 6)]), ('side', 30)],
        beam.WindowInto(window.FixedWindows(10)),
        [('a', [6]), ('b', [12])],
        main=beam.WindowInto(window.FixedWindows(5)))

  def test_side_input_is_empty(self):
    """Windows that nothing comes in are empty once they are over."""
    self.with_side(
        [('main', [(1, 'a'), (11, 'b')]), ('side', [(12, 12)]), ('side', 20)],
        beam.WindowInto(window.FixedWindows(10)),
        [('a', []), ('b', [12])],
        main=beam.WindowInto(window.FixedWindows(10)))

  def test_side_input_is_the_earliest_window(self):
    """Of several windows with the end of the main one, the earliest is read."""
    self.with_side(
        [('main', [(7, 'a')]), ('side', [(t, t) for t in range(0, 20, 3)])],
        beam.WindowInto(window.SlidingWindows(10, 5)),
        [('a', [0, 3, 6, 9])],
        main=beam.WindowInto(window.FixedWindows(5)))

  def test_side_input_in_windows_of_its_own(self):
    """Only the SDK knows which window is read, and it is waited for."""
    self.with_side(
        [('main', [(1, 'a')]), ('main', [(112, 'b')]), ('side', [(2, 2)]),
         ('side', 20), ('main', 20), ('side', [(30, 30)]),
         ('side', [(116, 116)]), ('main', [(21, 'c')])],
        beam.WindowInto(Hundreds()),
        [('a', [2, 30]), ('c', [2, 30]), ('b', [116])],
        main=beam.WindowInto(window.FixedWindows(10)))

  def test_side_input_changes_for_good(self):
    """What was made of a side input once is not kept when it changes."""
    def build(p):
      streams = p | stream(
          ('main', 0), ('side', 0), ('main', [(1, 'a')]), ('side', [(1, 1)]),
          ('main', [(2, 'b')]), ('side', [(2, 2)]), ('main', [(3, 'c')]),
          tags=['main', 'side'])
      side = streams['side'] | 'Side' >> beam.WindowInto(
          window.GlobalWindows(),
          trigger=trigger.Repeatedly(trigger.AfterCount(1)),
          accumulation_mode=trigger.AccumulationMode.DISCARDING)
      return streams['main'] | beam.Map(
          lambda v, s: (v, s), beam.pvalue.AsSingleton(side))

    self.check(build, [('a', 1), ('b', 1), ('c', 2)])

  def test_side_inputs_of_all_kinds(self):
    """Bounded and not, of one PCollection in several ways, and of nothing."""
    def build(p):
      streams = p | stream(
          ('main', [(1, 'a'), (12, 'b'), (3, 'c')]),
          ('side', [(2, ('a', 1)), (3, ('a', 2)), (14, ('b', 3))]),
          tags=['main', 'side'])
      windows = beam.WindowInto(window.FixedWindows(10))
      side = streams['side'] | 'Side' >> windows
      bounded = p | 'Bounded' >> beam.Create([2, 1])
      nothing = p | 'Nothing' >> beam.Create([])
      return streams['main'] | 'Main' >> windows | beam.Map(
          lambda v, by_key, listed, few, default:
          (v, sorted(by_key[v]), len(listed), sorted(few), default),
          beam.pvalue.AsMultiMap(side),
          beam.pvalue.AsList(side),
          beam.pvalue.AsIter(bounded),
          beam.pvalue.AsSingleton(nothing, default_value=9))

    self.check(
        build,
        [('a', [1, 2], 2, [1, 2], 9), ('b', [3], 1, [1, 2], 9),
         ('c', [], 2, [1, 2], 9)])

  # State and timers

  def test_lateness_of_state(self):
    """State lives as long as late elements may come, and not longer."""
    class Count(beam.DoFn):
      COUNT = userstate.CombiningValueStateSpec('count', sum)

      def process(self, kv, count=beam.DoFn.StateParam(COUNT)):
        count.add(1)
        yield kv[1], count.read()

    self.check(
        lambda p: (
            p
            | stream(
                0, [(1, ('a', 1)), (2, ('a', 2))], 12, [(3, ('a', 3))], 16,
                [(4, ('a', 4))], [(11, ('a', 11))])
            | beam.WindowInto(window.FixedWindows(10), allowed_lateness=5)
            | beam.ParDo(Count())
            | beam.Map(lambda pair: (pair[0] > 10, pair[1]))),
        [(False, 1), (False, 2), (False, 3), (True, 1)])
    self.assertEqual(1, self.counter('droppedDueToLateness'))

  def test_timer_is_set_again(self):
    """Only the last time counts, and a timer that is cleared never fires."""
    class Timers(beam.DoFn):
      TIMER = userstate.TimerSpec('timer', userstate.TimeDomain.WATERMARK)

      def process(self, kv, timer=beam.DoFn.TimerParam(TIMER)):
        if kv[1] is None:
          timer.clear()
        else:
          timer.set(kv[1])

      @userstate.on_timer(TIMER)
      def fire(self, key=beam.DoFn.KeyParam, t=beam.DoFn.TimestampParam):
        yield key, int(t)

    self.check(
        lambda p: (
            p
            | stream(
                0, [(0, ('later', 5)), (0, ('sooner', 8)), (0, ('cleared', 5)),
                    (0, ('set after clear', 5))],
                [(0, ('later', 9)), (0, ('sooner', 3)), (0, ('cleared', None)),
                 (0, ('set after clear', None))],
                [(0, ('set after clear', 6))], 7, 20)
            | beam.ParDo(Timers())),
        [('later', 9), ('sooner', 3), ('set after clear', 6)])

  def test_timers_fire_in_order(self):
    """Timers of a key fire by time; what one of them sets comes in its turn."""
    class Ordered(beam.DoFn):
      TIMER = userstate.TimerSpec('timer', userstate.TimeDomain.WATERMARK)
      SEEN = userstate.BagStateSpec('seen', coders.VarIntCoder())

      def process(self, kv, timer=beam.DoFn.TimerParam(TIMER)):
        for t in (30, 10, 20, 40):
          timer.set(t, dynamic_timer_tag=str(t))

      @userstate.on_timer(TIMER)
      def fire(
          self,
          t=beam.DoFn.TimestampParam,
          tag=beam.DoFn.DynamicTimerTagParam,
          timer=beam.DoFn.TimerParam(TIMER),
          seen=beam.DoFn.StateParam(SEEN)):
        seen.add(int(t))
        if tag == '10':
          timer.set(15, dynamic_timer_tag='15')
          timer.clear(dynamic_timer_tag='30')
        if tag == '40':
          yield list(seen.read())

    self.check(
        lambda p:
        (p | stream(0, [(0, ('a', 0))], 100) | beam.ParDo(Ordered())),
        [[10, 15, 20, 40]])

  def test_timer_holds_the_watermark(self):
    """What a timer emits is not late behind it."""
    class Hold(beam.DoFn):
      TIMER = userstate.TimerSpec('timer', userstate.TimeDomain.WATERMARK)

      def process(self, kv, timer=beam.DoFn.TimerParam(TIMER)):
        timer.set(9)
        yield kv

      @userstate.on_timer(TIMER)
      def fire(self, key=beam.DoFn.KeyParam):
        yield key, 9

    self.check(
        lambda p: (
            p | stream(0, [(1, ('a', 1))], 30)
            | beam.WindowInto(window.FixedWindows(10))
            | beam.ParDo(Hold()) | beam.GroupByKey() | beam.ParDo(Pane())),
        [('a', [1, 9], 10, ON_TIME, 0)])

  def test_processing_time_timer(self):
    """A timer in processing time, moved by the stream."""
    self.check(
        lambda p: (
            p
            | stream(
                0, [(1, ('a', 10))], Duration(9), [(2, ('b', 20))],
                Duration(3), [(3, ('c', 1))], Duration(100))
            | beam.ParDo(Delayed())),
        [('a', 'start'), ('b', 'start'), ('c', 'start'), ('a', 'fired'),
         ('b', 'fired'), ('c', 'fired')])

  def test_processing_time_timer_in_real_time(self):
    """Without a TestStream the clock of the world counts."""
    start = time.time()
    self.check(
        lambda p: (p | beam.Create([('a', 2)]) | beam.ParDo(Delayed())),
        [('a', 'start'), ('a', 'fired')])
    self.assertGreaterEqual(time.time() - start, 2)

  def test_state_is_cleared(self):
    """A clear is seen at once and later; what is added after it remains."""
    class Clear(beam.DoFn):
      BAG = userstate.BagStateSpec('bag', coders.VarIntCoder())
      SET = userstate.SetStateSpec('set', coders.VarIntCoder())
      VALUE = userstate.ReadModifyWriteStateSpec('value', coders.VarIntCoder())
      SUM = userstate.CombiningValueStateSpec('sum', sum)

      def process(
          self,
          kv,
          bag=beam.DoFn.StateParam(BAG),
          values=beam.DoFn.StateParam(SET),
          value=beam.DoFn.StateParam(VALUE),
          total=beam.DoFn.StateParam(SUM)):
        all_states = bag, values, value, total
        i = kv[1]
        if i == 3:
          for state in all_states:
            state.clear()
          assert not list(bag.read()) and not list(values.read())
          assert value.read() is None and total.read() == 0
        bag.add(i)
        values.add(i % 2)
        value.write(i)
        total.add(i)
        if i == 4:
          yield (
              sorted(bag.read()),
              sorted(values.read()),
              value.read(),
              total.read())

    self.check(
        lambda p: (
            p
            | stream(*[[(i, ('a', i))] for i in range(5)])
            | beam.ParDo(Clear())),
        [([3, 4], [0, 1], 4, 7)])

  def test_looping_timer_ends_with_its_window(self):
    class Loop(beam.DoFn):
      TIMER = userstate.TimerSpec('timer', userstate.TimeDomain.WATERMARK)

      def process(self, kv, timer=beam.DoFn.TimerParam(TIMER)):
        timer.set(kv[1])

      @userstate.on_timer(TIMER)
      def fire(
          self,
          t=beam.DoFn.TimestampParam,
          w=beam.DoFn.WindowParam,
          timer=beam.DoFn.TimerParam(TIMER)):
        yield int(t)
        if t + 3 < w.end:
          timer.set(t + 3)

    self.check(
        lambda p: (
            p | stream(0, [(1, ('a', 1))], 5, 8)
            | beam.WindowInto(window.FixedWindows(10))
            | beam.ParDo(Loop())),
        [1, 4, 7])

  # Splittable DoFns

  def test_residuals_hold_the_watermark(self):
    """The watermark is the least of those of all that is left to do."""
    self.check(
        lambda p: (
            p | beam.Create([('slow', 3), ('fast', 1)]) | beam.Reshuffle()
            | beam.ParDo(Stepwise())
            | beam.WindowInto(window.FixedWindows(10))
            | beam.GroupByKey() | beam.ParDo(Pane())),
        [('all', ['fast0', 'slow0', 'slow1', 'slow2'], 10, ON_TIME, 0)])

  def test_splittable_with_side_input(self):
    class Repeat(beam.DoFn):
      @beam.DoFn.unbounded_per_element()
      def process(
          self,
          element,
          side,
          tracker=beam.DoFn.RestrictionParam(Steps(lambda e: 3))):
        i = tracker.current_restriction().start
        if tracker.try_claim(i):
          yield element, i, sorted(side)
          tracker.defer_remainder()

    def build(p):
      side = p | 'Side' >> beam.Create([1, 2])
      return p | beam.Create(['a']) | beam.ParDo(
          Repeat(), beam.pvalue.AsIter(side))

    self.check(build, [('a', i, [1, 2]) for i in range(3)])

  # Coders and keys

  def test_flatten_of_other_coders(self):
    def build(p):
      ints = p | beam.Create([1, 2]).with_output_types(int)
      texts = p | 'Texts' >> beam.Create(['3']).with_output_types(str)
      bools = p | 'Bools' >> beam.Create([True]).with_output_types(bool)
      return (ints, texts, bools) | beam.Flatten() | beam.Map(repr)

    self.check(build, ['1', '2', "'3'", 'True'])

  def test_flatten_of_the_same(self):
    def build(p):
      ones = p | beam.Create([1, 2])
      return (ones, ones, ones) | beam.Flatten() | beam.Map(
          lambda i: ('k', i)) | beam.GroupByKey() | beam.MapTuple(
              lambda k, vs: sorted(vs))

    self.check(build, [[1, 1, 1, 2, 2, 2]])

  def test_large_keys(self):
    """Keys of ten megabytes, for groups, state and timers."""
    class Length(beam.DoFn):
      SUM = userstate.CombiningValueStateSpec('sum', sum)
      TIMER = userstate.TimerSpec('timer', userstate.TimeDomain.WATERMARK)

      def process(
          self,
          kv,
          total=beam.DoFn.StateParam(SUM),
          timer=beam.DoFn.TimerParam(TIMER)):
        total.add(sum(kv[1]))
        timer.set(5)

      @userstate.on_timer(TIMER)
      def fire(
          self, key=beam.DoFn.KeyParam, total=beam.DoFn.StateParam(SUM)):
        yield len(key), key[-1], total.read()

    def build(p):
      return (
          p | stream(0, [(1, 1), (2, 2), (3, 3), (4, 4)], 10)
          | beam.Map(lambda i: ('x' * (10 << 20) + 'ab' [i % 2], i))
          | beam.WindowInto(window.FixedWindows(10))
          | beam.GroupByKey() | beam.ParDo(Length()))

    self.check(build, [((10 << 20) + 1, 'a', 6), ((10 << 20) + 1, 'b', 4)])

  # Metrics

  def test_names_of_steps(self):
    class Counted(beam.PTransform):
      def expand(self, pcoll):
        return pcoll | 'Inner (1/2)' >> beam.ParDo(Counting())

    def build(p):
      return p | beam.Create([1, 2]) | 'Outer: a/b' >> Counted()

    self.check(build, [1, 2])
    counters = self.result.metrics().query(
        beam.metrics.MetricsFilter().with_name('model'))['counters']
    self.assertEqual([('Outer: a/b/Inner (1/2)', 2, 2)],
                     [(c.key.step, c.attempted, c.committed)
                      for c in counters])

  def test_error_keeps_its_text(self):
    """An exception of a timer reaches the client."""
    class Raise(beam.DoFn):
      TIMER = userstate.TimerSpec('timer', userstate.TimeDomain.WATERMARK)

      def process(self, kv, timer=beam.DoFn.TimerParam(TIMER)):
        timer.set(9)

      @userstate.on_timer(TIMER)
      def fire(self):
        raise ValueError('the timer is not amused (error 4714)')

    with self.assertRaisesRegex(Exception, 'not amused .error 4714.'):
      self.check(
          lambda p:
          (p | stream([(1, ('a', 1))], 10) | beam.ParDo(Raise())), [])


class Delayed(beam.DoFn):
  """Emits an element (key, seconds) at once and after as many seconds."""
  TIMER = userstate.TimerSpec('timer', userstate.TimeDomain.REAL_TIME)

  def process(self, kv, timer=beam.DoFn.TimerParam(TIMER)):
    timer.set(Timestamp(time.time() + kv[1]))
    yield kv[0], 'start'

  @userstate.on_timer(TIMER)
  def fire(self, key=beam.DoFn.KeyParam):
    yield key, 'fired'


class Counting(beam.DoFn):
  def __init__(self):
    self._count = beam.metrics.Metrics.counter('ours', 'model')

  def process(self, element):
    self._count.inc()
    yield element


class Steps(RestrictionProvider):
  """A restriction [0, size of the element)."""
  def __init__(self, size):
    self._size = size

  def initial_restriction(self, element):
    return OffsetRange(0, self._size(element))

  def create_tracker(self, restriction):
    return OffsetRestrictionTracker(restriction)

  def restriction_size(self, element, restriction):
    return restriction.size()


class Stepwise(beam.DoFn):
  """Emits the steps of (name, count), one after the other, with a delay.

  The timestamps, and the watermark, are those of the step; a fast element's end
  says nothing about the slow one's.
  """
  @beam.DoFn.unbounded_per_element()
  def process(
      self,
      element,
      tracker=beam.DoFn.RestrictionParam(Steps(lambda e: e[1])),
      estimator=beam.DoFn.WatermarkEstimatorParam(
          ManualWatermarkEstimator.default_provider())):
    assert isinstance(tracker, RestrictionTrackerView)
    i = tracker.current_restriction().start
    if not tracker.try_claim(i):
      return
    estimator.set_watermark(Timestamp(i))
    yield at(i, ('all', f'{element[0]}{i}'))
    tracker.defer_remainder(Duration(0.5))
