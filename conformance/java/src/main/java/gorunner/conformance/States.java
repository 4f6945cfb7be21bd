package gorunner.conformance;

import java.util.ArrayList;
import java.util.Collections;
import java.util.List;
import java.util.Map;
import java.util.TreeMap;
import java.util.TreeSet;
import org.apache.beam.sdk.Pipeline;
import org.apache.beam.sdk.coders.StringUtf8Coder;
import org.apache.beam.sdk.coders.VarIntCoder;
import org.apache.beam.sdk.coders.VarLongCoder;
import org.apache.beam.sdk.state.BagState;
import org.apache.beam.sdk.state.CombiningState;
import org.apache.beam.sdk.state.MapState;
import org.apache.beam.sdk.state.MultimapState;
import org.apache.beam.sdk.state.OrderedListState;
import org.apache.beam.sdk.state.SetState;
import org.apache.beam.sdk.state.StateSpec;
import org.apache.beam.sdk.state.StateSpecs;
import org.apache.beam.sdk.state.ValueState;
import org.apache.beam.sdk.testing.PAssert;
import org.apache.beam.sdk.transforms.Create;
import org.apache.beam.sdk.transforms.DoFn;
import org.apache.beam.sdk.transforms.ParDo;
import org.apache.beam.sdk.transforms.Sum;
import org.apache.beam.sdk.values.KV;
import org.apache.beam.sdk.values.TimestampedValue;
import org.joda.time.Instant;

/** Programs with user state. Each emits what it knows of a key at the key's last element. */
final class States {
  static void register(Map<String, Main.Program> all) {
    all.put("state_value", p -> run(p, new Value(), "a6", "b9"));
    all.put("state_bag", p -> run(p, new Bag(), "a[1, 2, 3]", "b[4, 5]"));
    all.put("state_bag_clear", p -> run(p, new ClearedBag(), "a1", "b1"));
    all.put("state_combining", p -> run(p, new Combining(), "a6", "b9"));
    all.put("state_map", p -> run(p, new Mapped(), "a{1=10, 2=20, 3=30}", "b{4=40, 5=50}"));
    all.put("state_multimap", p -> run(p, new Multimapped(), "a[0=2, 1=1, 1=3]", "b[0=4, 1=5]"));
    all.put("state_ordered_list", p -> run(p, new Ordered(), "a[1, 2, 3]then[2]", "b[4, 5]then[]"));
    all.put("state_set", p -> run(p, new Distinct(), "a[0, 1]", "b[0, 1]"));
  }

  private static int last(String key) {
    return key.equals("a") ? 3 : 2;
  }

  private static Main.Check run(Pipeline p, DoFn<KV<String, Integer>, String> fn, String... want) {
    PAssert.that(
            p.apply(
                    Create.of(
                        KV.of("a", 1), KV.of("b", 4), KV.of("a", 2), KV.of("b", 5), KV.of("a", 3)))
                .apply(ParDo.of(fn)))
        .containsInAnyOrder(want);
    return Main.done(p);
  }

  private static class Value extends DoFn<KV<String, Integer>, String> {
    @StateId("sum")
    private final StateSpec<ValueState<KV<Integer, Integer>>> spec = StateSpecs.value();

    @ProcessElement
    public void process(
        @Element KV<String, Integer> e,
        @StateId("sum") ValueState<KV<Integer, Integer>> state,
        OutputReceiver<String> out) {
      KV<Integer, Integer> old = state.read() == null ? KV.of(0, 0) : state.read();
      KV<Integer, Integer> now = KV.of(old.getKey() + 1, old.getValue() + e.getValue());
      state.write(now);
      if (now.getKey() == last(e.getKey())) {
        out.output(e.getKey() + now.getValue());
      }
    }
  }

  private static class Bag extends DoFn<KV<String, Integer>, String> {
    @StateId("bag")
    private final StateSpec<BagState<Integer>> spec = StateSpecs.bag(VarIntCoder.of());

    @ProcessElement
    public void process(
        @Element KV<String, Integer> e,
        @StateId("bag") BagState<Integer> state,
        OutputReceiver<String> out) {
      state.add(e.getValue());
      List<Integer> values = new ArrayList<>();
      state.read().forEach(values::add);
      Collections.sort(values);
      if (values.size() == last(e.getKey())) {
        out.output(e.getKey() + values);
      }
    }
  }

  private static class ClearedBag extends DoFn<KV<String, Integer>, String> {
    @StateId("bag")
    private final StateSpec<BagState<Integer>> bag = StateSpecs.bag(VarIntCoder.of());

    @StateId("seen")
    private final StateSpec<ValueState<Integer>> seen = StateSpecs.value(VarIntCoder.of());

    @ProcessElement
    public void process(
        @Element KV<String, Integer> e,
        @StateId("bag") BagState<Integer> bag,
        @StateId("seen") ValueState<Integer> seen,
        OutputReceiver<String> out) {
      bag.clear();
      bag.add(e.getValue());
      int size = 0;
      for (int ignored : bag.read()) {
        size++;
      }
      int n = (seen.read() == null ? 0 : seen.read()) + 1;
      seen.write(n);
      if (n == last(e.getKey())) {
        out.output(e.getKey() + size);
      }
    }
  }

  private static class Combining extends DoFn<KV<String, Integer>, String> {
    @StateId("sum")
    private final StateSpec<CombiningState<Integer, int[], Integer>> sum =
        StateSpecs.combining(Sum.ofIntegers());

    @StateId("seen")
    private final StateSpec<ValueState<Integer>> seen = StateSpecs.value(VarIntCoder.of());

    @ProcessElement
    public void process(
        @Element KV<String, Integer> e,
        @StateId("sum") CombiningState<Integer, int[], Integer> sum,
        @StateId("seen") ValueState<Integer> seen,
        OutputReceiver<String> out) {
      sum.add(e.getValue());
      int n = (seen.read() == null ? 0 : seen.read()) + 1;
      seen.write(n);
      if (n == last(e.getKey())) {
        out.output(e.getKey() + sum.read());
      }
    }
  }

  private static class Mapped extends DoFn<KV<String, Integer>, String> {
    @StateId("map")
    private final StateSpec<MapState<String, Integer>> spec =
        StateSpecs.map(StringUtf8Coder.of(), VarIntCoder.of());

    @ProcessElement
    public void process(
        @Element KV<String, Integer> e,
        @StateId("map") MapState<String, Integer> state,
        OutputReceiver<String> out) {
      state.put("gone", 1);
      state.put("" + e.getValue(), e.getValue());
      state.put("" + e.getValue(), state.get("" + e.getValue()).read() * 10);
      state.remove("gone");
      TreeMap<String, Integer> all = new TreeMap<>();
      state.entries().read().forEach(kv -> all.put(kv.getKey(), kv.getValue()));
      if (all.size() == last(e.getKey())) {
        out.output(e.getKey() + all);
      }
    }
  }

  private static class Multimapped extends DoFn<KV<String, Integer>, String> {
    @StateId("map")
    private final StateSpec<MultimapState<Integer, Integer>> spec =
        StateSpecs.multimap(VarIntCoder.of(), VarIntCoder.of());

    @ProcessElement
    public void process(
        @Element KV<String, Integer> e,
        @StateId("map") MultimapState<Integer, Integer> state,
        OutputReceiver<String> out) {
      state.put(e.getValue() % 2, e.getValue());
      List<String> all = new ArrayList<>();
      state.entries().read().forEach(kv -> all.add(kv.getKey() + "=" + kv.getValue()));
      Collections.sort(all);
      if (all.size() == last(e.getKey())) {
        out.output(e.getKey() + all);
      }
    }
  }

  private static class Ordered extends DoFn<KV<String, Integer>, String> {
    @StateId("list")
    private final StateSpec<OrderedListState<Long>> spec =
        StateSpecs.orderedList(VarLongCoder.of());

    private static List<Long> values(Iterable<TimestampedValue<Long>> entries) {
      List<Long> values = new ArrayList<>();
      entries.forEach(v -> values.add(v.getValue()));
      return values;
    }

    @ProcessElement
    public void process(
        @Element KV<String, Integer> e,
        @StateId("list") OrderedListState<Long> state,
        OutputReceiver<String> out) {
      long value = e.getValue();
      state.add(TimestampedValue.of(value, new Instant(value)));
      List<Long> all = values(state.read());
      if (all.size() == last(e.getKey())) {
        out.output(e.getKey() + all + "then" + values(state.readRange(new Instant(2), new Instant(3))));
      }
    }
  }

  private static class Distinct extends DoFn<KV<String, Integer>, String> {
    @StateId("set")
    private final StateSpec<SetState<Integer>> set = StateSpecs.set(VarIntCoder.of());

    @StateId("seen")
    private final StateSpec<ValueState<Integer>> seen = StateSpecs.value(VarIntCoder.of());

    @ProcessElement
    public void process(
        @Element KV<String, Integer> e,
        @StateId("set") SetState<Integer> set,
        @StateId("seen") ValueState<Integer> seen,
        OutputReceiver<String> out) {
      set.add(e.getValue() % 2);
      int n = (seen.read() == null ? 0 : seen.read()) + 1;
      seen.write(n);
      if (n == last(e.getKey())) {
        TreeSet<Integer> all = new TreeSet<>();
        set.read().forEach(all::add);
        out.output(e.getKey() + all);
      }
    }
  }

  private States() {}
}
