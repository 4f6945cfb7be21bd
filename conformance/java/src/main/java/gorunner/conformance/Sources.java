package gorunner.conformance;

import java.io.IOException;
import java.io.UncheckedIOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.List;
import java.util.Map;
import java.util.TreeMap;
import java.util.stream.Collectors;
import java.util.stream.IntStream;
import java.util.stream.Stream;
import org.apache.beam.sdk.Pipeline;
import org.apache.beam.sdk.io.CountingSource;
import org.apache.beam.sdk.io.Read;
import org.apache.beam.sdk.io.TextIO;
import org.apache.beam.sdk.io.range.OffsetRange;
import org.apache.beam.sdk.metrics.Counter;
import org.apache.beam.sdk.metrics.Metrics;
import org.apache.beam.sdk.testing.PAssert;
import org.apache.beam.sdk.transforms.Count;
import org.apache.beam.sdk.transforms.Create;
import org.apache.beam.sdk.transforms.DoFn;
import org.apache.beam.sdk.transforms.FlatMapElements;
import org.apache.beam.sdk.transforms.MapElements;
import org.apache.beam.sdk.transforms.ParDo;
import org.apache.beam.sdk.transforms.Reshuffle;
import org.apache.beam.sdk.transforms.Sum;
import org.apache.beam.sdk.transforms.splittabledofn.RestrictionTracker;
import org.apache.beam.sdk.values.KV;
import org.apache.beam.sdk.values.PCollection;
import org.apache.beam.sdk.values.TypeDescriptors;
import org.joda.time.Duration;

/** Programs that read from sources and splittable DoFns. */
final class Sources {
  static void register(Map<String, Main.Program> all) {
    all.put("bounded_source", Sources::boundedSource);
    all.put("sdf", p -> sdf(p, new Range()));
    all.put("sdf_initial_split", p -> sdf(p, new SplitRange()));
    all.put("sdf_resume", p -> sdf(p, new ResumingRange()));
    all.put("sdf_dynamic_split", Sources::dynamicSplit);
    all.put("dynamic_split", Sources::slowElements);
    all.put("word_count", Sources::wordCount);
  }

  private static Main.Check boundedSource(Pipeline p) {
    PCollection<Long> numbers = p.apply(Read.from(CountingSource.upTo(200_000)));
    PAssert.thatSingleton(numbers.apply(Count.globally())).isEqualTo(200_000L);
    PAssert.thatSingleton(numbers.apply(Sum.longsGlobally())).isEqualTo(19_999_900_000L);
    return Main.done(p);
  }

  /** Emits the offsets of its restriction, [0, element). */
  @DoFn.BoundedPerElement
  private static class Range extends DoFn<Long, Long> {
    @GetInitialRestriction
    public OffsetRange restriction(@Element Long size) {
      return new OffsetRange(0, size);
    }

    @ProcessElement
    public ProcessContinuation process(
        RestrictionTracker<OffsetRange, Long> tracker, OutputReceiver<Long> out) {
      for (long i = tracker.currentRestriction().getFrom(); tracker.tryClaim(i); i++) {
        out.output(i);
      }
      return ProcessContinuation.stop();
    }
  }

  /** Like {@link Range}, split before it is executed. */
  private static class SplitRange extends Range {
    @SplitRestriction
    public void split(@Restriction OffsetRange r, OutputReceiver<OffsetRange> out) {
      r.split(1000, 1).forEach(out::output);
    }
  }

  /** Gives itself back after every thousand offsets. */
  @DoFn.BoundedPerElement
  private static class ResumingRange extends DoFn<Long, Long> {
    @GetInitialRestriction
    public OffsetRange restriction(@Element Long size) {
      return new OffsetRange(0, size);
    }

    @ProcessElement
    public ProcessContinuation process(
        RestrictionTracker<OffsetRange, Long> tracker, OutputReceiver<Long> out) {
      long from = tracker.currentRestriction().getFrom();
      for (long i = from; tracker.tryClaim(i); i++) {
        out.output(i);
        if (i - from == 999) {
          return ProcessContinuation.resume().withResumeDelay(Duration.millis(5));
        }
      }
      return ProcessContinuation.stop();
    }
  }

  /** Takes two seconds for a thousand offsets, and counts how often it is called. */
  @DoFn.BoundedPerElement
  private static class SlowRange extends DoFn<Long, Long> {
    private final Counter calls = Metrics.counter(SlowRange.class, "calls");

    @GetInitialRestriction
    public OffsetRange restriction(@Element Long size) {
      return new OffsetRange(0, size);
    }

    @ProcessElement
    public void process(RestrictionTracker<OffsetRange, Long> tracker, OutputReceiver<Long> out)
        throws InterruptedException {
      calls.inc();
      for (long i = tracker.currentRestriction().getFrom(); tracker.tryClaim(i); i++) {
        Thread.sleep(2);
        out.output(i);
      }
    }
  }

  /** One restriction that is read for seconds: idle slots must get a part of it. */
  private static Main.Check dynamicSplit(Pipeline p) {
    PCollection<Long> numbers = p.apply(Create.of(2000L)).apply(ParDo.of(new SlowRange()));
    PAssert.thatSingleton(numbers.apply(Count.globally())).isEqualTo(2000L);
    PAssert.thatSingleton(numbers.apply(Sum.longsGlobally())).isEqualTo(1_999_000L);
    return split(Main.done(p), SlowRange.class);
  }

  private static Main.Check split(Main.Check done, Class<?> fn) {
    return (result, error) -> {
      done.accept(result, error);
      if (Main.counter(result, fn, "calls") < 2) {
        throw new AssertionError("was never split");
      }
    };
  }

  private static class Slow extends DoFn<Integer, Integer> {
    private final Counter calls = Metrics.counter(Slow.class, "calls");

    @StartBundle
    public void start() {
      calls.inc();
    }

    @ProcessElement
    public void process(@Element Integer x, OutputReceiver<Integer> out) throws InterruptedException {
      Thread.sleep(20);
      out.output(x);
    }
  }

  /** A bundle of slow elements: idle slots must get some of them. */
  private static Main.Check slowElements(Pipeline p) {
    List<Integer> numbers = IntStream.range(0, 200).boxed().collect(Collectors.toList());
    PCollection<Integer> out =
        p.apply(Create.of(numbers)).apply(Reshuffle.viaRandomKey()).apply(ParDo.of(new Slow()));
    PAssert.that(out).containsInAnyOrder(numbers);
    return split(Main.done(p), Slow.class);
  }

  private static Main.Check sdf(Pipeline p, DoFn<Long, Long> range) {
    PCollection<Long> numbers = p.apply(Create.of(5000L, 7000L)).apply(ParDo.of(range));
    PAssert.thatSingleton(numbers.apply(Count.globally())).isEqualTo(12_000L);
    PAssert.thatSingleton(numbers.apply(Sum.longsGlobally())).isEqualTo(12_497_500L + 24_496_500L);
    return Main.done(p);
  }

  /** Counts the words of two files, writes the counts to files of its own and reads those. */
  private static Main.Check wordCount(Pipeline p) {
    Path dir;
    try {
      dir = Files.createTempDirectory("gorunner-java-words");
      Files.writeString(dir.resolve("in-0.txt"), "the cat sat\non the mat\n");
      Files.writeString(dir.resolve("in-1.txt"), "the end\n".repeat(5000));
    } catch (IOException e) {
      throw new UncheckedIOException(e);
    }
    p.apply(TextIO.read().from(dir + "/in-*.txt"))
        .apply(
            FlatMapElements.into(TypeDescriptors.strings())
                .via((String line) -> List.of(line.split(" "))))
        .apply(Count.perElement())
        .apply(
            MapElements.into(TypeDescriptors.strings())
                .via((KV<String, Long> kv) -> kv.getKey() + " " + kv.getValue()))
        .apply(TextIO.write().to(dir + "/out").withNumShards(2));
    Main.Check done = Main.done(p);
    return (result, error) -> {
      done.accept(result, error);
      Map<String, String> counts = new TreeMap<>();
      List<Path> outputs = new ArrayList<>();
      try (Stream<Path> files = Files.list(dir)) {
        files.filter(f -> f.getFileName().toString().startsWith("out-")).forEach(outputs::add);
      }
      for (Path f : outputs) {
        for (String line : Files.readAllLines(f).stream().collect(Collectors.toList())) {
          counts.put(line.split(" ")[0], line.split(" ")[1]);
        }
      }
      String want = "{cat=1, end=5000, mat=1, on=1, sat=1, the=5002}";
      if (outputs.size() != 2 || !counts.toString().equals(want)) {
        throw new AssertionError("in " + outputs + ": got " + counts + ", want " + want);
      }
    };
  }

  private Sources() {}
}
