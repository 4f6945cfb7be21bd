package gorunner;

import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.UUID;
import java.util.function.Consumer;
import org.apache.beam.sdk.Pipeline;
import org.apache.beam.sdk.coders.KvCoder;
import org.apache.beam.sdk.coders.SerializableCoder;
import org.apache.beam.sdk.coders.StringUtf8Coder;
import org.apache.beam.sdk.coders.VarIntCoder;
import org.apache.beam.sdk.coders.VarLongCoder;
import org.apache.beam.sdk.coders.VoidCoder;
import org.apache.beam.sdk.io.GenerateSequence;
import org.apache.beam.sdk.io.TextIO;
import org.apache.beam.sdk.schemas.Schema;
import org.apache.beam.sdk.testing.TestStream;
import org.apache.beam.sdk.transforms.Combine;
import org.apache.beam.sdk.transforms.Count;
import org.apache.beam.sdk.transforms.Create;
import org.apache.beam.sdk.transforms.Flatten;
import org.apache.beam.sdk.transforms.GroupByKey;
import org.apache.beam.sdk.transforms.GroupIntoBatches;
import org.apache.beam.sdk.transforms.Impulse;
import org.apache.beam.sdk.transforms.Mean;
import org.apache.beam.sdk.transforms.PTransform;
import org.apache.beam.sdk.transforms.ParDo;
import org.apache.beam.sdk.transforms.Partition;
import org.apache.beam.sdk.transforms.Redistribute;
import org.apache.beam.sdk.transforms.Reshuffle;
import org.apache.beam.sdk.transforms.Sum;
import org.apache.beam.sdk.transforms.View;
import org.apache.beam.sdk.transforms.WithKeys;
import org.apache.beam.sdk.transforms.join.CoGroupByKey;
import org.apache.beam.sdk.transforms.join.KeyedPCollectionTuple;
import org.apache.beam.sdk.transforms.resourcehints.ResourceHints;
import org.apache.beam.sdk.transforms.windowing.AfterAll;
import org.apache.beam.sdk.transforms.windowing.AfterEach;
import org.apache.beam.sdk.transforms.windowing.AfterFirst;
import org.apache.beam.sdk.transforms.windowing.AfterPane;
import org.apache.beam.sdk.transforms.windowing.AfterProcessingTime;
import org.apache.beam.sdk.transforms.windowing.AfterSynchronizedProcessingTime;
import org.apache.beam.sdk.transforms.windowing.AfterWatermark;
import org.apache.beam.sdk.transforms.windowing.CalendarWindows;
import org.apache.beam.sdk.transforms.windowing.DefaultTrigger;
import org.apache.beam.sdk.transforms.windowing.FixedWindows;
import org.apache.beam.sdk.transforms.windowing.Never;
import org.apache.beam.sdk.transforms.windowing.Repeatedly;
import org.apache.beam.sdk.transforms.windowing.Sessions;
import org.apache.beam.sdk.transforms.windowing.SlidingWindows;
import org.apache.beam.sdk.transforms.windowing.TimestampCombiner;
import org.apache.beam.sdk.transforms.windowing.Trigger;
import org.apache.beam.sdk.transforms.windowing.Window;
import org.apache.beam.sdk.transforms.windowing.Window.ClosingBehavior;
import org.apache.beam.sdk.transforms.windowing.WindowFn;
import org.apache.beam.sdk.values.KV;
import org.apache.beam.sdk.values.PCollection;
import org.apache.beam.sdk.values.PCollectionList;
import org.apache.beam.sdk.values.PCollectionTuple;
import org.apache.beam.sdk.values.PCollectionView;
import org.apache.beam.sdk.values.Row;
import org.apache.beam.sdk.values.TimestampedValue;
import org.apache.beam.sdk.values.TupleTag;
import org.apache.beam.sdk.values.TupleTagList;
import org.joda.time.Duration;
import org.joda.time.Instant;

/** The pipelines, by name. */
final class Corpus {
  private Corpus() {}

  static Map<String, Consumer<Pipeline>> pipelines() {
    Map<String, Consumer<Pipeline>> all = new LinkedHashMap<>();
    all.put("impulse_pardo", Corpus::impulseParDo);
    all.put("wordcount", Corpus::wordcount);
    all.put("read_bounded", Corpus::readBounded);
    all.put("read_unbounded", Corpus::readUnbounded);
    all.put("combine", Corpus::combine);
    all.put("combine_side_input", Corpus::combineSideInput);
    all.put("cogbk", Corpus::coGbk);
    all.put("flatten", Corpus::flatten);
    all.put("flatten_empty", Corpus::flattenEmpty);
    all.put("side_inputs", Corpus::sideInputs);
    all.put("side_input_windowed", Corpus::sideInputWindowed);
    all.put("multi_output", Corpus::multiOutput);
    all.put("state", Corpus::state);
    all.put("timers", Corpus::timers);
    all.put("timer_family", Corpus::timerFamily);
    all.put("window_expiration", Corpus::windowExpiration);
    all.put("stable_sorted_finalized", Corpus::stableSortedFinalized);
    all.put("sdf", Corpus::sdf);
    all.put("windows", Corpus::windows);
    all.put("windows_custom", Corpus::windowsCustom);
    all.put("triggers", Corpus::triggers);
    all.put("reshuffle", Corpus::reshuffle);
    all.put("redistribute", Corpus::redistribute);
    all.put("group_into_batches", Corpus::groupIntoBatches);
    all.put("teststream", Corpus::testStream);
    all.put("custom_coder", Corpus::customCoder);
    all.put("void_keys", Corpus::voidKeys);
    all.put("rows", Corpus::rows);
    all.put("resource_hints", Corpus::resourceHints);
    all.put("partition", Corpus::partition);
    all.put("env_process", Corpus::impulseParDo);
    all.put("streaming_sorted", Corpus::streamingSorted);
    all.put("streaming_windows", Corpus::streamingWindows);
    return all;
  }

  private static PCollection<Long> numbers(Pipeline p) {
    return p.apply("Numbers", Create.of(0L, 1L, 2L, 3L).withCoder(VarLongCoder.of()));
  }

  private static PCollection<KV<String, Long>> pairs(Pipeline p) {
    return p.apply(
        "Pairs",
        Create.timestamped(
                TimestampedValue.of(KV.of("a", 1L), new Instant(1000)),
                TimestampedValue.of(KV.of("b", 2L), new Instant(2000)),
                TimestampedValue.of(KV.of("a", 3L), new Instant(3000)))
            .withCoder(KvCoder.of(StringUtf8Coder.of(), VarLongCoder.of())));
  }

  private static void impulseParDo(Pipeline p) {
    p.apply(Impulse.create())
        .apply("Emit", ParDo.of(new Fns.Emit()))
        .apply("Double", ParDo.of(new Fns.Twice()));
  }

  /** Text files in, counted words out to one shard: splittable reads and the whole file sink. */
  private static void wordcount(Pipeline p) {
    p.apply("Read", TextIO.read().from("/data/input/*.txt"))
        .apply("Split", ParDo.of(new Fns.Split()))
        .apply(Count.perElement())
        .apply("Format", ParDo.of(new Fns.Format()))
        .apply("Write", TextIO.write().to("/data/output/counts").withNumShards(1));
  }

  private static void readBounded(Pipeline p) {
    p.apply(GenerateSequence.from(0).to(1000)).apply("Double", ParDo.of(new Fns.Twice()));
  }

  private static void readUnbounded(Pipeline p) {
    p.apply(GenerateSequence.from(0).withRate(10, Duration.standardSeconds(1)))
        .apply("Double", ParDo.of(new Fns.Twice()));
  }

  private static void combine(Pipeline p) {
    PCollection<KV<String, Long>> pairs = pairs(p);
    pairs.apply("Sum", Sum.longsPerKey());
    pairs.apply("Mean", Mean.perKey());
    pairs.apply("HotKeys", Combine.<String, Long, Long>perKey(Sum.ofLongs()).withHotKeyFanout(3));
    pairs
        .apply(
            "Window",
            Window.<KV<String, Long>>into(FixedWindows.of(Duration.standardSeconds(2)))
                .triggering(Repeatedly.forever(AfterPane.elementCountAtLeast(2)))
                .withAllowedLateness(Duration.ZERO)
                .discardingFiredPanes())
        .apply("Triggered", Sum.longsPerKey());
    pairs.apply("Group", GroupByKey.create()).apply("Grouped", Combine.groupedValues(Sum.ofLongs()));
    PCollection<Long> numbers = numbers(p);
    numbers.apply("Globally", Combine.globally(Sum.ofLongs()));
    numbers.apply("NoDefault", Combine.globally(Sum.ofLongs()).withoutDefaults());
    numbers.apply("Fanout", Combine.globally(Sum.ofLongs()).withFanout(3));
  }

  private static void combineSideInput(Pipeline p) {
    PCollectionView<Long> threshold =
        p.apply("Threshold", Create.of(2L)).apply(View.asSingleton());
    pairs(p)
        .apply(
            Combine.<String, Long, Long>perKey(new Fns.SumAbove(threshold))
                .withSideInputs(threshold));
  }

  private static void coGbk(Pipeline p) {
    TupleTag<Long> numbers = new TupleTag<>("numbers");
    TupleTag<String> texts = new TupleTag<>("texts");
    KeyedPCollectionTuple.of(numbers, pairs(p))
        .and(texts, p.apply("Texts", Create.of(KV.of("a", "x"), KV.of("c", "y"))))
        .apply(CoGroupByKey.create());
  }

  private static void flatten(Pipeline p) {
    PCollection<Long> a = numbers(p);
    PCollection<Long> b = p.apply("More", Create.of(7L).withCoder(SerializableCoder.of(Long.class)));
    PCollectionList.of(a).and(a).apply("Duplicate", Flatten.pCollections());
    PCollectionList.of(a).apply("One", Flatten.pCollections());
    PCollectionList.of(a).and(b).apply("Coders", Flatten.pCollections());
    p.apply("Lists", Create.of(List.of(List.of(1, 2), List.of(3)))).apply(Flatten.iterables());
  }

  private static void flattenEmpty(Pipeline p) {
    PCollectionList.<Long>empty(p)
        .apply(Flatten.pCollections())
        .setCoder(VarLongCoder.of())
        .apply("Double", ParDo.of(new Fns.Twice()));
    p.apply("Empty", Create.empty(VarLongCoder.of())).apply("Again", ParDo.of(new Fns.Twice()));
  }

  private static void sideInputs(Pipeline p) {
    PCollection<KV<String, Long>> pairs = pairs(p);
    PCollection<Long> main = numbers(p);
    PCollection<Long> one = p.apply("One", Create.of(1L));
    List<PCollectionView<?>> views =
        List.of(
            pairs.apply("Distinct", Sum.longsPerKey()).apply("Map", View.asMap()),
            pairs.apply("Multimap", View.asMultimap()),
            main.apply("Iterable", View.asIterable()),
            main.apply("List", View.asList()),
            main.apply("RandomAccess", View.<Long>asList().withRandomAccess()),
            one.apply("Singleton", View.asSingleton()),
            one.apply("Default", View.<Long>asSingleton().withDefaultValue(5L)),
            main.apply("Combined", Combine.globally(Sum.ofLongs()).asSingletonView()));
    for (int i = 0; i < views.size(); i++) {
      main.apply(
          "Use" + i, ParDo.of(new Fns.UseView(views.get(i))).withSideInputs(views.get(i)));
    }
    main.apply("UseAll", ParDo.of(new Fns.UseView(views.get(0))).withSideInputs(views));
  }

  private static void sideInputWindowed(Pipeline p) {
    PCollection<KV<String, Long>> pairs = pairs(p);
    PCollection<KV<String, Long>> fixed =
        pairs.apply("Fixed", Window.into(FixedWindows.of(Duration.standardSeconds(2))));
    PCollectionView<Map<String, Iterable<Long>>> sliding =
        pairs
            .apply(
                "Sliding",
                Window.into(
                    SlidingWindows.of(Duration.standardSeconds(6))
                        .every(Duration.standardSeconds(3))))
            .apply(View.asMultimap());
    fixed.apply("Use", ParDo.of(new Fns.UsePairView(sliding)).withSideInputs(sliding));
  }

  private static void multiOutput(Pipeline p) {
    PCollectionTuple out =
        numbers(p)
            .apply(
                ParDo.of(new Fns.Several())
                    .withOutputTags(
                        Fns.MAIN, TupleTagList.of(Fns.EVEN).and(Fns.ODD).and(Fns.TEXT)));
    out.get(Fns.MAIN).apply("Main", ParDo.of(new Fns.Twice()));
    PCollectionList.of(out.get(Fns.MAIN)).and(out.get(Fns.ODD)).apply(Flatten.pCollections());
    out.get(Fns.TEXT).setCoder(StringUtf8Coder.of());
  }

  private static void state(Pipeline p) {
    pairs(p).apply(ParDo.of(new Fns.EveryState()));
  }

  private static void timers(Pipeline p) {
    pairs(p)
        .apply(Window.into(FixedWindows.of(Duration.standardSeconds(2))))
        .apply(ParDo.of(new Fns.EveryTimer()));
  }

  private static void timerFamily(Pipeline p) {
    pairs(p)
        .apply(Window.into(Sessions.withGapDuration(Duration.standardSeconds(1))))
        .apply(ParDo.of(new Fns.TimerFamily()));
  }

  private static void windowExpiration(Pipeline p) {
    pairs(p)
        .apply(
            Window.<KV<String, Long>>into(FixedWindows.of(Duration.standardSeconds(2)))
                .withAllowedLateness(Duration.standardSeconds(10))
                .discardingFiredPanes())
        .apply(ParDo.of(new Fns.Expiring()));
  }

  private static void stableSortedFinalized(Pipeline p) {
    PCollection<KV<String, Long>> pairs = pairs(p);
    pairs.apply("Stable", ParDo.of(new Fns.StableInput()));
    pairs.apply("Sorted", ParDo.of(new Fns.SortedInput()));
    pairs.apply("Finalized", ParDo.of(new Fns.Finalizing()));
  }

  private static void sdf(Pipeline p) {
    PCollection<Long> numbers = numbers(p);
    numbers.apply("Bounded", ParDo.of(new Fns.BoundedCount()));
    numbers.apply("Unbounded", ParDo.of(new Fns.UnboundedCount()));
  }

  private static void windows(Pipeline p) {
    PCollection<KV<String, Long>> pairs = pairs(p);
    Duration second = Duration.standardSeconds(1);
    pairs
        .apply("Fixed", Window.into(FixedWindows.of(second.multipliedBy(3)).withOffset(second)))
        .apply("GroupFixed", GroupByKey.create());
    pairs
        .apply(
            "Sliding", Window.into(SlidingWindows.of(second.multipliedBy(6)).every(second)))
        .apply("GroupSliding", GroupByKey.create());
    pairs
        .apply("Sessions", Window.into(Sessions.withGapDuration(second)))
        .apply("GroupSessions", GroupByKey.create());
    pairs
        .apply(
            "Lateness",
            Window.<KV<String, Long>>into(FixedWindows.of(second))
                .withAllowedLateness(second, ClosingBehavior.FIRE_ALWAYS)
                .withOnTimeBehavior(Window.OnTimeBehavior.FIRE_IF_NON_EMPTY)
                .withTimestampCombiner(TimestampCombiner.EARLIEST)
                .accumulatingFiredPanes())
        .apply("GroupLateness", GroupByKey.create());
    pairs
        .apply(
            "OnlyTrigger",
            Window.<KV<String, Long>>configure()
                .triggering(Repeatedly.forever(AfterPane.elementCountAtLeast(1)))
                .withAllowedLateness(second)
                .discardingFiredPanes())
        .apply("GroupOnlyTrigger", GroupByKey.create());
  }

  private static void windowsCustom(Pipeline p) {
    PCollection<KV<String, Long>> pairs = pairs(p);
    pairs
        .apply("Calendar", Window.into(CalendarWindows.days(1)))
        .apply("GroupCalendar", GroupByKey.create());
    pairs
        .apply("Labelled", Window.into(new Fns.LabelledWindows()))
        .apply("GroupLabelled", GroupByKey.create());
    pairs
        .apply("Merging", Window.into(new Fns.MergingWindows()))
        .apply("GroupMerging", GroupByKey.create());
  }

  private static void triggers(Pipeline p) {
    PCollection<KV<String, Long>> pairs = pairs(p);
    Trigger.OnceTrigger two = AfterPane.elementCountAtLeast(2);
    AfterProcessingTime delayed =
        AfterProcessingTime.pastFirstElementInPane()
            .alignedTo(Duration.standardMinutes(1))
            .plusDelayOf(Duration.standardSeconds(5));
    Map<String, Trigger> triggers = new LinkedHashMap<>();
    triggers.put("Default", DefaultTrigger.of());
    triggers.put("Never", Never.ever());
    triggers.put("Count", Repeatedly.forever(two));
    triggers.put("ProcessingTime", Repeatedly.forever(delayed));
    triggers.put("Synchronized", Repeatedly.forever(AfterSynchronizedProcessingTime.ofFirstElement()));
    triggers.put(
        "Watermark",
        AfterWatermark.pastEndOfWindow().withEarlyFirings(two).withLateFirings(two));
    triggers.put("All", Repeatedly.forever(AfterAll.of(two, delayed)));
    triggers.put("Any", Repeatedly.forever(AfterFirst.of(two, delayed)));
    triggers.put("Each", Repeatedly.forever(AfterEach.inOrder(two, delayed)));
    triggers.put(
        "OrFinally",
        Repeatedly.forever(
            Repeatedly.forever(two).orFinally(AfterWatermark.pastEndOfWindow())));
    triggers.forEach(
        (name, trigger) ->
            pairs
                .apply(
                    name,
                    Window.<KV<String, Long>>into(FixedWindows.of(Duration.standardMinutes(1)))
                        .triggering(trigger)
                        .withAllowedLateness(Duration.standardHours(1))
                        .accumulatingFiredPanes())
                .apply("Group" + name, GroupByKey.create()));
  }

  private static void reshuffle(Pipeline p) {
    PCollection<KV<String, Long>> pairs = pairs(p);
    pairs
        .apply(Window.into(Sessions.withGapDuration(Duration.standardSeconds(1))))
        .apply("PerKey", Reshuffle.of())
        .apply("Group", GroupByKey.create());
    numbers(p).apply("RandomKey", Reshuffle.viaRandomKey());
  }

  private static void redistribute(Pipeline p) {
    pairs(p).apply("ByKey", Redistribute.byKey());
    numbers(p)
        .apply("Arbitrarily", Redistribute.<Long>arbitrarily().withAllowDuplicates(true));
  }

  private static void groupIntoBatches(Pipeline p) {
    PCollection<KV<String, Long>> pairs = pairs(p);
    pairs.apply(
        "Batches",
        GroupIntoBatches.<String, Long>ofSize(3)
            .withMaxBufferingDuration(Duration.standardSeconds(5)));
    pairs.apply("Sharded", GroupIntoBatches.<String, Long>ofSize(3).withShardedKey());
  }

  private static void testStream(Pipeline p) {
    stream(p)
        .apply(Window.into(FixedWindows.of(Duration.standardSeconds(10))))
        .apply(GroupByKey.create());
  }

  private static void streamingSorted(Pipeline p) {
    stream(p)
        .apply(
            Window.<KV<String, Long>>into(FixedWindows.of(Duration.standardSeconds(10)))
                .withAllowedLateness(Duration.standardSeconds(30))
                .discardingFiredPanes())
        .apply("Sorted", ParDo.of(new Fns.SortedInput()));
  }

  private static void streamingWindows(Pipeline p) {
    PCollection<KV<String, Long>> pairs = stream(p);
    Map<String, WindowFn<Object, ?>> fns = new LinkedHashMap<>();
    fns.put("Sessions", Sessions.withGapDuration(Duration.standardSeconds(3)));
    fns.put("Custom", new Fns.MergingWindows());
    fns.forEach(
        (name, fn) ->
            pairs
                .apply(
                    name,
                    Window.<KV<String, Long>>into(fn)
                        .withAllowedLateness(
                            Duration.standardSeconds(30), ClosingBehavior.FIRE_ALWAYS)
                        .withOnTimeBehavior(Window.OnTimeBehavior.FIRE_IF_NON_EMPTY)
                        .accumulatingFiredPanes())
                .apply("Sum" + name, Sum.longsPerKey())
                .apply("Use" + name, ParDo.of(new Fns.Format())));
  }

  private static PCollection<KV<String, Long>> stream(Pipeline p) {
    return p.apply(
            TestStream.create(KvCoder.of(StringUtf8Coder.of(), VarLongCoder.of()))
                .advanceWatermarkTo(new Instant(0))
                .addElements(TimestampedValue.of(KV.of("a", 1L), new Instant(1000)))
                .advanceProcessingTime(Duration.standardSeconds(10))
                .advanceWatermarkTo(new Instant(20000))
                .addElements(TimestampedValue.of(KV.of("late", 2L), new Instant(2000)))
                .advanceWatermarkToInfinity());
  }

  private static void customCoder(Pipeline p) {
    PCollection<Fns.Point> points =
        numbers(p).apply("ToPoint", ParDo.of(new Fns.ToPoint())).setCoder(new Fns.PointCoder());
    points
        .apply("Key", ParDo.of(new Fns.PointKeyed()))
        .setCoder(KvCoder.of(new Fns.PointCoder(), VarIntCoder.of()))
        .apply("ByPoint", GroupByKey.create());
    points
        .apply("Value", WithKeys.of(1))
        .setCoder(KvCoder.of(VarIntCoder.of(), new Fns.PointCoder()))
        .apply("OfPoints", GroupByKey.create());
  }

  private static void voidKeys(Pipeline p) {
    numbers(p)
        .apply(WithKeys.of((Void) null))
        .setCoder(KvCoder.of(VoidCoder.of(), VarLongCoder.of()))
        .apply(GroupByKey.create());
  }

  private static void rows(Pipeline p) {
    Schema address = Schema.builder().addStringField("city").addInt32Field("zip").build();
    Schema schema =
        Schema.builder()
            .addStringField("name")
            .addNullableField("age", Schema.FieldType.INT64)
            .addArrayField("tags", Schema.FieldType.STRING)
            .addDateTimeField("born")
            .addRowField("address", address)
            .build();
    // Random otherwise.
    address.setUUID(new UUID(0, 1));
    schema.setUUID(new UUID(0, 2));
    Row row =
        Row.withSchema(schema)
            .addValues(
                "amy", 31L, List.of("x"), new Instant(0),
                Row.withSchema(address).addValues("Bern", 3000).build())
            .build();
    p.apply(Create.of(row).withRowSchema(schema))
        .apply(WithKeys.<Row, Row>of(row))
        .setCoder(
            KvCoder.of(
                org.apache.beam.sdk.coders.RowCoder.of(schema),
                org.apache.beam.sdk.coders.RowCoder.of(schema)))
        .apply(GroupByKey.create());
  }

  private static void resourceHints(Pipeline p) {
    PCollection<Long> numbers = numbers(p);
    numbers.apply("Plain", ParDo.of(new Fns.Twice()));
    numbers.apply("Big", new Hinted().setResourceHints(ResourceHints.create().withMinRam("8GB")));
  }

  private static final class Hinted extends PTransform<PCollection<Long>, PCollection<Long>> {
    @Override
    public PCollection<Long> expand(PCollection<Long> input) {
      return input.apply(ParDo.of(new Fns.Twice()));
    }
  }

  private static void partition(Pipeline p) {
    PCollectionList<Long> parts = numbers(p).apply(Partition.of(3, new Fns.Remainder()));
    parts.get(0).apply("Small", ParDo.of(new Fns.Twice()));
    PCollectionList.of(parts.get(0)).and(parts.get(2)).apply(Flatten.pCollections());
  }
}
