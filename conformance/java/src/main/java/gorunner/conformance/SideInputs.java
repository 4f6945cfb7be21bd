package gorunner.conformance;

import java.util.ArrayList;
import java.util.Collections;
import java.util.List;
import java.util.Map;
import java.util.TreeMap;
import org.apache.beam.sdk.Pipeline;
import org.apache.beam.sdk.coders.StringUtf8Coder;
import org.apache.beam.sdk.testing.PAssert;
import org.apache.beam.sdk.transforms.Create;
import org.apache.beam.sdk.transforms.DoFn;
import org.apache.beam.sdk.transforms.ParDo;
import org.apache.beam.sdk.transforms.Sum;
import org.apache.beam.sdk.transforms.View;
import org.apache.beam.sdk.transforms.windowing.FixedWindows;
import org.apache.beam.sdk.transforms.windowing.Window;
import org.apache.beam.sdk.values.KV;
import org.apache.beam.sdk.values.PCollection;
import org.apache.beam.sdk.values.PCollectionView;
import org.apache.beam.sdk.values.TimestampedValue;
import org.joda.time.Duration;
import org.joda.time.Instant;

/** Programs with side inputs of each shape. */
final class SideInputs {
  static void register(Map<String, Main.Program> all) {
    all.put("side_iterable", p -> list(p, false));
    all.put("side_list", p -> list(p, true));
    all.put("side_list_empty", SideInputs::emptyList);
    all.put("side_map", SideInputs::map);
    all.put("side_multimap", SideInputs::multimap);
    all.put("side_singleton", SideInputs::singleton);
    all.put("side_default", SideInputs::defaultValue);
    all.put("side_windowed", SideInputs::windowed);
  }

  private static <T extends Comparable<T>> List<T> sorted(Iterable<T> values) {
    List<T> list = new ArrayList<>();
    values.forEach(list::add);
    Collections.sort(list);
    return list;
  }

  private static Main.Check list(Pipeline p, boolean asList) {
    PCollection<String> side = p.apply("side", Create.of("x", "y", "z"));
    DoFn<Integer, String> fn;
    PCollectionView<?> view;
    if (asList) {
      PCollectionView<List<String>> v = side.apply(View.asList());
      view = v;
      fn =
          new DoFn<Integer, String>() {
            @ProcessElement
            public void process(ProcessContext c) {
              List<String> values = c.sideInput(v);
              c.output(c.element() + " " + sorted(values) + values.size());
            }
          };
    } else {
      PCollectionView<Iterable<String>> v = side.apply(View.asIterable());
      view = v;
      fn =
          new DoFn<Integer, String>() {
            @ProcessElement
            public void process(ProcessContext c) {
              c.output(c.element() + " " + sorted(c.sideInput(v)) + 3);
            }
          };
    }
    PAssert.that(p.apply(Create.of(1, 2)).apply(ParDo.of(fn).withSideInputs(view)))
        .containsInAnyOrder("1 [x, y, z]3", "2 [x, y, z]3");
    return Main.done(p);
  }

  private static Main.Check emptyList(Pipeline p) {
    PCollectionView<List<String>> v =
        p.apply("side", Create.empty(StringUtf8Coder.of())).apply(View.asList());
    PCollection<Integer> sizes =
        p.apply(Create.of(1))
            .apply(
                ParDo.of(
                        new DoFn<Integer, Integer>() {
                          @ProcessElement
                          public void process(ProcessContext c) {
                            c.output(c.sideInput(v).size());
                          }
                        })
                    .withSideInputs(v));
    PAssert.that(sizes).containsInAnyOrder(0);
    return Main.done(p);
  }

  private static Main.Check map(Pipeline p) {
    PCollectionView<Map<String, Integer>> v =
        p.apply("side", Create.of(KV.of("a", 1), KV.of("b", 2))).apply(View.asMap());
    PCollection<String> out =
        p.apply(Create.of("a", "b", "c"))
            .apply(
                ParDo.of(
                        new DoFn<String, String>() {
                          @ProcessElement
                          public void process(ProcessContext c) {
                            Map<String, Integer> m = c.sideInput(v);
                            c.output(c.element() + m.get(c.element()) + new TreeMap<>(m));
                          }
                        })
                    .withSideInputs(v));
    PAssert.that(out).containsInAnyOrder("a1{a=1, b=2}", "b2{a=1, b=2}", "cnull{a=1, b=2}");
    return Main.done(p);
  }

  private static Main.Check multimap(Pipeline p) {
    PCollectionView<Map<String, Iterable<Integer>>> v =
        p.apply("side", Create.of(KV.of("a", 1), KV.of("a", 3), KV.of("b", 2))).apply(View.asMultimap());
    PCollection<String> out =
        p.apply(Create.of("a", "b", "c"))
            .apply(
                ParDo.of(
                        new DoFn<String, String>() {
                          @ProcessElement
                          public void process(ProcessContext c) {
                            Map<String, Iterable<Integer>> m = c.sideInput(v);
                            Iterable<Integer> values = m.get(c.element());
                            c.output(
                                c.element()
                                    + (values == null ? "[]" : sorted(values))
                                    + sorted(m.keySet()));
                          }
                        })
                    .withSideInputs(v));
    PAssert.that(out).containsInAnyOrder("a[1, 3][a, b]", "b[2][a, b]", "c[][a, b]");
    return Main.done(p);
  }

  private static class PlusSingleton extends DoFn<Integer, Integer> {
    private final PCollectionView<Integer> view;

    PlusSingleton(PCollectionView<Integer> view) {
      this.view = view;
    }

    @ProcessElement
    public void process(ProcessContext c) {
      c.output(c.element() + c.sideInput(view));
    }
  }

  private static Main.Check singleton(Pipeline p) {
    PCollectionView<Integer> v = p.apply("side", Create.of(100)).apply(View.asSingleton());
    PAssert.that(p.apply(Create.of(1, 2)).apply(ParDo.of(new PlusSingleton(v)).withSideInputs(v)))
        .containsInAnyOrder(101, 102);
    return Main.done(p);
  }

  private static Main.Check defaultValue(Pipeline p) {
    PCollectionView<Integer> v =
        p.apply("side", Create.empty(org.apache.beam.sdk.coders.VarIntCoder.of()))
            .apply(Sum.integersGlobally().asSingletonView());
    PAssert.that(p.apply(Create.of(1, 2)).apply(ParDo.of(new PlusSingleton(v)).withSideInputs(v)))
        .containsInAnyOrder(1, 2);
    return Main.done(p);
  }

  /** Each main window of 10 ms sees the side window of 20 ms that its end falls into. */
  private static Main.Check windowed(Pipeline p) {
    PCollectionView<Integer> v =
        p.apply(
                "side",
                Create.timestamped(
                    TimestampedValue.of(100, new Instant(1)),
                    TimestampedValue.of(200, new Instant(15)),
                    TimestampedValue.of(1000, new Instant(25))))
            .apply("sideWindows", Window.into(FixedWindows.of(Duration.millis(20))))
            .apply(Sum.integersGlobally().withoutDefaults().asSingletonView());
    PCollection<Integer> out =
        p.apply(
                Create.timestamped(
                    TimestampedValue.of(1, new Instant(3)),
                    TimestampedValue.of(2, new Instant(13)),
                    TimestampedValue.of(3, new Instant(23))))
            .apply("mainWindows", Window.into(FixedWindows.of(Duration.millis(10))))
            .apply(ParDo.of(new PlusSingleton(v)).withSideInputs(v));
    PAssert.that(out).containsInAnyOrder(301, 302, 1003);
    return Main.done(p);
  }

  private SideInputs() {}
}
