"""The pipelines: each builder takes a root and applies transforms to it."""

import dataclasses
import time
import typing

import apache_beam as beam
from apache_beam import coders
from apache_beam.examples.wordcount import WordExtractingDoFn
from apache_beam.io import iobase
from apache_beam.io import range_trackers
from apache_beam.io.restriction_trackers import OffsetRange
from apache_beam.io.restriction_trackers import OffsetRestrictionTracker
from apache_beam.io.watermark_estimators import ManualWatermarkEstimator
from apache_beam.portability import python_urns
from apache_beam.testing.test_stream import TestStream
from apache_beam.transforms import combiners
from apache_beam.transforms import trigger
from apache_beam.transforms import userstate
from apache_beam.transforms import window
from apache_beam.transforms.periodicsequence import PeriodicImpulse
from apache_beam.transforms.timeutil import TimeDomain
from apache_beam.utils.timestamp import Duration


@dataclasses.dataclass
class Spec:
  name: str
  build: typing.Callable
  streaming: bool = False
  pre_optimize: str = 'default'
  flags: tuple = ()


SPECS = []


def pipeline(**kwargs):
  """Registers a builder under its own name, or under those given as variants.

  variants: a dictionary of name suffix -> Spec fields.
  """
  variants = kwargs.pop('variants', {'': {}})

  def register(build):
    for suffix, fields in variants.items():
      SPECS.append(Spec(build.__name__ + suffix, build, **{**kwargs, **fields}))
    return build

  return register


# Optimized by the client as it does by default, and not at all.
BOTH = {'': {}, '_unoptimized': {'pre_optimize': 'none'}}
# Every way in which the client may submit a pipeline.
ALL_PHASES = {
    **BOTH,
    '_expand_sdf': {'pre_optimize': 'expand_sdf'},
    '_all_except_fusion': {'pre_optimize': 'all_except_fusion'},
    '_all': {'pre_optimize': 'all'},
    '_streaming': {'streaming': True},
}


def double(n):
  return 2 * n


def is_even(n):
  return n % 2 == 0


def pair_with_one(element):
  return element, 1


def format_result(word, count):
  return '%s: %d' % (word, count)


def key_by_parity(n):
  return n % 2, n


def as_pair(n: int) -> tuple[str, int]:
  return str(n), n


def numbers(root, label='Numbers'):
  return root | label >> beam.Create(list(range(10)), reshuffle=False)


def words(root, label='Words'):
  return root | label >> beam.Create(['to', 'be', 'or', 'not', 'to', 'be'])


def pairs(root):
  return words(root) | 'Pair' >> beam.Map(pair_with_one).with_output_types(
      tuple[str, int])


def timestamped(root):
  return (
      numbers(root)
      | 'Timestamp' >> beam.Map(lambda n: window.TimestampedValue(n, n))
      | 'KeyByParity' >> beam.Map(key_by_parity).with_output_types(
          tuple[int, int]))


@pipeline()
def impulse_pardo(root):
  _ = (
      root
      | beam.Impulse()
      | beam.FlatMap(lambda _: range(10)).with_output_types(int)
      | beam.Map(double)
      | beam.Filter(is_even))


@pipeline(variants=ALL_PHASES)
def wordcount(root):
  """apache_beam.examples.wordcount, on relative paths."""
  _ = (
      root
      | 'Read' >> beam.io.ReadFromText('input/*.txt', validate=False)
      | 'Split' >> beam.ParDo(WordExtractingDoFn()).with_output_types(str)
      | 'PairWithOne' >> beam.Map(pair_with_one)
      | 'GroupAndSum' >> beam.CombinePerKey(sum)
      | 'Format' >> beam.MapTuple(format_result)
      | 'Write' >> beam.io.WriteToText('output/counts'))


@pipeline(variants=BOTH)
def gbk(root):
  grouped = pairs(root) | beam.GroupByKey()
  _ = grouped | 'Left' >> beam.MapTuple(lambda k, vs: len(list(vs)))
  _ = grouped | 'Right' >> beam.MapTuple(lambda k, vs: sum(vs))


@pipeline(variants=BOTH)
def combine_per_key(root):
  _ = pairs(root) | beam.CombinePerKey(combiners.MeanCombineFn())


class Packable(beam.PTransform):
  def annotations(self):
    return {python_urns.APPLY_COMBINER_PACKING: b''}

  def expand(self, keyed):
    return {
        'sum': keyed | 'Sum' >> beam.CombinePerKey(sum),
        'mean': keyed | 'Mean' >> beam.CombinePerKey(combiners.MeanCombineFn()),
        'count': keyed
        | 'Count' >> beam.CombinePerKey(combiners.CountCombineFn()),
    }


@pipeline(variants=BOTH)
def combine_packed(root):
  """Three combines of one input, which the client packs into one."""
  _ = pairs(root) | Packable()


@pipeline(variants=BOTH)
def combine_globally(root):
  values = numbers(root)
  _ = values | 'WithDefault' >> beam.CombineGlobally(sum)
  _ = values | 'Without' >> beam.CombineGlobally(sum).without_defaults()
  _ = values | 'Fanout' >> beam.CombineGlobally(
      combiners.MeanCombineFn()).with_fanout(3)
  view = values | 'Singleton' >> beam.CombineGlobally(sum).as_singleton_view()
  _ = values | 'Use' >> beam.Map(lambda n, m: n / m, view)


@pipeline(variants=BOTH)
def combine_hot_keys(root):
  _ = pairs(root) | beam.CombinePerKey(sum).with_hot_key_fanout(4)


class SumAbove(beam.CombineFn):
  def create_accumulator(self, *args, **kwargs):
    return 0

  def add_input(self, accumulator, element, threshold):
    return accumulator + (element if element > threshold else 0)

  def merge_accumulators(self, accumulators, *args, **kwargs):
    return sum(accumulators)

  def extract_output(self, accumulator, *args, **kwargs):
    return accumulator


@pipeline(variants=BOTH)
def combine_side_input(root):
  threshold = root | 'Threshold' >> beam.Create([4])
  _ = numbers(root) | beam.CombineGlobally(
      SumAbove(), beam.pvalue.AsSingleton(threshold)).without_defaults()


@pipeline(variants=BOTH, flags=('--allow_unsafe_triggers', ))
def combine_triggered(root):
  keyed = timestamped(root)
  for label, fire in {
      'AfterCount': trigger.AfterCount(2),
      'Always': trigger.Always(),
      'Repeatedly': trigger.Repeatedly(trigger.AfterCount(2)),
  }.items():
    _ = (
        keyed
        | 'Window' + label >> beam.WindowInto(
            window.FixedWindows(4),
            trigger=fire,
            accumulation_mode=trigger.AccumulationMode.DISCARDING)
        | 'Combine' + label >> beam.CombinePerKey(sum))


@pipeline(variants=BOTH)
def cogbk(root):
  emails = root | 'Emails' >> beam.Create([('amy', 'amy@example.com')])
  ages = root | 'Ages' >> beam.Create([('amy', 31), ('carl', 52)])
  _ = {'emails': emails, 'ages': ages} | 'Named' >> beam.CoGroupByKey()
  _ = (emails, ages) | 'Positional' >> beam.CoGroupByKey()


@pipeline(variants=BOTH)
def flatten(root):
  _ = (
      tuple(numbers(root, label) for label in 'ABC')
      | beam.Flatten()
      | beam.Map(double))


@pipeline(variants=BOTH)
def flatten_coders(root):
  """Inputs of three coders into one Flatten whose output has a fourth."""
  ints = root | 'Ints' >> beam.Create([1, 2]).with_output_types(int)
  bools = root | 'Bools' >> beam.Create([True]).with_output_types(bool)
  texts = root | 'Texts' >> beam.Create(['x']).with_output_types(str)
  _ = (ints, bools, texts) | beam.Flatten() | beam.Map(str)


@pipeline(variants=BOTH)
def flatten_keyed_coders(root):
  """A Flatten of different value coders straight before a GroupByKey."""
  ints = root | 'Ints' >> beam.Create([('a', 1)]).with_output_types(
      tuple[str, int])
  texts = root | 'Texts' >> beam.Create([('a', 'x')]).with_output_types(
      tuple[str, str])
  _ = (ints, texts) | beam.Flatten() | beam.GroupByKey()


@pipeline(variants=BOTH)
def flatten_duplicate(root):
  a, b = numbers(root, 'A'), numbers(root, 'B')
  _ = (a, b, a) | beam.Flatten() | beam.Map(double)


@pipeline(variants=BOTH)
def flatten_one(root):
  _ = (numbers(root), ) | beam.Flatten() | beam.Map(double)


@pipeline(variants=BOTH)
def flatten_zero(root):
  _ = () | beam.Flatten(pipeline=root) | beam.Map(double)
  _ = root | beam.Create([]) | 'OfEmptyCreate' >> beam.Map(double)


@pipeline(variants=BOTH)
def reshuffle(root):
  """Reshuffle of one coder at both ends: known, opaque, keyed, in buckets."""
  _ = numbers(root) | 'Ints' >> beam.Reshuffle() | 'Use' >> beam.Map(double)
  anything = root | 'Anything' >> beam.Create([('k', 1), (2, 'v')])
  _ = anything | 'Any' >> beam.Reshuffle() | 'UseAny' >> beam.Map(str)
  _ = (
      words(root)
      | 'Pair' >> beam.Map(pair_with_one).with_output_types(tuple[str, int])
      | 'Window' >> beam.WindowInto(window.FixedWindows(3))
      | 'PerKey' >> beam.transforms.util.ReshufflePerKey()
      | 'Buckets' >> beam.Reshuffle(num_buckets=3))


class OpaqueKey:
  """A type without a deterministic coder of its own, except a pickled one."""
  def __init__(self, n):
    self.n = n

  def __reduce__(self):
    return OpaqueKey, (self.n, )


@pipeline(variants=BOTH)
def reshuffle_coders(root):
  """Reshuffles whose input and output PCollections differ in coder."""
  opaque = numbers(root) | beam.Map(OpaqueKey).with_output_types(OpaqueKey)
  _ = opaque | 'Opaque' >> beam.Reshuffle() | 'Use' >> beam.Map(str)
  _ = (
      numbers(root, 'More')
      | 'AnyKey' >> beam.Map(lambda n: (n, n)).with_output_types(
          tuple[typing.Any, int])
      | 'Group' >> beam.GroupByKey()  # gives the key a deterministic coder
      | 'Regrouped' >> beam.Reshuffle()  # whose output has the first one again
      | 'UseRegrouped' >> beam.Map(str))
  _ = (
      words(root)
      | 'Typed' >> beam.Map(pair_with_one).with_output_types(tuple[str, int])
      | 'PerKey' >> beam.transforms.util.ReshufflePerKey().with_output_types(
          tuple[typing.Any, typing.Any])
      | 'UsePerKey' >> beam.Map(str))


class Split(beam.DoFn):
  def process(self, n):
    yield n
    yield beam.pvalue.TaggedOutput('even' if is_even(n) else 'odd', n)
    yield beam.pvalue.TaggedOutput('text', str(n))


@pipeline()
def multi_output(root):
  """Tagged outputs; one is used, one not, one flattened with the main one."""
  out = numbers(root) | beam.ParDo(Split()).with_outputs(
      'even', 'odd', 'text', main='main')
  _ = out.even | 'Even' >> beam.Map(double)
  _ = (out.main, out.odd) | beam.Flatten() | 'Both' >> beam.Map(double)


@pipeline()
def dead_letters(root):
  good, bad = numbers(root) | beam.Map(double).with_exception_handling()
  _ = good | 'Good' >> beam.Map(double)
  _ = bad | 'Bad' >> beam.Map(str)


@pipeline(variants=BOTH)
def side_inputs(root):
  """One of each view, in one ParDo each."""
  main = numbers(root)
  keyed = main | beam.Map(as_pair)
  one = root | 'One' >> beam.Create([1])
  empty = main | beam.Filter(lambda n: n > 100)
  for label, view in {
      'Iter': beam.pvalue.AsIter(main),
      'List': beam.pvalue.AsList(main),
      'Dict': beam.pvalue.AsDict(keyed),
      'MultiMap': beam.pvalue.AsMultiMap(keyed),
      'Singleton': beam.pvalue.AsSingleton(one),
      'Default': beam.pvalue.AsSingleton(empty, default_value=7),
  }.items():
    _ = main | 'Use' + label >> beam.Map(lambda n, side: (n, side), view)
  _ = main | 'Several' >> beam.Map(
      lambda n, a, b, c: (n, a, b, c),
      beam.pvalue.AsSingleton(one),
      c=beam.pvalue.AsList(main),
      b=beam.pvalue.AsDict(keyed))


@pipeline()
def side_input_windowed(root):
  main = timestamped(root)
  fixed = main | 'Fixed' >> beam.WindowInto(window.FixedWindows(2))
  side = (
      main
      | beam.Values()
      | 'Sliding' >> beam.WindowInto(window.SlidingWindows(6, 3)))
  _ = fixed | 'FixedSliding' >> beam.Map(
      lambda kv, side: (kv, side), beam.pvalue.AsList(side))
  _ = fixed | 'FixedGlobal' >> beam.Map(
      lambda kv, side: (kv, side), beam.pvalue.AsMultiMap(main))


@pipeline()
def side_input_diamond(root):
  main = numbers(root)
  doubled = main | beam.Map(double)
  _ = main | 'Same' >> beam.Map(
      lambda n, side: n, beam.pvalue.AsList(main))
  _ = doubled | 'Sibling' >> beam.Map(
      lambda n, side: n, beam.pvalue.AsIter(main))
  _ = main | 'Descendant' >> beam.Map(
      lambda n, side: n, beam.pvalue.AsIter(doubled))


@pipeline(streaming=True)
def side_input_triggered(root):
  side = (
      timestamped(root)
      | beam.Values()
      | beam.WindowInto(
          window.GlobalWindows(),
          trigger=trigger.Repeatedly(trigger.AfterCount(1)),
          accumulation_mode=trigger.AccumulationMode.DISCARDING))
  _ = words(root) | beam.Map(lambda w, s: (w, s), beam.pvalue.AsIter(side))


class CountTo(beam.RestrictionProvider):
  def initial_restriction(self, element):
    return OffsetRange(0, element)

  def create_tracker(self, restriction):
    return OffsetRestrictionTracker(restriction)

  def restriction_size(self, element, restriction):
    return restriction.size()


class BoundedSDF(beam.DoFn):
  def process(self, element, tracker=beam.DoFn.RestrictionParam(CountTo())):
    position = tracker.current_restriction().start
    while tracker.try_claim(position):
      yield position
      position += 1


class UnboundedSDF(beam.DoFn):
  @beam.DoFn.unbounded_per_element()
  def process(
      self,
      element,
      tracker=beam.DoFn.RestrictionParam(CountTo()),
      estimator=beam.DoFn.WatermarkEstimatorParam(
          ManualWatermarkEstimator.default_provider())):
    position = tracker.current_restriction().start
    if tracker.try_claim(position):
      yield position
      tracker.defer_remainder(Duration.of(1))


@pipeline(
    variants={
        **BOTH, '_expand_sdf': {'pre_optimize': 'expand_sdf'}, '_all': {
            'pre_optimize': 'all'
        }
    })
def sdf_bounded(root):
  _ = numbers(root) | beam.ParDo(BoundedSDF()) | beam.Map(double)


@pipeline(streaming=True)
def sdf_unbounded(root):
  _ = numbers(root) | beam.ParDo(UnboundedSDF()) | beam.Map(double)


@pipeline(streaming=True)
def periodic_impulse(root):
  _ = root | PeriodicImpulse(0, 3600, 1, apply_windowing=True) | beam.Map(str)


class RangeSource(iobase.BoundedSource):
  def __init__(self, stop):
    self.stop = stop

  def estimate_size(self):
    return self.stop

  def get_range_tracker(self, start, stop):
    return range_trackers.OffsetRangeTracker(start or 0, stop or self.stop)

  def read(self, tracker):
    for i in range(tracker.start_position(), tracker.stop_position()):
      if not tracker.try_claim(i):
        return
      yield i

  def split(self, desired_bundle_size, start_position=None, stop_position=None):
    yield iobase.SourceBundle(self.stop, self, 0, self.stop)


@pipeline(variants={**BOTH, '_expand_sdf': {'pre_optimize': 'expand_sdf'}})
def read_source(root):
  """A BoundedSource, which the SDK wraps in a splittable DoFn."""
  _ = root | beam.io.Read(RangeSource(100)) | beam.Map(double)


class EveryState(beam.DoFn):
  BAG = userstate.BagStateSpec('bag', coders.VarIntCoder())
  VALUE = userstate.ReadModifyWriteStateSpec('value', coders.StrUtf8Coder())
  SUM = userstate.CombiningValueStateSpec('sum', coders.VarIntCoder(), sum)
  SET = userstate.SetStateSpec('set', coders.VarIntCoder())
  LIST = userstate.OrderedListStateSpec('list', coders.VarIntCoder())

  def process(
      self,
      pair,
      bag=beam.DoFn.StateParam(BAG),
      value=beam.DoFn.StateParam(VALUE),
      total=beam.DoFn.StateParam(SUM),
      seen=beam.DoFn.StateParam(SET),
      ordered=beam.DoFn.StateParam(LIST)):
    bag.add(pair[1])
    value.write(pair[0])
    total.add(pair[1])
    seen.add(pair[1])
    yield total.read()


@pipeline(variants=BOTH)
def state_all(root):
  _ = pairs(root) | beam.ParDo(EveryState())


class EveryTimer(beam.DoFn):
  BUFFER = userstate.BagStateSpec('buffer', coders.VarIntCoder())
  EVENT = userstate.TimerSpec('event', TimeDomain.WATERMARK)
  REAL = userstate.TimerSpec('real', TimeDomain.REAL_TIME)

  def process(
      self,
      pair,
      at=beam.DoFn.TimestampParam,
      buffer=beam.DoFn.StateParam(BUFFER),
      event=beam.DoFn.TimerParam(EVENT),
      real=beam.DoFn.TimerParam(REAL)):
    buffer.add(pair[1])
    event.set(at + 10)
    event.set(at + 20, dynamic_timer_tag='later')
    real.set(time.time() + 1)

  @userstate.on_timer(EVENT)
  def on_event(self, buffer=beam.DoFn.StateParam(BUFFER)):
    yield sum(buffer.read())

  @userstate.on_timer(REAL)
  def on_real(self):
    yield -1


@pipeline(variants={'': {}, '_streaming': {'streaming': True}})
def timers(root):
  _ = (
      timestamped(root)
      | beam.WindowInto(window.FixedWindows(5))
      | beam.ParDo(EveryTimer()))


@pipeline(streaming=True)
def timers_custom_window(root):
  """Timers whose key coder and window coder are both the SDK's own."""
  _ = (
      timestamped(root)
      | beam.Map(lambda kv: (OpaqueKey(kv[0]), kv[1])).with_output_types(
          tuple[typing.Any, int])
      | beam.WindowInto(LabelledWindows())
      | beam.ParDo(EveryTimer()))


class FinalizingDoFn(beam.DoFn):
  def process(self, n, finalizer=beam.DoFn.BundleFinalizerParam):
    finalizer.register(int)
    yield n


@pipeline()
def finalization(root):
  _ = numbers(root) | beam.ParDo(FinalizingDoFn())


class LabelledWindow(window.BoundedWindow):
  """A window with a label: neither global nor an interval."""
  def __init__(self, end, label):
    super().__init__(end)
    self.label = label


class LabelledWindowCoder(coders.Coder):
  def encode(self, value):
    return ('%d %s' % (value.end.micros, value.label)).encode()

  def decode(self, encoded):
    micros, label = encoded.decode().split(' ', 1)
    return LabelledWindow(window.Timestamp(micros=int(micros)), label)

  def is_deterministic(self):
    return True


class LabelledWindows(window.NonMergingWindowFn):
  def assign(self, context):
    end = context.timestamp - (context.timestamp % 5) + 5
    return [LabelledWindow(end, 'label')]

  def get_window_coder(self):
    return LabelledWindowCoder()


class CustomSessions(window.WindowFn):
  """Merges windows by a rule of its own."""
  def assign(self, context):
    return [window.IntervalWindow(context.timestamp, context.timestamp + 3)]

  def merge(self, context):
    if len(context.windows) > 1:
      context.merge(
          context.windows, window.IntervalWindow(0, window.MAX_TIMESTAMP))

  def get_window_coder(self):
    return coders.coders.IntervalWindowCoder()


@pipeline(variants=BOTH)
def windows(root):
  keyed = timestamped(root)
  for label, fn in {
      'Global': window.GlobalWindows(),
      'Fixed': window.FixedWindows(3, offset=1),
      'Sliding': window.SlidingWindows(6, 3, offset=1),
      'Sessions': window.Sessions(2),
  }.items():
    windowed = keyed | 'Window' + label >> beam.WindowInto(fn)
    _ = windowed | 'Group' + label >> beam.GroupByKey()
    _ = windowed | 'Sum' + label >> beam.CombinePerKey(sum)


@pipeline(variants={**BOTH, '_streaming': {'streaming': True}})
def windows_custom(root):
  keyed = timestamped(root)
  for label, fn in {
      'Labelled': LabelledWindows(), 'CustomSessions': CustomSessions()
  }.items():
    windowed = keyed | 'Window' + label >> beam.WindowInto(fn)
    _ = windowed | 'Group' + label >> beam.GroupByKey()
    _ = windowed | 'Sum' + label >> beam.CombinePerKey(sum)
  labelled = keyed | 'Again' >> beam.WindowInto(LabelledWindows())
  _ = labelled | 'Side' >> beam.Map(
      lambda kv, side: (kv, side), beam.pvalue.AsList(labelled))


TRIGGERS = {
    'Default': trigger.DefaultTrigger(),
    'Always': trigger.Always(),
    'Never': trigger._Never(),
    'AfterWatermark': trigger.AfterWatermark(
        early=trigger.AfterCount(2), late=trigger.AfterCount(1)),
    'AfterCount': trigger.AfterCount(3),
    'AfterProcessingTime': trigger.AfterProcessingTime(5),
    'AfterEach': trigger.AfterEach(
        trigger.AfterCount(2), trigger.AfterProcessingTime(1)),
    'AfterAny': trigger.AfterAny(trigger.AfterCount(2), trigger.Always()),
    'AfterAll': trigger.AfterAll(
        trigger.AfterCount(2), trigger.AfterProcessingTime(1)),
    'OrFinally': trigger.OrFinally(
        trigger.Repeatedly(trigger.AfterCount(2)), trigger.AfterCount(5)),
}


@pipeline(streaming=True, flags=('--allow_unsafe_triggers', ))
def triggers(root):
  """Each trigger, in both accumulation modes and with allowed lateness."""
  keyed = timestamped(root)
  for label, fire in TRIGGERS.items():
    for mode in ('DISCARDING', 'ACCUMULATING'):
      _ = (
          keyed
          | 'Window' + label + mode >> beam.WindowInto(
              window.FixedWindows(5),
              trigger=fire,
              accumulation_mode=getattr(trigger.AccumulationMode, mode),
              timestamp_combiner=window.TimestampCombiner.OUTPUT_AT_LATEST,
              allowed_lateness=60)
          | 'Group' + label + mode >> beam.GroupByKey())


def stream():
  return (
      TestStream(coder=coders.StrUtf8Coder()).advance_watermark_to(0)
      .add_elements(['a', window.TimestampedValue('b', 5)])
      .advance_processing_time(10).advance_watermark_to(20)
      .add_elements(['late']).advance_watermark_to_infinity())


@pipeline(streaming=True)
def teststream(root):
  _ = (
      root
      | stream()
      | beam.WindowInto(window.FixedWindows(15), allowed_lateness=300)
      | beam.Map(pair_with_one)
      | beam.GroupByKey())


@pipeline(streaming=True)
def teststream_outputs(root):
  """A TestStream with two tagged outputs."""
  out = (
      root
      | TestStream(coder=coders.VarIntCoder(), output_tags=('left', 'right'))
      .advance_watermark_to(0, tag='left').advance_watermark_to(0, tag='right')
      .add_elements([1, 2], tag='left').add_elements([3], tag='right')
      .advance_watermark_to_infinity(tag='left')
      .advance_watermark_to_infinity(tag='right'))
  _ = out['left'] | 'Left' >> beam.Map(double)
  _ = out['right'] | 'Right' >> beam.Map(double)


class Point:
  def __init__(self, x, y):
    self.x, self.y = x, y


class PointCoder(coders.Coder):
  def encode(self, value):
    return b'%d,%d' % (value.x, value.y)

  def decode(self, encoded):
    return Point(*map(int, encoded.split(b',')))

  def is_deterministic(self):
    return True


coders.registry.register_coder(Point, PointCoder)


@pipeline(variants=BOTH)
def custom_coder(root):
  """A registered coder in element, key and value position."""
  points = numbers(root) | beam.Map(
      lambda n: Point(n, n)).with_output_types(Point)
  _ = (
      points
      | 'Key' >> beam.Map(pair_with_one).with_output_types(tuple[Point, int])
      | 'ByPoint' >> beam.GroupByKey())
  _ = (
      points
      | 'Value' >> beam.Map(lambda p: (1, p)).with_output_types(
          tuple[int, Point])
      | 'OfPoints' >> beam.GroupByKey())
  _ = points | beam.Reshuffle() | 'Use' >> beam.Map(str)


@pipeline(variants=BOTH)
def none_keys(root):
  """Keys that encode to no bytes, and None values."""
  keyed = numbers(root) | beam.Map(
      lambda n: (None, n)).with_output_types(tuple[None, int])
  _ = keyed | beam.GroupByKey()
  _ = keyed | beam.CombinePerKey(sum)
  _ = (
      numbers(root, 'More')
      | 'Swapped' >> beam.Map(lambda n: (n, None)).with_output_types(
          tuple[int, None])
      | 'OfNone' >> beam.GroupByKey())


class Person(typing.NamedTuple):
  name: str
  age: int
  city: typing.Optional[str]
  tags: typing.Sequence[str]


coders.registry.register_coder(Person, coders.RowCoder)


def key_by_name(p: Person) -> tuple[str, Person]:
  return p.name, p


def key_by_person(p: Person) -> tuple[Person, int]:
  return p, 1


@pipeline(variants=BOTH)
def rows(root):
  people = words(root) | beam.Map(
      lambda w: Person(w, 1, None, [])).with_output_types(Person)
  _ = people | beam.Map(key_by_name) | 'ByName' >> beam.GroupByKey()
  _ = people | beam.Map(key_by_person) | 'ByPerson' >> beam.GroupByKey()
  _ = people | beam.Select(name='name', years='age') | beam.GroupBy(
      'name').aggregate_field('years', sum, 'total')


@pipeline(variants=BOTH)
def coder_zoo(root):
  """The coders that the SDK infers for its common types."""
  for label, hint in {
      'Float': float,
      'Bytes': bytes,
      'Bool': bool,
      'Any': typing.Any,
      'List': list[int],
      'Iterable': typing.Iterable[str],
      'Triple': tuple[int, str, bytes],
      'Optional': typing.Optional[str],
      'Dict': dict[str, int],
      'Timestamp': window.Timestamp,
      'Nested': tuple[str, tuple[int, list[float]]],
  }.items():
    _ = (
        root
        | label >> beam.Create([]).with_output_types(hint)
        | 'Key' + label >> beam.Map(lambda v: ('k', v)).with_output_types(
            tuple[str, hint])
        | 'Group' + label >> beam.GroupByKey())


class Inner(beam.PTransform):
  def expand(self, pcoll):
    return pcoll | beam.Map(double) | 'Filter' >> beam.Filter(is_even)


class Outer(beam.PTransform):
  def expand(self, pcoll):
    return {
        'inner': pcoll | 'First' >> Inner() | 'Second' >> Inner(),
        'input': pcoll,
    }


class Identity(beam.PTransform):
  """A composite without a transform inside."""
  def expand(self, pcoll):
    return pcoll


@pipeline(variants=BOTH)
def nested_composites(root):
  out = numbers(root) | Outer()
  _ = out['inner'] | Identity() | 'Use' >> beam.Map(double)
  _ = out['input'] | 'Also' >> beam.Map(double)


@pipeline()
def partition(root):
  small, _, large = numbers(root) | beam.Partition(lambda n, parts: n % parts, 3)
  _ = small | 'Small' >> beam.Map(double)
  _ = (small, large) | beam.Flatten() | 'Both' >> beam.Map(double)


@pipeline(variants={'': {}, '_streaming': {'streaming': True}})
def group_into_batches(root):
  keyed = pairs(root)
  _ = keyed | beam.GroupIntoBatches(3, max_buffering_duration_secs=5)
  _ = keyed | beam.GroupIntoBatches.WithShardedKey(3)


@pipeline()
def resource_hints(root):
  """Hints that give rise to several environments."""
  values = numbers(root)
  _ = values | 'Big' >> beam.Map(double).with_resource_hints(min_ram='8GB')
  _ = values | 'Fast' >> beam.Map(double).with_resource_hints(
      accelerator='type:gpu;count:1')
  _ = values | 'Plain' >> beam.Map(double)


@pipeline(flags=('--environment_type=PROCESS', (
    '--environment_config={"command":"/opt/worker/boot","env":{"TZ":"UTC"}}')))
def env_process(root):
  impulse_pardo(root)


@pipeline(flags=(
    '--environment_type=DOCKER',
    '--environment_config=apache/beam_python3.11_sdk:2.77.0'))
def env_docker(root):
  impulse_pardo(root)


@pipeline()
def big(root):
  """More than two hundred transforms."""
  ends = []
  source = numbers(root)
  for branch in range(10):
    col = source
    for step in range(14):
      col = col | 'B%d_%d' % (branch, step) >> beam.Map(double)
    ends.append(
        col
        | 'Key%d' % branch >> beam.Map(key_by_parity).with_output_types(
            tuple[int, int])
        | 'Sum%d' % branch >> beam.CombinePerKey(sum))
  _ = ends | beam.Flatten() | beam.GroupByKey()


class MergedLabel(LabelledWindow):
  """A window that can be told from others, as those that merge must be."""
  def __eq__(self, other):
    return (self.end, self.label) == (other.end, other.label)

  def __hash__(self):
    return hash((self.end, self.label))


class MergedLabelCoder(LabelledWindowCoder):
  def decode(self, encoded):
    window = super().decode(encoded)
    return MergedLabel(window.end, window.label)


class MergingLabels(window.WindowFn):
  """Merges all there is into the last, in windows only the SDK understands."""
  def assign(self, context):
    return [MergedLabel(context.timestamp + 3, 'label')]

  def merge(self, context):
    if len(context.windows) > 1:
      context.merge(context.windows, max(context.windows, key=lambda w: w.end))

  def get_window_coder(self):
    return MergedLabelCoder()


@pipeline(streaming=True)
def streaming_sessions(root):
  """Sessions over a TestStream: native ones, and two that the SDK merges."""
  keyed = root | stream() | beam.Map(pair_with_one)
  fire = trigger.AfterWatermark(
      early=trigger.AfterProcessingTime(5), late=trigger.AfterCount(1))
  for label, fn in {
      'Sessions': window.Sessions(10),
      'CustomSessions': CustomSessions(),
      'MergingLabels': MergingLabels(),
  }.items():
    windowed = keyed | 'Window' + label >> beam.WindowInto(
        fn,
        trigger=fire,
        accumulation_mode=trigger.AccumulationMode.ACCUMULATING,
        allowed_lateness=60)
    _ = (
        windowed | 'Group' + label >> beam.GroupByKey()
        | 'Use' + label >> beam.Map(str))


@pipeline(streaming=True, flags=('--allow_unsafe_triggers', ))
def streaming_triggers(root):
  """Every trigger over a TestStream, grouped and combined."""
  keyed = root | stream() | beam.Map(pair_with_one)
  for label, fire in TRIGGERS.items():
    windowed = keyed | 'Window' + label >> beam.WindowInto(
        window.FixedWindows(5),
        trigger=fire,
        accumulation_mode=trigger.AccumulationMode.DISCARDING,
        allowed_lateness=60)
    _ = (
        windowed | 'Group' + label >> beam.GroupByKey()
        | 'UseGroup' + label >> beam.Map(str))
    _ = (
        windowed | 'Sum' + label >> beam.CombinePerKey(sum)
        | 'UseSum' + label >> beam.Map(str))


@pipeline(streaming=True)
def streaming_side_input(root):
  """Side inputs that change while the main input comes, and one that does not."""
  out = (
      root
      | TestStream(coder=coders.StrUtf8Coder(), output_tags=('main', 'side'))
      .add_elements(['a'], tag='side').advance_watermark_to(10, tag='main')
      .add_elements(['x', 'y'], tag='main').add_elements(['b'], tag='side')
      .advance_watermark_to_infinity(tag='side')
      .advance_watermark_to_infinity(tag='main'))
  latest = out['side'] | 'Latest' >> beam.WindowInto(
      window.GlobalWindows(),
      trigger=trigger.Repeatedly(trigger.AfterCount(1)),
      accumulation_mode=trigger.AccumulationMode.DISCARDING)
  windowed = out['side'] | 'Windowed' >> beam.WindowInto(window.FixedWindows(5))
  sessions = out['side'] | 'Merged' >> beam.WindowInto(CustomSessions())
  _ = (
      out['main']
      | 'WindowMain' >> beam.WindowInto(window.FixedWindows(2))
      | 'First' >> beam.Map(
          lambda x, *sides: (x, sides),
          beam.pvalue.AsList(latest),
          beam.pvalue.AsList(windowed),
          beam.pvalue.AsList(sessions))
      | 'Second' >> beam.Map(
          lambda x, *sides: (x, sides),
          beam.pvalue.AsList(latest),
          beam.pvalue.AsList(words(root)))
      | 'Third' >> beam.Map(str))


@pipeline(streaming=True, flags=('--allow_unsafe_triggers', ))
def streaming_pairs(root):
  """A TestStream of pairs, grouped at once, by coders that fit and that do not."""
  for label, coder in {
      'Same': coders.TupleCoder([coders.StrUtf8Coder(), coders.StrUtf8Coder()]),
      'Opaque': coders.FastPrimitivesCoder(),
  }.items():
    _ = (
        root
        | label >> TestStream(coder=coder).add_elements(
            [('k', 'v'), ('', 'w')]).advance_watermark_to_infinity(
                ).with_output_types(tuple[str, str])
        | 'Group' + label >> beam.GroupByKey()
        | 'Use' + label >> beam.Map(str))


class SidedSDF(beam.DoFn):
  def process(
      self,
      element,
      side,
      tracker=beam.DoFn.RestrictionParam(CountTo())):
    position = tracker.current_restriction().start
    while tracker.try_claim(position):
      yield position + len(side)
      position += 1


@pipeline(streaming=True)
def streaming_sdf(root):
  """A splittable DoFn over unbounded input with a side input that changes."""
  side = root | PeriodicImpulse(0, 10, 1) | 'Side' >> beam.WindowInto(
      window.FixedWindows(5))
  _ = (
      root
      | TestStream(coder=coders.VarIntCoder()).add_elements(
          [3]).advance_watermark_to_infinity()
      | beam.WindowInto(window.FixedWindows(5))
      | beam.ParDo(SidedSDF(), beam.pvalue.AsList(side))
      | beam.Map(double))
