package gorunner;

import java.io.InputStream;
import java.io.OutputStream;
import java.io.Serializable;
import java.util.Collection;
import java.util.List;
import java.util.Map;
import org.apache.beam.sdk.coders.Coder;
import org.apache.beam.sdk.coders.CustomCoder;
import org.apache.beam.sdk.coders.StringUtf8Coder;
import org.apache.beam.sdk.coders.VarLongCoder;
import org.apache.beam.sdk.io.range.OffsetRange;
import org.apache.beam.sdk.state.BagState;
import org.apache.beam.sdk.state.CombiningState;
import org.apache.beam.sdk.state.MapState;
import org.apache.beam.sdk.state.MultimapState;
import org.apache.beam.sdk.state.OrderedListState;
import org.apache.beam.sdk.state.SetState;
import org.apache.beam.sdk.state.StateSpec;
import org.apache.beam.sdk.state.StateSpecs;
import org.apache.beam.sdk.state.TimeDomain;
import org.apache.beam.sdk.state.Timer;
import org.apache.beam.sdk.state.TimerMap;
import org.apache.beam.sdk.state.TimerSpec;
import org.apache.beam.sdk.state.TimerSpecs;
import org.apache.beam.sdk.state.ValueState;
import org.apache.beam.sdk.transforms.CombineWithContext;
import org.apache.beam.sdk.transforms.DoFn;
import org.apache.beam.sdk.transforms.Partition;
import org.apache.beam.sdk.transforms.Sum;
import org.apache.beam.sdk.transforms.splittabledofn.RestrictionTracker;
import org.apache.beam.sdk.transforms.windowing.BoundedWindow;
import org.apache.beam.sdk.transforms.windowing.IncompatibleWindowException;
import org.apache.beam.sdk.transforms.windowing.IntervalWindow;
import org.apache.beam.sdk.transforms.windowing.NonMergingWindowFn;
import org.apache.beam.sdk.transforms.windowing.WindowFn;
import org.apache.beam.sdk.transforms.windowing.WindowMappingFn;
import org.apache.beam.sdk.values.KV;
import org.apache.beam.sdk.values.PCollectionView;
import org.apache.beam.sdk.values.TupleTag;
import org.joda.time.Duration;
import org.joda.time.Instant;

/** The user functions of the pipelines. */
final class Fns {
  static final TupleTag<Long> MAIN = new TupleTag<Long>("main") {};
  static final TupleTag<Long> EVEN = new TupleTag<Long>("even") {};
  static final TupleTag<Long> ODD = new TupleTag<Long>("odd") {};
  static final TupleTag<String> TEXT = new TupleTag<String>("text") {};

  private Fns() {}

  static class Emit extends DoFn<byte[], Long> {
    @ProcessElement
    public void process(OutputReceiver<Long> out) {
      out.output(1L);
    }
  }

  static class Twice extends DoFn<Long, Long> {
    @ProcessElement
    public void process(@Element Long n, OutputReceiver<Long> out) {
      out.output(2 * n);
    }
  }

  static class Split extends DoFn<String, String> {
    @ProcessElement
    public void process(@Element String line, OutputReceiver<String> out) {
      for (String word : line.split(" ", -1)) {
        out.output(word);
      }
    }
  }

  static class Format extends DoFn<KV<String, Long>, String> {
    @ProcessElement
    public void process(@Element KV<String, Long> pair, OutputReceiver<String> out) {
      out.output(pair.getKey() + ": " + pair.getValue());
    }
  }

  static class Several extends DoFn<Long, Long> {
    @ProcessElement
    public void process(@Element Long n, MultiOutputReceiver out) {
      out.get(MAIN).output(n);
      out.get(n % 2 == 0 ? EVEN : ODD).output(n);
      out.get(TEXT).output(n.toString());
    }
  }

  static class UseView extends DoFn<Long, String> {
    private final PCollectionView<?> view;

    UseView(PCollectionView<?> view) {
      this.view = view;
    }

    @ProcessElement
    public void process(ProcessContext context) {
      context.output(context.element() + " " + context.sideInput(view));
    }
  }

  static class UsePairView extends DoFn<KV<String, Long>, String> {
    private final PCollectionView<Map<String, Iterable<Long>>> view;

    UsePairView(PCollectionView<Map<String, Iterable<Long>>> view) {
      this.view = view;
    }

    @ProcessElement
    public void process(ProcessContext context) {
      context.output(context.element() + " " + context.sideInput(view));
    }
  }

  static class SumAbove extends CombineWithContext.CombineFnWithContext<Long, Long, Long> {
    private final PCollectionView<Long> threshold;

    SumAbove(PCollectionView<Long> threshold) {
      this.threshold = threshold;
    }

    @Override
    public Long createAccumulator(CombineWithContext.Context context) {
      return 0L;
    }

    @Override
    public Long addInput(Long sum, Long n, CombineWithContext.Context context) {
      return n > context.sideInput(threshold) ? sum + n : sum;
    }

    @Override
    public Long mergeAccumulators(Iterable<Long> sums, CombineWithContext.Context context) {
      long total = 0;
      for (long sum : sums) {
        total += sum;
      }
      return total;
    }

    @Override
    public Long extractOutput(Long sum, CombineWithContext.Context context) {
      return sum;
    }
  }

  static class EveryState extends DoFn<KV<String, Long>, String> {
    @StateId("value")
    private final StateSpec<ValueState<String>> value = StateSpecs.value(StringUtf8Coder.of());

    @StateId("bag")
    private final StateSpec<BagState<Long>> bag = StateSpecs.bag(VarLongCoder.of());

    @StateId("sum")
    private final StateSpec<CombiningState<Long, long[], Long>> sum =
        StateSpecs.combining(Sum.ofLongs());

    @StateId("map")
    private final StateSpec<MapState<String, Long>> map =
        StateSpecs.map(StringUtf8Coder.of(), VarLongCoder.of());

    @StateId("set")
    private final StateSpec<SetState<Long>> set = StateSpecs.set(VarLongCoder.of());

    @StateId("multimap")
    private final StateSpec<MultimapState<String, Long>> multimap =
        StateSpecs.multimap(StringUtf8Coder.of(), VarLongCoder.of());

    @StateId("list")
    private final StateSpec<OrderedListState<Long>> list =
        StateSpecs.orderedList(VarLongCoder.of());

    @ProcessElement
    public void process(
        @Element KV<String, Long> pair,
        @StateId("value") ValueState<String> value,
        @StateId("bag") BagState<Long> bag,
        @StateId("set") SetState<Long> set) {
      value.write(pair.getKey());
      bag.add(pair.getValue());
      set.add(pair.getValue());
    }
  }

  static class EveryTimer extends DoFn<KV<String, Long>, Long> {
    @StateId("buffer")
    private final StateSpec<BagState<Long>> buffer = StateSpecs.bag(VarLongCoder.of());

    @TimerId("event")
    private final TimerSpec event = TimerSpecs.timer(TimeDomain.EVENT_TIME);

    @TimerId("processing")
    private final TimerSpec processing = TimerSpecs.timer(TimeDomain.PROCESSING_TIME);

    @ProcessElement
    public void process(
        @Element KV<String, Long> pair,
        @StateId("buffer") BagState<Long> buffer,
        @TimerId("event") Timer event,
        @TimerId("processing") Timer processing) {
      buffer.add(pair.getValue());
      event.align(Duration.standardSeconds(1)).setRelative();
      processing.offset(Duration.standardSeconds(1)).setRelative();
    }

    @OnTimer("event")
    public void onEvent(@StateId("buffer") BagState<Long> buffer, OutputReceiver<Long> out) {
      buffer.read().forEach(out::output);
    }

    @OnTimer("processing")
    public void onProcessing(OutputReceiver<Long> out) {
      out.output(-1L);
    }
  }

  static class TimerFamily extends DoFn<KV<String, Long>, Long> {
    @TimerFamily("family")
    private final TimerSpec family = TimerSpecs.timerMap(TimeDomain.EVENT_TIME);

    @ProcessElement
    public void process(
        @Element KV<String, Long> pair,
        @Timestamp Instant at,
        @DoFn.TimerFamily("family") TimerMap family) {
      family.set(pair.getKey(), at);
    }

    @OnTimerFamily("family")
    public void onTimer(@TimerId String id, OutputReceiver<Long> out) {
      out.output((long) id.length());
    }
  }

  static class Expiring extends DoFn<KV<String, Long>, Long> {
    @StateId("buffer")
    private final StateSpec<BagState<Long>> buffer = StateSpecs.bag(VarLongCoder.of());

    @ProcessElement
    public void process(
        @Element KV<String, Long> pair, @StateId("buffer") BagState<Long> buffer) {
      buffer.add(pair.getValue());
    }

    @OnWindowExpiration
    public void expire(@StateId("buffer") BagState<Long> buffer, OutputReceiver<Long> out) {
      buffer.read().forEach(out::output);
    }
  }

  static class StableInput extends DoFn<KV<String, Long>, Long> {
    @RequiresStableInput
    @ProcessElement
    public void process(@Element KV<String, Long> pair, OutputReceiver<Long> out) {
      out.output(pair.getValue());
    }
  }

  static class SortedInput extends DoFn<KV<String, Long>, Long> {
    @StateId("last")
    private final StateSpec<ValueState<Long>> last = StateSpecs.value(VarLongCoder.of());

    @RequiresTimeSortedInput
    @ProcessElement
    public void process(
        @Element KV<String, Long> pair, @StateId("last") ValueState<Long> last) {
      last.write(pair.getValue());
    }
  }

  static class Finalizing extends DoFn<KV<String, Long>, Long> {
    @ProcessElement
    public void process(
        @Element KV<String, Long> pair, OutputReceiver<Long> out, BundleFinalizer finalizer) {
      finalizer.afterBundleCommit(Instant.now().plus(Duration.standardMinutes(1)), () -> {});
      out.output(pair.getValue());
    }
  }

  @DoFn.BoundedPerElement
  static class BoundedCount extends DoFn<Long, Long> {
    @GetInitialRestriction
    public OffsetRange range(@Element Long n) {
      return new OffsetRange(0, n);
    }

    @ProcessElement
    public void process(
        RestrictionTracker<OffsetRange, Long> tracker, OutputReceiver<Long> out) {
      for (long i = tracker.currentRestriction().getFrom(); tracker.tryClaim(i); i++) {
        out.output(i);
      }
    }
  }

  @DoFn.UnboundedPerElement
  static class UnboundedCount extends DoFn<Long, Long> {
    @GetInitialRestriction
    public OffsetRange range(@Element Long n) {
      return new OffsetRange(0, Long.MAX_VALUE);
    }

    @ProcessElement
    public ProcessContinuation process(
        RestrictionTracker<OffsetRange, Long> tracker, OutputReceiver<Long> out) {
      if (!tracker.tryClaim(tracker.currentRestriction().getFrom())) {
        return ProcessContinuation.stop();
      }
      return ProcessContinuation.resume().withResumeDelay(Duration.standardSeconds(1));
    }
  }

  static class Remainder implements Partition.PartitionFn<Long> {
    @Override
    public int partitionFor(Long n, int parts) {
      return (int) (n % parts);
    }
  }

  static class Point implements Serializable {
    final long x;

    Point(long x) {
      this.x = x;
    }
  }

  static class PointCoder extends CustomCoder<Point> {
    @Override
    public void encode(Point point, OutputStream out) throws java.io.IOException {
      VarLongCoder.of().encode(point.x, out);
    }

    @Override
    public Point decode(InputStream in) throws java.io.IOException {
      return new Point(VarLongCoder.of().decode(in));
    }

    @Override
    public void verifyDeterministic() {}
  }

  static class ToPoint extends DoFn<Long, Point> {
    @ProcessElement
    public void process(@Element Long n, OutputReceiver<Point> out) {
      out.output(new Point(n));
    }
  }

  static class PointKeyed extends DoFn<Point, KV<Point, Integer>> {
    @ProcessElement
    public void process(@Element Point point, OutputReceiver<KV<Point, Integer>> out) {
      out.output(KV.of(point, 1));
    }
  }

  /** A window with a label: neither global nor an interval. */
  static class LabelledWindow extends BoundedWindow implements Serializable {
    final long end;
    final String label;

    LabelledWindow(long end, String label) {
      this.end = end;
      this.label = label;
    }

    @Override
    public Instant maxTimestamp() {
      return new Instant(end);
    }

    @Override
    public boolean equals(Object other) {
      return other instanceof LabelledWindow
          && ((LabelledWindow) other).end == end
          && ((LabelledWindow) other).label.equals(label);
    }

    @Override
    public int hashCode() {
      return Long.hashCode(end) ^ label.hashCode();
    }
  }

  static class LabelledWindowCoder extends CustomCoder<LabelledWindow> {
    @Override
    public void encode(LabelledWindow window, OutputStream out) throws java.io.IOException {
      VarLongCoder.of().encode(window.end, out);
      StringUtf8Coder.of().encode(window.label, out);
    }

    @Override
    public LabelledWindow decode(InputStream in) throws java.io.IOException {
      long end = VarLongCoder.of().decode(in);
      return new LabelledWindow(end, StringUtf8Coder.of().decode(in));
    }

    @Override
    public void verifyDeterministic() {}
  }

  static class LabelledWindows extends NonMergingWindowFn<Object, LabelledWindow> {
    @Override
    public Collection<LabelledWindow> assignWindows(AssignContext context) {
      return List.of(new LabelledWindow(context.timestamp().getMillis() + 1, "label"));
    }

    @Override
    public boolean isCompatible(WindowFn<?, ?> other) {
      return other instanceof LabelledWindows;
    }

    @Override
    public void verifyCompatibility(WindowFn<?, ?> other) throws IncompatibleWindowException {
      if (!isCompatible(other)) {
        throw new IncompatibleWindowException(other, "not labelled");
      }
    }

    @Override
    public Coder<LabelledWindow> windowCoder() {
      return new LabelledWindowCoder();
    }

    @Override
    public WindowMappingFn<LabelledWindow> getDefaultWindowMappingFn() {
      throw new UnsupportedOperationException("not as a side input");
    }
  }

  /** Merges all windows of a key into one. */
  static class MergingWindows extends WindowFn<Object, IntervalWindow> {
    @Override
    public Collection<IntervalWindow> assignWindows(AssignContext context) {
      return List.of(new IntervalWindow(context.timestamp(), Duration.standardSeconds(1)));
    }

    @Override
    public void mergeWindows(MergeContext context) throws Exception {
      IntervalWindow all = null;
      for (IntervalWindow window : context.windows()) {
        all = all == null ? window : all.span(window);
      }
      if (all != null) {
        context.merge(context.windows(), all);
      }
    }

    @Override
    public boolean isCompatible(WindowFn<?, ?> other) {
      return other instanceof MergingWindows;
    }

    @Override
    public Coder<IntervalWindow> windowCoder() {
      return IntervalWindow.getCoder();
    }

    @Override
    public WindowMappingFn<IntervalWindow> getDefaultWindowMappingFn() {
      throw new UnsupportedOperationException("not as a side input");
    }
  }
}
