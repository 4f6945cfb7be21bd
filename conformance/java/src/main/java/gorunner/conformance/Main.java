package gorunner.conformance;

import java.util.ArrayList;
import java.util.HashMap;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import org.apache.beam.sdk.Pipeline;
import org.apache.beam.sdk.PipelineResult;
import org.apache.beam.sdk.metrics.MetricKey;
import org.apache.beam.sdk.metrics.MetricNameFilter;
import org.apache.beam.sdk.metrics.MetricResult;
import org.apache.beam.sdk.metrics.MetricsFilter;
import org.apache.beam.sdk.options.PipelineOptions;
import org.apache.beam.sdk.options.PipelineOptionsFactory;
import org.apache.beam.sdk.testing.PAssert;
import org.joda.time.Duration;

/**
 * Runs the programs of this package, each a bounded pipeline that asserts its own results.
 *
 * <p>Usage: {@code Main [name,name...|all] [pipeline options]}. Prints a line {@code ok NAME SECONDS}
 * or {@code fail NAME SECONDS: CAUSE} for each and exits with 1 when any failed.
 */
public final class Main {
  /** A program that builds a pipeline, and looks at the result once it is done. */
  interface Program {
    /** Adds to the pipeline; what is returned checks the result, or the error, of the run. */
    Check build(Pipeline p);
  }

  /** Looks at how a run ended: with a result, or else with an error. */
  interface Check {
    void accept(PipelineResult result, Throwable error) throws Exception;
  }

  /** What a run must be by default: done, with every PAssert executed once. */
  static Check done(Pipeline p) {
    int asserts = PAssert.countAsserts(p);
    return (result, error) -> {
      if (error != null) {
        throw new AssertionError("pipeline failed", error);
      }
      if (result.getState() != PipelineResult.State.DONE) {
        throw new AssertionError("state " + result.getState());
      }
      long seen = counter(result, PAssert.class, PAssert.SUCCESS_COUNTER);
      if (seen != asserts) {
        throw new AssertionError("of " + asserts + " assertions " + seen + " succeeded");
      }
    };
  }

  /**
   * The attempted value of a counter, summed over its transforms. The portable client lists a metric
   * twice, once as the runner's attempted and once as its committed value.
   */
  static long counter(PipelineResult result, Class<?> namespace, String name) {
    Map<MetricKey, Long> values = new HashMap<>();
    MetricsFilter filter =
        MetricsFilter.builder().addNameFilter(MetricNameFilter.named(namespace, name)).build();
    for (MetricResult<Long> r : result.metrics().queryMetrics(filter).getCounters()) {
      values.merge(r.getKey(), r.getAttempted(), Math::max);
    }
    return values.values().stream().mapToLong(Long::longValue).sum();
  }

  private static Map<String, Program> programs() {
    Map<String, Program> all = new LinkedHashMap<>();
    Elementwise.register(all);
    Grouping.register(all);
    SideInputs.register(all);
    Windowed.register(all);
    Sources.register(all);
    States.register(all);
    Observed.register(all);
    Odd.register(all);
    return all;
  }

  private static void execute(Program program, PipelineOptions options) throws Exception {
    Pipeline p = Pipeline.create(options);
    Check check = program.build(p);
    PipelineResult result = null;
    Throwable error = null;
    try {
      result = p.run();
      PipelineResult.State end = result.waitUntilFinish(Duration.standardMinutes(2));
      if (end == null || !end.isTerminal()) {
        try {
          result.cancel();
        } finally {
          error = new IllegalStateException("still " + end + " after two minutes");
        }
      }
    } catch (Throwable e) {
      error = e;
    }
    check.accept(result, error);
  }

  private static String describe(Throwable e) {
    List<String> parts = new ArrayList<>();
    for (Throwable t = e; t != null && t != t.getCause(); t = t.getCause()) {
      parts.add(t.toString());
    }
    return String.join(" <- ", parts);
  }

  public static void main(String[] args) {
    Map<String, Program> all = programs();
    List<String> names =
        args.length == 0 || args[0].equals("all") ? new ArrayList<>(all.keySet()) : List.of(args[0].split(","));
    String[] options = args.length == 0 ? args : java.util.Arrays.copyOfRange(args, 1, args.length);
    int failed = 0;
    for (String name : names) {
      long start = System.nanoTime();
      String outcome = "ok  ";
      String cause = "";
      try {
        if (!all.containsKey(name)) {
          throw new IllegalArgumentException("no such program; there are " + all.keySet());
        }
        PipelineOptions o = PipelineOptionsFactory.fromArgs(options).create();
        o.setJobName("conformance-" + name);
        execute(all.get(name), o);
      } catch (Throwable e) {
        failed++;
        outcome = "fail";
        cause = ": " + describe(e);
      }
      System.out.printf("%s %s %.1fs%s%n", outcome, name, (System.nanoTime() - start) / 1e9, cause);
    }
    System.exit(failed == 0 ? 0 : 1);
  }

  private Main() {}
}
