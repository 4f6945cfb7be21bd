"""Windows of the user's own: a coder, a field and a way to merge.

Each test runs one pipeline twice, in the classic direct runner of the Python
SDK and against the job service of ``--test-pipeline-options``, and compares all
panes: key, values, window, timestamp and timing.

    python -m pytest -p beam_pytest_plugin custom_windows_suite.py \
        --test-pipeline-options="--job_endpoint=localhost:8073 --environment_type=LOOPBACK"
"""

import os
import struct
import tempfile
import unittest

import apache_beam as beam
from apache_beam import coders
from apache_beam.options.pipeline_options import PipelineOptions
from apache_beam.options.pipeline_options import StandardOptions
from apache_beam.options.pipeline_options import TypeOptions
from apache_beam.runners.direct.direct_runner import BundleBasedDirectRunner
from apache_beam.runners.portability.portable_runner import PortableRunner
from apache_beam.testing.test_pipeline import TestPipeline
from apache_beam.testing.test_stream import TestStream
from apache_beam.transforms import trigger
from apache_beam.transforms import userstate
from apache_beam.transforms import window
from apache_beam.utils.timestamp import Timestamp


class Labelled(window.BoundedWindow):
  """An interval that has a label: windows with equal ends can differ."""
  def __init__(self, start, end, label):
    super().__init__(end)
    self._start = Timestamp.of(start)
    self.label = label

  @property
  def start(self):
    return self._start

  def _key(self):
    return self.start.micros, self.end.micros, self.label

  def __eq__(self, other):
    return type(self) == type(other) and self._key() == other._key()

  def __hash__(self):
    return hash(self._key())

  def __lt__(self, other):
    return self._key() < other._key()

  def __repr__(self):
    return f'[{float(self.start):g},{float(self.end):g})@{self.label}'


class LabelledCoder(coders.Coder):
  """Writes a window in a form that nobody else can know."""
  def encode(self, value):
    label = value.label.encode()
    return label + struct.pack('<qqB', *value._key()[:2], len(label))

  def decode(self, encoded):
    start, end, size = struct.unpack('<qqB', encoded[-17:])
    assert size == len(encoded) - 17, encoded
    return Labelled(
        Timestamp(micros=start), Timestamp(micros=end), encoded[:-17].decode())

  def is_deterministic(self):
    return True


class LabelledFn(window.WindowFn):  # pylint: disable=abstract-method
  """What the functions below have in common. An element is (key, (t, label))."""
  def get_window_coder(self):
    return LabelledCoder()

  def label(self, element):
    return element[1][1]


class LabelledFixed(window.NonMergingWindowFn, LabelledFn):
  """Ten seconds for each label."""
  def assign(self, context):
    start = int(context.timestamp) // 10 * 10
    return [Labelled(start, start + 10, self.label(context.element))]


class LabelledSessions(LabelledFn):
  """Sessions with a gap of five seconds; each label has its own."""
  def assign(self, context):
    t = context.timestamp
    return [Labelled(t, t + 5, self.label(context.element))]

  def merge(self, merge_context):
    by_label = {}
    for w in merge_context.windows:
      by_label.setdefault(w.label, []).append(w)
    for label, windows in by_label.items():
      for group in overlapping(windows):
        merge_context.merge(
            group,
            Labelled(
                min(w.start for w in group), max(w.end for w in group), label))


class CountingSessions(LabelledFn):
  """Sessions over all labels, which carry the greatest label that is in them.

  So the window that some windows merge to differs from each of them, even where
  its ends do not.
  """
  def assign(self, context):
    t = context.timestamp
    return [Labelled(t, t + 5, self.label(context.element))]

  def merge(self, merge_context):
    for group in overlapping(merge_context.windows):
      merge_context.merge(
          group,
          Labelled(
              min(w.start for w in group),
              max(w.end for w in group),
              max(w.label for w in group)))


def overlapping(windows):
  """Returns the groups of two windows and more that are connected."""
  groups = []
  for w in sorted(windows):
    if groups and w.start < max(g.end for g in groups[-1]):
      groups[-1].append(w)
    else:
      groups.append([w])
  return [g for g in groups if len(g) > 1]


class Write(beam.DoFn):
  """Appends a line for each element to a file, its pane included."""
  def __init__(self, path):
    self._path = path

  def process(
      self,
      element,
      w=beam.DoFn.WindowParam,
      t=beam.DoFn.TimestampParam,
      pane=beam.DoFn.PaneInfoParam):
    if isinstance(element, tuple) and not isinstance(element[1], (int, str)):
      element = element[0], sorted(element[1])
    line = f'{element!r} in {w!r} at {int(t)} {pane.timing} {pane.index}'
    with open(self._path, 'a', encoding='utf-8') as f:
      f.write(line + '\n')


def stamp(element):
  return window.TimestampedValue(element, element[1][0])


SOME = [
    ('a', (7, 'x')),
    ('a', (1, 'x')),
    ('b', (3, 'y')),
    ('a', (4, 'x')),  # joins 7 and 1
    ('a', (3, 'y')),
    ('a', (30, 'x')),
    ('b', (5, 'z')),
    ('a', (33, 'y')),
]


# Elements of a stream, and the watermarks between them.
EVENTS = [
    [('a', (7, 'x')), ('b', (3, 'y'))],
    [('a', (1, 'x'))],
    5,  # 1 is over a second later, unless it merges with 7
    [('a', (30, 'x'))],
    [('a', (5, 'y'))],
    20,
    [('a', (33, 'y')), ('b', (28, 'x'))],
    [('a', (26, 'z'))],
]


class CustomWindows(unittest.TestCase):
  def both(self, build, streaming=False):
    """Runs the pipeline that build makes in both runners and compares."""
    direct = self.run_in(BundleBasedDirectRunner(), [], build, streaming)
    given = (TestPipeline.pytest_test_pipeline_options or '').split()
    portable = self.run_in(PortableRunner(), given, build, streaming)
    self.assertTrue(direct)
    self.assertEqual(direct, portable)

  def run_in(self, runner, flags, build, streaming):
    options = PipelineOptions(flags)
    options.view_as(StandardOptions).streaming = streaming
    options.view_as(TypeOptions).allow_unsafe_triggers = True
    with tempfile.TemporaryDirectory() as d:
      path = os.path.join(d, 'panes')
      with beam.Pipeline(runner=runner, options=options) as p:
        _ = build(p) | 'Write' >> beam.ParDo(Write(path))
      with open(path, encoding='utf-8') as f:
        return sorted(f)

  def bounded(self, fn, *transforms):
    def build(p):
      pcoll = p | beam.Create(SOME) | beam.Map(stamp) | beam.WindowInto(fn)
      for t in transforms:
        pcoll = pcoll | t
      return pcoll

    self.both(build)

  def test_fixed(self):
    self.bounded(LabelledFixed(), beam.GroupByKey())

  def test_sessions_by_label(self):
    self.bounded(LabelledSessions(), beam.GroupByKey())

  def test_sessions_with_label(self):
    self.bounded(CountingSessions(), beam.GroupByKey())

  def test_combine(self):
    self.bounded(
        CountingSessions(),
        beam.Map(lambda e: (e[0], e[1][0])),
        beam.CombinePerKey(sum))

  def test_reshuffle(self):
    self.bounded(CountingSessions(), beam.Reshuffle(), beam.GroupByKey())

  def test_group_again(self):
    self.bounded(
        CountingSessions(),
        beam.GroupByKey(),
        beam.Map(lambda e: ('all', repr(sorted(e[1])))),
        'Again' >> beam.GroupByKey())

  def test_window_again(self):
    self.bounded(
        LabelledFixed(),
        'Sessions' >> beam.WindowInto(LabelledSessions()),
        beam.GroupByKey())

  def test_state(self):
    class Index(beam.DoFn):
      SEEN = userstate.CombiningValueStateSpec('seen', sum)

      def process(self, element, seen=beam.DoFn.StateParam(SEEN)):
        seen.add(element[1][0])
        yield element[0], element[1][1]

      @userstate.on_timer(
          userstate.TimerSpec('unused', userstate.TimeDomain.WATERMARK))
      def unused(self):
        pass

    self.bounded(LabelledFixed(), beam.ParDo(Index()), beam.GroupByKey())

  def test_side_input(self):
    def build(p):
      main = (
          p | beam.Create(SOME) | beam.Map(stamp)
          | beam.WindowInto(LabelledFixed()))
      side = (
          p | 'Side' >> beam.Create([1, 12, 31, 33])
          | 'StampSide' >> beam.Map(lambda t: window.TimestampedValue(t, t))
          | 'WindowSide' >> beam.WindowInto(window.FixedWindows(20)))
      return main | beam.Map(
          lambda e, s: (e[0], repr((e[1], sorted(s)))), beam.pvalue.AsIter(side))

    self.both(build)

  def streamed(self, fn, events, transform=None, **windowing):
    def build(p):
      # Made anew for each pipeline: a TestStream belongs to the one it is in.
      stream = TestStream()
      for event in [0, *events]:
        if isinstance(event, list):
          stream.add_elements(event)
        else:
          stream.advance_watermark_to(event)
      return (
          p | stream.advance_watermark_to_infinity() | beam.Map(stamp)
          | beam.WindowInto(fn, **windowing)
          | (transform or beam.GroupByKey()))

    self.both(build, streaming=True)

  def test_stream_fixed(self):
    self.streamed(LabelledFixed(), EVENTS)

  def test_stream_sessions_by_label(self):
    self.streamed(LabelledSessions(), EVENTS)

  def test_stream_sessions_with_label(self):
    self.streamed(CountingSessions(), EVENTS)

  def test_stream_combine(self):
    self.streamed(CountingSessions(), EVENTS, SumOfTimes())

  def test_stream_bridge(self):
    """Windows of earlier bundles become one when the gap is filled."""
    self.streamed(
        CountingSessions(),
        [[('a', (t, label))]
         for t, label in ((10, 'x'), (2, 'z'), (18, 'y'), (14, 'q'), (6, 'r'))])

  def test_stream_late(self):
    self.streamed(
        LabelledSessions(),
        [
            [('a', (1, 'x')), ('a', (2, 'y'))],
            8,
            [('a', (3, 'x'))],  # late, but allowed
            30,
            [('a', (4, 'x'))],  # its window is forgotten
        ],
        NotEmpty(),
        allowed_lateness=10,
        trigger=trigger.AfterWatermark(late=trigger.AfterCount(1)),
        accumulation_mode=trigger.AccumulationMode.DISCARDING)

  def test_stream_early_accumulating(self):
    self.streamed(
        CountingSessions(),
        EVENTS,
        trigger=trigger.AfterWatermark(early=trigger.AfterCount(1)),
        accumulation_mode=trigger.AccumulationMode.ACCUMULATING)

  def test_stream_early_discarding(self):
    self.streamed(
        CountingSessions(),
        EVENTS,
        trigger=trigger.AfterWatermark(early=trigger.AfterCount(1)),
        accumulation_mode=trigger.AccumulationMode.DISCARDING)


class NotEmpty(beam.PTransform):
  """Groups without the empty panes by which windows are closed.

  The classic direct runner does not know them.
  """
  def expand(self, pcoll):
    return pcoll | beam.GroupByKey() | beam.Filter(lambda e: list(e[1]))


class SumOfTimes(beam.PTransform):
  def expand(self, pcoll):
    return (
        pcoll | beam.Map(lambda e: (e[0], e[1][0])) | beam.CombinePerKey(sum))
