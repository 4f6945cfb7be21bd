package gorunner.conformance;

import java.util.ArrayList;
import java.util.Collections;
import java.util.List;
import java.util.Map;
import org.apache.beam.sdk.Pipeline;
import org.apache.beam.sdk.testing.PAssert;
import org.apache.beam.sdk.transforms.Count;
import org.apache.beam.sdk.transforms.Create;
import org.apache.beam.sdk.transforms.DoFn;
import org.apache.beam.sdk.transforms.GroupByKey;
import org.apache.beam.sdk.transforms.ParDo;
import org.apache.beam.sdk.transforms.Reshuffle;
import org.apache.beam.sdk.transforms.windowing.BoundedWindow;
import org.apache.beam.sdk.transforms.windowing.FixedWindows;
import org.apache.beam.sdk.transforms.windowing.IntervalWindow;
import org.apache.beam.sdk.transforms.windowing.PaneInfo;
import org.apache.beam.sdk.transforms.windowing.Sessions;
import org.apache.beam.sdk.transforms.windowing.SlidingWindows;
import org.apache.beam.sdk.transforms.windowing.TimestampCombiner;
import org.apache.beam.sdk.transforms.windowing.Window;
import org.apache.beam.sdk.transforms.windowing.WindowFn;
import org.apache.beam.sdk.values.KV;
import org.apache.beam.sdk.values.PCollection;
import org.apache.beam.sdk.values.TimestampedValue;
import org.joda.time.Duration;
import org.joda.time.Instant;

/** Programs that group by windows. */
final class Windowed {
  static void register(Map<String, Main.Program> all) {
    all.put(
        "windows_fixed",
        p ->
            grouped(
                p,
                FixedWindows.of(Duration.millis(10)),
                "k[1, 2]@0-10",
                "k[3]@10-20",
                "l[4]@30-40"));
    all.put(
        "windows_sliding",
        p ->
            grouped(
                p,
                SlidingWindows.of(Duration.millis(20)).every(Duration.millis(10)),
                "k[1, 2]@-10-10",
                "k[1, 2, 3]@0-20",
                "k[3]@10-30",
                "l[4]@20-40",
                "l[4]@30-50"));
    all.put(
        "windows_sessions",
        p ->
            grouped(
                p, Sessions.withGapDuration(Duration.millis(5)), "k[1, 2]@1-10", "k[3]@12-17", "l[4]@33-38"));
    all.put("windows_combine", Windowed::combined);
    all.put("windows_assert", Windowed::assertedByWindow);
    all.put("windows_reshuffled", Windowed::reshuffled);
    all.put("windows_timestamps", Windowed::timestamps);
  }

  private static PCollection<KV<String, Integer>> input(Pipeline p) {
    return p.apply(
        Create.timestamped(
            TimestampedValue.of(KV.of("k", 1), new Instant(1)),
            TimestampedValue.of(KV.of("k", 2), new Instant(5)),
            TimestampedValue.of(KV.of("k", 3), new Instant(12)),
            TimestampedValue.of(KV.of("l", 4), new Instant(33))));
  }

  private static class Show extends DoFn<KV<String, Iterable<Integer>>, String> {
    @ProcessElement
    public void process(
        @Element KV<String, Iterable<Integer>> e, BoundedWindow w, PaneInfo pane, OutputReceiver<String> out) {
      List<Integer> values = new ArrayList<>();
      e.getValue().forEach(values::add);
      Collections.sort(values);
      IntervalWindow i = (IntervalWindow) w;
      String more = pane.isFirst() && pane.isLast() ? "" : pane.toString();
      out.output(
          e.getKey() + values + "@" + i.start().getMillis() + "-" + i.end().getMillis() + more);
    }
  }

  private static Main.Check grouped(Pipeline p, WindowFn<Object, ?> fn, String... want) {
    PAssert.that(
            input(p).apply(Window.into(fn)).apply(GroupByKey.create()).apply(ParDo.of(new Show())))
        .containsInAnyOrder(want);
    return Main.done(p);
  }

  private static Main.Check combined(Pipeline p) {
    PAssert.that(
            input(p)
                .apply(Window.into(Sessions.withGapDuration(Duration.millis(5))))
                .apply(Count.perKey()))
        .containsInAnyOrder(KV.of("k", 2L), KV.of("k", 1L), KV.of("l", 1L));
    return Main.done(p);
  }

  private static Main.Check assertedByWindow(Pipeline p) {
    PCollection<KV<String, Long>> counts =
        input(p).apply(Window.into(FixedWindows.of(Duration.millis(10)))).apply(Count.perKey());
    PAssert.that(counts)
        .inWindow(new IntervalWindow(new Instant(0), new Instant(10)))
        .containsInAnyOrder(KV.of("k", 2L));
    PAssert.that(counts)
        .inOnTimePane(new IntervalWindow(new Instant(30), new Instant(40)))
        .containsInAnyOrder(KV.of("l", 1L));
    return Main.done(p);
  }

  /** Windows, timestamps and grouping survive a reshuffle. */
  private static Main.Check reshuffled(Pipeline p) {
    PAssert.that(
            input(p)
                .apply(Window.into(FixedWindows.of(Duration.millis(10))))
                .apply(Reshuffle.of())
                .apply(GroupByKey.create())
                .apply(ParDo.of(new Show())))
        .containsInAnyOrder("k[1, 2]@0-10", "k[3]@10-20", "l[4]@30-40");
    return Main.done(p);
  }

  private static class Millis<T> extends DoFn<T, Long> {
    @ProcessElement
    public void process(@Timestamp Instant t, OutputReceiver<Long> out) {
      out.output(t.getMillis());
    }
  }

  private static Main.Check timestamps(Pipeline p) {
    PCollection<KV<String, Integer>> in = input(p);
    for (TimestampCombiner combiner : TimestampCombiner.values()) {
      PCollection<Long> times =
          in.apply(
                  "window" + combiner,
                  Window.<KV<String, Integer>>into(FixedWindows.of(Duration.millis(10)))
                      .withTimestampCombiner(combiner))
              .apply("group" + combiner, GroupByKey.create())
              .apply("times" + combiner, ParDo.of(new Millis<>()));
      switch (combiner) {
        case EARLIEST:
          PAssert.that("earliest", times).containsInAnyOrder(1L, 12L, 33L);
          break;
        case LATEST:
          PAssert.that("latest", times).containsInAnyOrder(5L, 12L, 33L);
          break;
        case END_OF_WINDOW:
          PAssert.that("end", times).containsInAnyOrder(9L, 19L, 39L);
          break;
      }
    }
    return Main.done(p);
  }

  private Windowed() {}
}
