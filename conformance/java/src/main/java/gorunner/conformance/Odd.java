package gorunner.conformance;

import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;
import java.util.Map;
import java.util.stream.Collectors;
import java.util.stream.IntStream;
import java.util.stream.StreamSupport;
import org.apache.beam.sdk.Pipeline;
import org.apache.beam.sdk.coders.VarIntCoder;
import org.apache.beam.sdk.io.GenerateSequence;
import org.apache.beam.sdk.transforms.Combine;
import org.apache.beam.sdk.transforms.Count;
import org.apache.beam.sdk.transforms.Create;
import org.apache.beam.sdk.transforms.Distinct;
import org.apache.beam.sdk.transforms.DoFn;
import org.apache.beam.sdk.transforms.Flatten;
import org.apache.beam.sdk.transforms.GroupByKey;
import org.apache.beam.sdk.transforms.GroupIntoBatches;
import org.apache.beam.sdk.transforms.Latest;
import org.apache.beam.sdk.transforms.MapElements;
import org.apache.beam.sdk.transforms.Max;
import org.apache.beam.sdk.transforms.ParDo;
import org.apache.beam.sdk.transforms.PeriodicSequence;
import org.apache.beam.sdk.transforms.Redistribute;
import org.apache.beam.sdk.transforms.Reshuffle;
import org.apache.beam.sdk.transforms.Sum;
import org.apache.beam.sdk.transforms.Top;
import org.apache.beam.sdk.transforms.Values;
import org.apache.beam.sdk.transforms.View;
import org.apache.beam.sdk.transforms.Wait;
import org.apache.beam.sdk.transforms.Watch;
import org.apache.beam.sdk.transforms.WithKeys;
import org.apache.beam.sdk.transforms.WithTimestamps;
import org.apache.beam.sdk.transforms.join.CoGbkResult;
import org.apache.beam.sdk.transforms.join.CoGroupByKey;
import org.apache.beam.sdk.transforms.join.KeyedPCollectionTuple;
import org.apache.beam.sdk.transforms.windowing.CalendarWindows;
import org.apache.beam.sdk.transforms.windowing.FixedWindows;
import org.apache.beam.sdk.transforms.windowing.GlobalWindows;
import org.apache.beam.sdk.transforms.windowing.IntervalWindow;
import org.apache.beam.sdk.transforms.windowing.Sessions;
import org.apache.beam.sdk.transforms.windowing.SlidingWindows;
import org.apache.beam.sdk.transforms.windowing.Window;
import org.apache.beam.sdk.testing.PAssert;
import org.apache.beam.sdk.values.KV;
import org.apache.beam.sdk.values.PCollection;
import org.apache.beam.sdk.values.PCollectionList;
import org.apache.beam.sdk.values.PCollectionTuple;
import org.apache.beam.sdk.values.PCollectionView;
import org.apache.beam.sdk.values.TupleTag;
import org.apache.beam.sdk.values.TupleTagList;
import org.apache.beam.sdk.values.TypeDescriptors;
import org.joda.time.Duration;
import org.joda.time.Instant;

/** Pipelines at the edges of the model: many of something, large ones, strange names and shapes. */
final class Odd {
  static void register(Map<String, Main.Program> all) {
    all.put("odd_names", Odd::names);
    all.put("odd_many_outputs", Odd::manyOutputs);
    all.put("odd_ten_inputs", Odd::tenInputs);
    all.put("odd_flatten_itself", Odd::flattenItself);
    all.put("odd_side_of_side", Odd::sideOfSide);
    all.put("odd_nested_groups", Odd::nestedGroups);
    all.put("odd_large_values", Odd::largeValues);
    all.put("odd_many_windows", Odd::manyWindows);
    all.put("odd_sessions_of_sessions", Odd::sessionsOfSessions);
    all.put("odd_calendar", Odd::calendar);
    all.put("odd_negative_times", Odd::negativeTimes);
    all.put("odd_combiners", Odd::combiners);
    all.put("odd_batches", Odd::batches);
    all.put("odd_wait", Odd::waiting);
    all.put("odd_watch", Odd::watch);
    all.put("odd_sequence", Odd::sequence);
    all.put("odd_periodic", Odd::periodic);
    all.put("odd_long_chain", Odd::longChain);
    all.put("odd_wide", Odd::wide);
  }

  private static final List<String> NAMES =
      Arrays.asList("ü/ñ", "日本語", "🦆", "a\nb", " ", "%s %d", "\"quoted\"", "../..", "\t", "ref_1");

  private static List<Integer> ints(int n) {
    return IntStream.range(0, n).boxed().collect(Collectors.toList());
  }

  private static MapElements<Integer, Integer> plus(int n) {
    return MapElements.into(TypeDescriptors.integers()).via(x -> x + n);
  }

  private static PCollection<KV<String, Integer>> keyed(PCollection<Integer> in) {
    return in.apply(WithKeys.<String, Integer>of(x -> "k" + x % 3).withKeyType(TypeDescriptors.strings()));
  }

  private static Main.Check names(Pipeline p) {
    PCollection<Integer> c = p.apply(Create.of(0));
    for (String name : NAMES) {
      c = c.apply(name, plus(1)).apply(name + name, Reshuffle.viaRandomKey());
    }
    PAssert.that(c).containsInAnyOrder(NAMES.size());
    return Main.done(p);
  }

  private static class Spread extends DoFn<Integer, Integer> {
    private final List<TupleTag<Integer>> tags;

    Spread(List<TupleTag<Integer>> tags) {
      this.tags = tags;
    }

    @ProcessElement
    public void process(@Element Integer x, MultiOutputReceiver out) {
      out.get(tags.get(x % tags.size())).output(x);
    }
  }

  private static Main.Check manyOutputs(Pipeline p) {
    List<TupleTag<Integer>> tags = new ArrayList<>();
    TupleTagList rest = TupleTagList.empty();
    for (int i = 0; i < 100; i++) {
      TupleTag<Integer> tag = new TupleTag<Integer>(i < NAMES.size() ? NAMES.get(i) : "tag " + i) {};
      tags.add(tag);
      rest = i == 0 ? rest : rest.and(tag);
    }
    PCollectionTuple out =
        p.apply(Create.of(ints(300))).apply(ParDo.of(new Spread(tags)).withOutputTags(tags.get(0), rest));
    PCollectionList<Integer> some = PCollectionList.empty(p);
    for (int i = 0; i < 100; i += 2) {
      some = some.and(out.get(tags.get(i)));
    }
    PAssert.that(some.apply(Flatten.pCollections()).apply(Count.globally())).containsInAnyOrder(150L);
    return Main.done(p);
  }

  private static class Sizes extends DoFn<KV<Integer, CoGbkResult>, String> {
    private final List<TupleTag<Integer>> tags;

    Sizes(List<TupleTag<Integer>> tags) {
      this.tags = tags;
    }

    @ProcessElement
    public void process(@Element KV<Integer, CoGbkResult> e, OutputReceiver<String> out) {
      StringBuilder text = new StringBuilder("" + e.getKey());
      for (TupleTag<Integer> tag : tags) {
        text.append(' ').append(StreamSupport.stream(e.getValue().getAll(tag).spliterator(), false).count());
      }
      out.output(text.toString());
    }
  }

  private static Main.Check tenInputs(Pipeline p) {
    KeyedPCollectionTuple<Integer> inputs = KeyedPCollectionTuple.empty(p);
    List<TupleTag<Integer>> tags = new ArrayList<>();
    for (int i = 0; i < 10; i++) {
      tags.add(new TupleTag<Integer>("in" + i) {});
      inputs =
          inputs.and(
              tags.get(i),
              p.apply("in" + i, Create.of(ints(i + 1)))
                  .apply("key" + i, WithKeys.<Integer, Integer>of(x -> x % 2).withKeyType(TypeDescriptors.integers())));
    }
    PAssert.that(inputs.apply(CoGroupByKey.create()).apply(ParDo.of(new Sizes(tags))))
        .containsInAnyOrder("0 1 1 2 2 3 3 4 4 5 5", "1 0 1 1 2 2 3 3 4 4 5");
    return Main.done(p);
  }

  private static Main.Check flattenItself(Pipeline p) {
    PCollection<Integer> c = p.apply(Create.of(1));
    for (int i = 0; i < 10; i++) {
      c = PCollectionList.of(c).and(c).apply("f" + i, Flatten.pCollections());
    }
    PAssert.that(c.apply(Count.globally())).containsInAnyOrder(1024L);
    return Main.done(p);
  }

  private static class Add extends DoFn<Integer, Integer> {
    private final PCollectionView<Integer> view;

    Add(PCollectionView<Integer> view) {
      this.view = view;
    }

    @ProcessElement
    public void process(ProcessContext c) {
      c.output(c.element() + c.sideInput(view));
    }
  }

  private static Main.Check sideOfSide(Pipeline p) {
    PCollection<Integer> c = p.apply(Create.of(1));
    for (int i = 0; i < 8; i++) {
      PCollectionView<Integer> view = c.apply("view" + i, View.asSingleton());
      c = p.apply("root" + i, Create.of(1)).apply("add" + i, ParDo.of(new Add(view)).withSideInputs(view));
    }
    PAssert.that(c).containsInAnyOrder(9);
    return Main.done(p);
  }

  private static Main.Check nestedGroups(Pipeline p) {
    PCollection<KV<Integer, Iterable<KV<String, Iterable<Integer>>>>> nested =
        keyed(p.apply(Create.of(ints(30000))))
            .apply("inner", GroupByKey.create())
            .apply(WithKeys.<Integer, KV<String, Iterable<Integer>>>of(x -> 1).withKeyType(TypeDescriptors.integers()))
            .apply("outer", GroupByKey.create());
    PAssert.that(
            nested
                .apply(Values.create())
                .apply(
                    MapElements.into(TypeDescriptors.integers())
                        .via(
                            groups -> {
                              int n = 0;
                              for (KV<String, Iterable<Integer>> group : groups) {
                                for (int ignored : group.getValue()) {
                                  n++;
                                }
                              }
                              return n;
                            })))
        .containsInAnyOrder(30000);
    return Main.done(p);
  }

  private static class Enlarge extends DoFn<Integer, KV<Integer, byte[]>> {
    @ProcessElement
    public void process(@Element Integer x, OutputReceiver<KV<Integer, byte[]>> out) {
      byte[] value = new byte[30 << 20];
      Arrays.fill(value, x.byteValue());
      out.output(KV.of(x % 2, value));
    }
  }

  private static class Measure extends DoFn<KV<Integer, Iterable<byte[]>>, String> {
    @ProcessElement
    public void process(@Element KV<Integer, Iterable<byte[]>> e, OutputReceiver<String> out) {
      for (byte[] value : e.getValue()) {
        out.output(e.getKey() + " " + value.length + " " + value[value.length - 1]);
      }
    }
  }

  private static Main.Check largeValues(Pipeline p) {
    PAssert.that(
            p.apply(Create.of(1, 2, 3))
                .apply(ParDo.of(new Enlarge()))
                .apply("shuffle", Reshuffle.of())
                .apply(GroupByKey.create())
                .apply(ParDo.of(new Measure())))
        .containsInAnyOrder("1 31457280 1", "0 31457280 2", "1 31457280 3");
    return Main.done(p);
  }

  private static PCollection<Integer> timed(PCollection<Integer> in) {
    return in.apply("timed" + in.getName(), WithTimestamps.of(x -> new Instant(1000L * x)));
  }

  private static Main.Check manyWindows(Pipeline p) {
    PAssert.that(
            timed(p.apply(Create.of(1, 2)))
                .apply(Window.into(SlidingWindows.of(Duration.standardSeconds(3000)).every(Duration.standardSeconds(1))))
                .apply(WithKeys.<String, Integer>of("k"))
                .apply(Sum.integersPerKey())
                .apply(Window.into(new GlobalWindows()))
                .apply(Values.create())
                .apply(Count.perElement()))
        .containsInAnyOrder(KV.of(3, 2999L), KV.of(1, 1L), KV.of(2, 1L));
    return Main.done(p);
  }

  private static class Describe extends DoFn<KV<String, Integer>, String> {
    @ProcessElement
    public void process(@Element KV<String, Integer> e, IntervalWindow w, @Timestamp Instant t, OutputReceiver<String> out) {
      out.output(e.getValue() + " " + w.start().getMillis() + " " + w.end().getMillis() + " " + t.getMillis());
    }
  }

  private static Main.Check sessionsOfSessions(Pipeline p) {
    PCollection<KV<String, Integer>> c =
        timed(p.apply(Create.of(0, 1, 5, 20, 22, 50)))
            .apply(MapElements.into(TypeDescriptors.kvs(TypeDescriptors.strings(), TypeDescriptors.integers())).via(x -> KV.of("k", 1)));
    int i = 0;
    for (int gap : new int[] {3, 13, 20}) {
      c = c.apply("w" + i, Window.into(Sessions.withGapDuration(Duration.standardSeconds(gap))));
      c = c.apply("s" + i++, Sum.integersPerKey());
    }
    PAssert.that(c.apply(ParDo.of(new Describe())).apply("global", Window.into(new GlobalWindows())))
        .containsInAnyOrder("5 20998 57998 57997", "1 65998 85998 85997");
    return Main.done(p);
  }

  private static Main.Check calendar(Pipeline p) {
    PAssert.that(
            p.apply(Create.of(10, 40, 70, 400))
                .apply(WithTimestamps.of(x -> new Instant(86400000L * x)))
                .apply(Window.into(CalendarWindows.months(2)))
                .apply(WithKeys.<String, Integer>of("k"))
                .apply(Sum.integersPerKey())
                .apply(ParDo.of(new Describe()))
                .apply("global", Window.into(new GlobalWindows())))
        .containsInAnyOrder(
            "50 0 5097600000 5097599999", "70 5097600000 10368000000 10367999999", "400 31536000000 36633600000 36633599999");
    return Main.done(p);
  }

  private static Main.Check negativeTimes(Pipeline p) {
    PAssert.that(
            timed(p.apply(Create.of(-6, -1, 0, 9, 10)))
                .apply(Window.into(FixedWindows.of(Duration.standardSeconds(10)).withOffset(Duration.standardSeconds(3))))
                .apply(WithKeys.<String, Integer>of("k"))
                .apply(Sum.integersPerKey())
                .apply(ParDo.of(new Describe()))
                .apply("global", Window.into(new GlobalWindows())))
        .containsInAnyOrder("-7 -7000 3000 2999", "19 3000 13000 12999");
    return Main.done(p);
  }

  private static Main.Check combiners(Pipeline p) {
    PCollection<Integer> in = p.apply(Create.of(ints(1000)));
    PCollection<KV<String, Integer>> pairs = keyed(in);
    PAssert.that(pairs.apply("fanout", Combine.<String, Integer, Integer>perKey(Sum.ofIntegers()).withHotKeyFanout(7)))
        .containsInAnyOrder(KV.of("k0", 166833), KV.of("k1", 166167), KV.of("k2", 166500));
    PAssert.thatSingleton(in.apply("globally", Combine.globally(Max.ofIntegers()).withFanout(5))).isEqualTo(999);
    PAssert.thatSingleton(in.apply("top", Top.largest(2))).isEqualTo(Arrays.asList(999, 998));
    PAssert.that(in.apply("mod", MapElements.into(TypeDescriptors.integers()).via(x -> x % 3)).apply(Distinct.create()))
        .containsInAnyOrder(0, 1, 2);
    PAssert.thatSingleton(timed(in).apply("latest", Latest.globally())).isEqualTo(999);
    PAssert.thatSingleton(
            in.apply("arbitrarily", Redistribute.arbitrarily()).apply("count", Count.globally()))
        .isEqualTo(1000L);
    PAssert.that(p.apply("none", Create.empty(VarIntCoder.of())).apply("sum", Sum.integersGlobally())).containsInAnyOrder(0);
    return Main.done(p);
  }

  private static Main.Check batches(Pipeline p) {
    PCollection<KV<String, Integer>> in = keyed(p.apply(Create.of(ints(300))));
    PAssert.that(
            in.apply("size", GroupIntoBatches.ofSize(40))
                .apply("count", ParDo.of(new CountBatch<String>()))
                .apply("per", Count.perElement()))
        .containsInAnyOrder(KV.of(40, 6L), KV.of(20, 3L));
    PAssert.thatSingleton(
            in.apply("sharded", GroupIntoBatches.<String, Integer>ofSize(40).withShardedKey())
                .apply("counts", ParDo.of(new CountBatch<>()))
                .apply("sum", Sum.integersGlobally()))
        .isEqualTo(300);
    return Main.done(p);
  }

  private static class CountBatch<K> extends DoFn<KV<K, Iterable<Integer>>, Integer> {
    @ProcessElement
    public void process(@Element KV<K, Iterable<Integer>> e, OutputReceiver<Integer> out) {
      int n = 0;
      for (int ignored : e.getValue()) {
        n++;
      }
      out.output(n);
    }
  }

  private static Main.Check waiting(Pipeline p) {
    PCollection<Long> signal = p.apply("signal", Create.of(ints(100))).apply("s", Count.globally());
    PAssert.that(p.apply("main", Create.of(1, 2)).apply(Wait.on(signal))).containsInAnyOrder(1, 2);
    return Main.done(p);
  }

  private static class Poll extends Watch.Growth.PollFn<String, Integer> {
    @Override
    public Watch.Growth.PollResult<Integer> apply(String element, Context c) {
      return Watch.Growth.PollResult.complete(new Instant(0), Arrays.asList(1, 2, element.length()));
    }
  }

  private static Main.Check watch(Pipeline p) {
    PAssert.that(
            p.apply(Create.of("abc", "abcd"))
                .apply(
                    Watch.growthOf(new Poll())
                        .withPollInterval(Duration.millis(20))
                        .withOutputCoder(VarIntCoder.of()))
                .apply(Values.create()))
        .containsInAnyOrder(1, 2, 3, 1, 2, 4);
    return Main.done(p);
  }

  private static Main.Check sequence(Pipeline p) {
    PAssert.thatSingleton(p.apply(GenerateSequence.from(0).to(200_000)).apply(Count.globally())).isEqualTo(200_000L);
    return Main.done(p);
  }

  private static Main.Check periodic(Pipeline p) {
    PAssert.that(
            p.apply(
                    Create.of(
                        new PeriodicSequence.SequenceDefinition(
                            new Instant(0), new Instant(10_000), Duration.standardSeconds(1))))
                .apply(PeriodicSequence.create())
                .apply(Window.into(FixedWindows.of(Duration.standardSeconds(5))))
                .apply(MapElements.into(TypeDescriptors.kvs(TypeDescriptors.strings(), TypeDescriptors.integers())).via(t -> KV.of("k", 1)))
                .apply(Sum.integersPerKey())
                .apply(Window.into(new GlobalWindows()))
                .apply(Values.create()))
        .containsInAnyOrder(5, 5, 1);
    return Main.done(p);
  }

  private static Main.Check longChain(Pipeline p) {
    PCollection<Integer> c = p.apply(Create.of(0));
    for (int i = 0; i < 200; i++) {
      c = c.apply("step" + i, plus(1));
      if (i % 40 == 39) {
        c = c.apply("shuffle" + i, Reshuffle.viaRandomKey());
      }
    }
    PAssert.that(c).containsInAnyOrder(200);
    return Main.done(p);
  }

  private static Main.Check wide(Pipeline p) {
    PCollection<KV<String, Integer>> root = keyed(p.apply(Create.of(1, 2)));
    PCollectionList<KV<String, Integer>> all = PCollectionList.empty(p);
    for (int i = 0; i < 40; i++) {
      all = all.and(root.apply("sum" + i, Sum.integersPerKey()));
    }
    PAssert.that(all.apply(Flatten.pCollections()).apply("all", Sum.integersPerKey()))
        .containsInAnyOrder(KV.of("k1", 40), KV.of("k2", 80));
    return Main.done(p);
  }

  private Odd() {}
}
