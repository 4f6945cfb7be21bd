package gorunner.conformance;

import java.util.List;
import java.util.Map;
import java.util.stream.Collectors;
import java.util.stream.IntStream;
import org.apache.beam.sdk.Pipeline;
import org.apache.beam.sdk.coders.BigEndianIntegerCoder;
import org.apache.beam.sdk.coders.StringUtf8Coder;
import org.apache.beam.sdk.coders.VarIntCoder;
import org.apache.beam.sdk.testing.PAssert;
import org.apache.beam.sdk.transforms.Count;
import org.apache.beam.sdk.transforms.Create;
import org.apache.beam.sdk.transforms.DoFn;
import org.apache.beam.sdk.transforms.Flatten;
import org.apache.beam.sdk.transforms.MapElements;
import org.apache.beam.sdk.transforms.ParDo;
import org.apache.beam.sdk.transforms.Reshuffle;
import org.apache.beam.sdk.values.PCollection;
import org.apache.beam.sdk.values.PCollectionList;
import org.apache.beam.sdk.values.PCollectionTuple;
import org.apache.beam.sdk.values.TupleTag;
import org.apache.beam.sdk.values.TupleTagList;
import org.apache.beam.sdk.values.TypeDescriptors;

/** Programs without grouping by the user's keys. */
final class Elementwise {
  static void register(Map<String, Main.Program> all) {
    all.put("create", Elementwise::create);
    all.put("empty", Elementwise::empty);
    all.put("tagged", Elementwise::tagged);
    all.put("flatten", Elementwise::flatten);
    all.put("flatten_coders", Elementwise::flattenCoders);
    all.put("flatten_same", Elementwise::flattenSame);
    all.put("reshuffle", Elementwise::reshuffle);
  }

  private static Main.Check create(Pipeline p) {
    PCollection<Integer> squares =
        p.apply(Create.of(1, 2, 3)).apply(MapElements.into(TypeDescriptors.integers()).via(x -> x * x));
    PAssert.that(squares).containsInAnyOrder(1, 4, 9);
    return Main.done(p);
  }

  private static Main.Check empty(Pipeline p) {
    PCollection<String> none = p.apply(Create.empty(StringUtf8Coder.of()));
    PAssert.that(none).empty();
    PAssert.thatSingleton(none.apply(Count.globally())).isEqualTo(0L);
    return Main.done(p);
  }

  private static final TupleTag<Integer> EVEN = new TupleTag<>() {};
  private static final TupleTag<String> ODD = new TupleTag<>() {};

  private static class ByParity extends DoFn<Integer, Integer> {
    @ProcessElement
    public void process(@Element Integer x, MultiOutputReceiver out) {
      if (x % 2 == 0) {
        out.get(EVEN).output(x);
      } else {
        out.get(ODD).output("odd" + x);
      }
    }
  }

  private static Main.Check tagged(Pipeline p) {
    PCollectionTuple out =
        p.apply(Create.of(1, 2, 3, 4))
            .apply(ParDo.of(new ByParity()).withOutputTags(EVEN, TupleTagList.of(ODD)));
    PAssert.that(out.get(EVEN)).containsInAnyOrder(2, 4);
    PAssert.that(out.get(ODD).setCoder(StringUtf8Coder.of())).containsInAnyOrder("odd1", "odd3");
    return Main.done(p);
  }

  private static Main.Check flatten(Pipeline p) {
    PCollection<String> a = p.apply("a", Create.of("a", "b"));
    PCollection<String> b = p.apply("b", Create.of("c"));
    PAssert.that(PCollectionList.of(a).and(b).apply(Flatten.pCollections()))
        .containsInAnyOrder("a", "b", "c");
    return Main.done(p);
  }

  private static Main.Check flattenCoders(Pipeline p) {
    PCollection<Integer> a = p.apply("a", Create.of(1, 2).withCoder(VarIntCoder.of()));
    PCollection<Integer> b = p.apply("b", Create.of(300).withCoder(BigEndianIntegerCoder.of()));
    PCollection<Integer> both = PCollectionList.of(a).and(b).apply(Flatten.pCollections());
    PAssert.that(both.apply(Reshuffle.viaRandomKey())).containsInAnyOrder(1, 2, 300);
    return Main.done(p);
  }

  private static Main.Check flattenSame(Pipeline p) {
    PCollection<String> a = p.apply("a", Create.of("x", "y"));
    PAssert.that(PCollectionList.of(a).and(a).apply(Flatten.pCollections()))
        .containsInAnyOrder("x", "x", "y", "y");
    return Main.done(p);
  }

  private static Main.Check reshuffle(Pipeline p) {
    List<Integer> numbers = IntStream.range(0, 1000).boxed().collect(Collectors.toList());
    PCollection<Integer> out = p.apply(Create.of(numbers)).apply(Reshuffle.viaRandomKey());
    PAssert.that(out).containsInAnyOrder(numbers);
    return Main.done(p);
  }

  private Elementwise() {}
}
