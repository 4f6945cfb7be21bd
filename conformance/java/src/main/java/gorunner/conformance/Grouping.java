package gorunner.conformance;

import java.util.ArrayList;
import java.util.Arrays;
import java.util.Collections;
import java.util.List;
import java.util.Map;
import org.apache.beam.sdk.Pipeline;
import org.apache.beam.sdk.coders.KvCoder;
import org.apache.beam.sdk.coders.StringUtf8Coder;
import org.apache.beam.sdk.coders.VarIntCoder;
import org.apache.beam.sdk.io.GenerateSequence;
import org.apache.beam.sdk.testing.PAssert;
import org.apache.beam.sdk.transforms.Combine;
import org.apache.beam.sdk.transforms.Create;
import org.apache.beam.sdk.transforms.DoFn;
import org.apache.beam.sdk.transforms.GroupByKey;
import org.apache.beam.sdk.transforms.MapElements;
import org.apache.beam.sdk.transforms.Mean;
import org.apache.beam.sdk.transforms.ParDo;
import org.apache.beam.sdk.transforms.Sum;
import org.apache.beam.sdk.transforms.Top;
import org.apache.beam.sdk.transforms.WithKeys;
import org.apache.beam.sdk.transforms.join.CoGbkResult;
import org.apache.beam.sdk.transforms.join.CoGroupByKey;
import org.apache.beam.sdk.transforms.join.KeyedPCollectionTuple;
import org.apache.beam.sdk.values.KV;
import org.apache.beam.sdk.values.PCollection;
import org.apache.beam.sdk.values.TupleTag;
import org.apache.beam.sdk.values.TypeDescriptors;

/** Programs that group and combine. */
final class Grouping {
  static void register(Map<String, Main.Program> all) {
    all.put("gbk", Grouping::gbk);
    all.put("gbk_large", Grouping::gbkLarge);
    all.put("gbk_reiterate", Grouping::gbkReiterate);
    all.put("gbk_hot_key", Grouping::gbkHotKey);
    all.put("combine_per_key", Grouping::combinePerKey);
    all.put("combine_globally", Grouping::combineGlobally);
    all.put("combine_fanout", Grouping::combineFanout);
    all.put("combine_grouped", Grouping::combineGrouped);
    all.put("cogbk", Grouping::cogbk);
  }

  private static class SortedValues<V extends Comparable<? super V>>
      extends DoFn<KV<String, Iterable<V>>, String> {
    @ProcessElement
    public void process(@Element KV<String, Iterable<V>> e, OutputReceiver<String> out) {
      List<V> values = new ArrayList<>();
      e.getValue().forEach(values::add);
      Collections.sort(values);
      out.output(e.getKey() + values);
    }
  }

  private static PCollection<KV<String, Integer>> pairs(Pipeline p) {
    return p.apply(Create.of(KV.of("a", 1), KV.of("b", 5), KV.of("a", 3), KV.of("a", 2)));
  }

  private static Main.Check gbk(Pipeline p) {
    PAssert.that(pairs(p).apply(GroupByKey.create()).apply(ParDo.of(new SortedValues<Integer>())))
        .containsInAnyOrder("a[1, 2, 3]", "b[5]");
    return Main.done(p);
  }

  private static class Sizes extends DoFn<KV<Integer, Iterable<Long>>, KV<Integer, Long>> {
    private final int rounds;

    Sizes(int rounds) {
      this.rounds = rounds;
    }

    @ProcessElement
    public void process(
        @Element KV<Integer, Iterable<Long>> e, OutputReceiver<KV<Integer, Long>> out) {
      long sum = 0;
      for (int round = 0; round < rounds; round++) {
        for (long v : e.getValue()) {
          sum += v;
        }
      }
      out.output(KV.of(e.getKey(), sum));
    }
  }

  /** A few hundred thousand values, so that there are several bundles and splits. */
  private static Main.Check gbkLarge(Pipeline p) {
    PCollection<KV<Integer, Long>> sums =
        p.apply(GenerateSequence.from(0).to(300_000))
            .apply(WithKeys.<Integer, Long>of(v -> (int) (v % 3)).withKeyType(TypeDescriptors.integers()))
            .apply(GroupByKey.create())
            .apply(ParDo.of(new Sizes(1)));
    PAssert.that(sums)
        .containsInAnyOrder(KV.of(0, 14999850000L), KV.of(1, 14999950000L), KV.of(2, 15000050000L));
    return Main.done(p);
  }

  /** One key whose values are many megabytes, read twice. */
  private static Main.Check gbkReiterate(Pipeline p) {
    PCollection<KV<Integer, Long>> sums =
        p.apply(GenerateSequence.from(0).to(1_000_000))
            .apply(WithKeys.<Integer, Long>of(v -> 7).withKeyType(TypeDescriptors.integers()))
            .apply(GroupByKey.create())
            .apply(ParDo.of(new Sizes(2)));
    PAssert.that(sums).containsInAnyOrder(KV.of(7, 999_999_000_000L));
    return Main.done(p);
  }

  private static class Lengths extends DoFn<KV<Integer, Iterable<String>>, Long> {
    @ProcessElement
    public void process(@Element KV<Integer, Iterable<String>> e, OutputReceiver<Long> out) {
      long n = 0;
      for (int round = 0; round < 2; round++) {
        for (String s : e.getValue()) {
          n += s.length();
        }
      }
      out.output(n);
    }
  }

  /** 50 MB of values under one key, more than a message may be large, read twice. */
  private static Main.Check gbkHotKey(Pipeline p) {
    String padding = "0123456789".repeat(100);
    PCollection<Long> length =
        p.apply(GenerateSequence.from(0).to(50_000))
            .apply(MapElements.into(TypeDescriptors.strings()).via(v -> padding))
            .apply(WithKeys.<Integer, String>of(1))
            .setCoder(KvCoder.of(VarIntCoder.of(), StringUtf8Coder.of()))
            .apply(GroupByKey.create())
            .apply(ParDo.of(new Lengths()));
    PAssert.thatSingleton(length).isEqualTo(100_000_000L);
    return Main.done(p);
  }

  private static Main.Check combinePerKey(Pipeline p) {
    PAssert.that("sum", pairs(p).apply(Sum.integersPerKey()))
        .containsInAnyOrder(KV.of("a", 6), KV.of("b", 5));
    PCollection<KV<Integer, Long>> counts =
        p.apply(GenerateSequence.from(0).to(100_000))
            .apply(WithKeys.<Integer, Long>of(v -> (int) (v % 2)).withKeyType(TypeDescriptors.integers()))
            .apply(Sum.longsPerKey());
    PAssert.that("large", counts).containsInAnyOrder(KV.of(0, 2499950000L), KV.of(1, 2500000000L));
    return Main.done(p);
  }

  private static Main.Check combineGlobally(Pipeline p) {
    PCollection<Integer> numbers = p.apply(Create.of(4, 8, 15, 16, 23, 42));
    PAssert.thatSingleton(numbers.apply(Sum.integersGlobally())).isEqualTo(108);
    PAssert.thatSingleton(numbers.apply(Mean.globally())).isEqualTo(18.0);
    PAssert.thatSingleton(numbers.apply(Top.largest(2))).isEqualTo(Arrays.asList(42, 23));
    return Main.done(p);
  }

  private static Main.Check combineFanout(Pipeline p) {
    PAssert.that(pairs(p).apply(Combine.<String, Integer, Integer>perKey(Sum.ofIntegers()).withHotKeyFanout(3)))
        .containsInAnyOrder(KV.of("a", 6), KV.of("b", 5));
    return Main.done(p);
  }

  private static Main.Check combineGrouped(Pipeline p) {
    PAssert.that(pairs(p).apply(GroupByKey.create()).apply(Combine.groupedValues(Sum.ofIntegers())))
        .containsInAnyOrder(KV.of("a", 6), KV.of("b", 5));
    return Main.done(p);
  }

  private static final TupleTag<String> NAMES = new TupleTag<>() {};
  private static final TupleTag<Integer> AGES = new TupleTag<>() {};

  private static class Join extends DoFn<KV<String, CoGbkResult>, String> {
    @ProcessElement
    public void process(@Element KV<String, CoGbkResult> e, OutputReceiver<String> out) {
      List<String> names = new ArrayList<>();
      e.getValue().getAll(NAMES).forEach(names::add);
      Collections.sort(names);
      List<Integer> ages = new ArrayList<>();
      e.getValue().getAll(AGES).forEach(ages::add);
      Collections.sort(ages);
      out.output(e.getKey() + names + ages);
    }
  }

  private static Main.Check cogbk(Pipeline p) {
    PCollection<KV<String, String>> names =
        p.apply("names", Create.of(KV.of("k1", "ann"), KV.of("k1", "bob"), KV.of("k2", "cy")));
    PCollection<KV<String, Integer>> ages = p.apply("ages", Create.of(KV.of("k1", 30), KV.of("k3", 7)));
    PAssert.that(
            KeyedPCollectionTuple.of(NAMES, names)
                .and(AGES, ages)
                .apply(CoGroupByKey.create())
                .apply(ParDo.of(new Join())))
        .containsInAnyOrder("k1[ann, bob][30]", "k2[cy][]", "k3[][7]");
    return Main.done(p);
  }

  private Grouping() {}
}
