package gorunner.conformance;

import java.util.Map;
import java.util.stream.Collectors;
import java.util.stream.IntStream;
import org.apache.beam.sdk.Pipeline;
import org.apache.beam.sdk.metrics.Counter;
import org.apache.beam.sdk.metrics.Distribution;
import org.apache.beam.sdk.metrics.DistributionResult;
import org.apache.beam.sdk.metrics.Gauge;
import org.apache.beam.sdk.metrics.MetricNameFilter;
import org.apache.beam.sdk.metrics.MetricQueryResults;
import org.apache.beam.sdk.metrics.Metrics;
import org.apache.beam.sdk.metrics.MetricsFilter;
import org.apache.beam.sdk.metrics.StringSet;
import org.apache.beam.sdk.transforms.Create;
import org.apache.beam.sdk.transforms.DoFn;
import org.apache.beam.sdk.transforms.ParDo;
import org.apache.beam.sdk.transforms.Reshuffle;

/** Programs about what the client sees of a run: metrics and errors. */
final class Observed {
  static void register(Map<String, Main.Program> all) {
    all.put("metrics", Observed::metrics);
    all.put("error", Observed::error);
  }

  private static class Measured extends DoFn<Integer, Integer> {
    private final Counter counter = Metrics.counter(Measured.class, "counter");
    private final Distribution distribution = Metrics.distribution(Measured.class, "distribution");
    private final Gauge gauge = Metrics.gauge(Measured.class, "gauge");
    private final StringSet set = Metrics.stringSet(Measured.class, "set");

    @ProcessElement
    public void process(@Element Integer x, OutputReceiver<Integer> out) {
      counter.inc(2);
      distribution.update(x);
      gauge.set(7);
      set.add("parity" + x % 2);
      out.output(x);
    }
  }

  private static void expect(String what, Object got, Object want) {
    if (!got.equals(want)) {
      throw new AssertionError(what + ": got " + got + ", want " + want);
    }
  }

  private static Main.Check metrics(Pipeline p) {
    p.apply(Create.of(IntStream.rangeClosed(1, 100).boxed().collect(Collectors.toList())))
        .apply(Reshuffle.viaRandomKey())
        .apply("Measured/With slash", ParDo.of(new Measured()));
    Main.Check done = Main.done(p);
    return (result, error) -> {
      done.accept(result, error);
      MetricQueryResults r =
          result
              .metrics()
              .queryMetrics(
                  MetricsFilter.builder()
                      .addNameFilter(MetricNameFilter.inNamespace(Measured.class))
                      .build());
      expect("counter", r.getCounters().iterator().next().getAttempted(), 200L);
      expect("step", r.getCounters().iterator().next().getKey().stepName(), "Measured/With slash/ParMultiDo(Measured)");
      DistributionResult d = r.getDistributions().iterator().next().getAttempted();
      expect("distribution", d.getSum() + " " + d.getCount() + " " + d.getMin() + " " + d.getMax(), "5050 100 1 100");
      expect("gauge", r.getGauges().iterator().next().getAttempted().getValue(), 7L);
      expect("set", r.getStringSets().iterator().next().getAttempted().getStringSet().size(), 2);
    };
  }

  private static class Failing extends DoFn<Integer, Integer> {
    @ProcessElement
    public void process(@Element Integer x, OutputReceiver<Integer> out) {
      if (x == 2) {
        throw new IllegalStateException("no twos allowed here");
      }
      out.output(x);
    }
  }

  private static Main.Check error(Pipeline p) {
    p.apply(Create.of(1, 2, 3)).apply("Picky", ParDo.of(new Failing()));
    return (result, error) -> {
      if (error == null) {
        throw new AssertionError("no error, state " + result.getState());
      }
      StringBuilder text = new StringBuilder();
      for (Throwable t = error; t != null && t != t.getCause(); t = t.getCause()) {
        text.append(t).append('\n');
      }
      for (String want : new String[] {"no twos allowed here", "Picky", "Failing.process"}) {
        if (text.indexOf(want) < 0) {
          throw new AssertionError("the error does not say " + want, error);
        }
      }
    };
  }

  private Observed() {}
}
