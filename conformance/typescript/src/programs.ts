import Long from "long";
import * as assert from "assert";
import * as beam from "apache-beam";
import * as combiners from "apache-beam/transforms/combiners";
import * as pardo from "apache-beam/transforms/pardo";
import * as testing from "apache-beam/testing/assert";
import * as windowings from "apache-beam/transforms/windowings";

/** A pipeline that asserts its own results, and what must be true of its run. */
export interface Program {
  pipeline: (root: beam.Root) => any;
  /** Looks at the result; without it the run must only succeed. */
  check?: (result: any) => Promise<void>;
  /** The job must end as FAILED. */
  fails?: boolean;
}

const verses = [
  "In the beginning God created the heaven and the earth.",
  "And the earth was without form, and void; and darkness was upon the face of the deep.",
  "And the Spirit of God moved upon the face of the waters.",
  "And God said, Let there be light: and there was light.",
];

function sorted(kv) {
  return { key: kv.key, value: [...kv.value].sort() };
}

/** Numbers with themselves, in seconds, as timestamps, in the windows. */
function timed(root: beam.Root, windows) {
  return root
    .apply(beam.create([1, 2, 3, 10, 11, 30]))
    .apply(beam.assignTimestamps((t) => Long.fromValue(t * 1000)))
    .apply(beam.windowInto(windows));
}

function grouped(windows, expected: any[]): Program {
  return {
    pipeline: (root) =>
      timed(root, windows)
        .apply(beam.groupBy((e: number) => ""))
        .map(sorted)
        .apply(testing.assertDeepEqual(expected)),
  };
}

const elementwise: { [name: string]: Program } = {
  map: {
    pipeline: (root) =>
      root
        .apply(beam.create([1, 2, 3]))
        .map((x) => x * x)
        .apply(testing.assertDeepEqual([1, 4, 9])),
  },
  empty: {
    pipeline: (root) =>
      root
        .apply(beam.create([1, 2, 3]))
        .flatMap(function* (x: number) {
          if (x > 3) yield x;
        })
        .apply(testing.assertDeepEqual([] as number[])),
  },
  split: {
    pipeline: (root) => {
      const parts: any = root
        .apply(beam.create([{ a: 1 }, { b: 10 }, { a: 2, b: 20 }] as any[]))
        .apply(beam.split(["a", "b"], { exclusive: false }));
      parts.a.apply(testing.assertDeepEqual([1, 2]));
      parts.b.apply(testing.assertDeepEqual([10, 20]));
    },
  },
  flatten: {
    pipeline: (root) => {
      const a = root.apply(beam.withName("a", beam.create([1, 2])));
      const b = root.apply(beam.withName("b", beam.create([2, 3])));
      beam
        .P([a, b])
        .apply(beam.flatten())
        .apply(testing.assertDeepEqual([1, 2, 2, 3]));
    },
  },
  singleton_side_input: {
    pipeline: (root) => {
      const side = root.apply(beam.withName("side", beam.create([4])));
      root
        .apply(beam.create([1, 2]))
        .map((e: number, context: any) => e * context.side.lookup(), {
          side: pardo.singletonSideInput(side),
        })
        .apply(testing.assertDeepEqual([4, 8]));
    },
  },
  iterable_side_input: {
    pipeline: (root) => {
      const side = root.apply(beam.withName("side", beam.create([1, 2, 3])));
      root
        .apply(beam.create(["a"]))
        .map((e: string, context: any) => e + [...context.side.lookup()].sort(), {
          side: pardo.iterableSideInput(side),
        })
        .apply(testing.assertDeepEqual(["a1,2,3"]));
    },
  },
};

const grouping: { [name: string]: Program } = {
  group_by: {
    pipeline: (root) =>
      root
        .apply(beam.create(["apple", "banana", "apricot"]))
        .apply(beam.groupBy((e: string) => e[0]))
        .map(sorted)
        .apply(
          testing.assertDeepEqual([
            { key: "a", value: ["apple", "apricot"] },
            { key: "b", value: ["banana"] },
          ])
        ),
  },
  word_count: {
    pipeline: (root) =>
      root
        .apply(beam.create(verses))
        .map((s: string) => s.toLowerCase())
        .flatMap(function* words(line: string) {
          yield* line.split(/[^a-z]+/);
        })
        .apply(beam.countPerElement())
        .flatMap(function* frequent(kv: any) {
          if (kv.count > 3) yield kv;
        })
        .apply(
          testing.assertDeepEqual([
            { element: "the", count: 9 },
            { element: "and", count: 7 },
            { element: "", count: 4 },
          ])
        ),
  },
  combine_per_key: {
    pipeline: (root) =>
      root
        .apply(beam.create([{ k: "a", v: 1 }, { k: "a", v: 5 }, { k: "b", v: 7 }]))
        .apply(beam.groupBy("k").combining("v", combiners.sum, "sum").combining("v", combiners.max, "max"))
        .apply(
          testing.assertDeepEqual([
            { k: "a", sum: 6, max: 5 },
            { k: "b", sum: 7, max: 7 },
          ])
        ),
  },
  combine_globally: {
    pipeline: (root) =>
      root
        .apply(beam.create([1, 2, 6]))
        .apply(beam.groupGlobally<number>().combining((c) => c, combiners.mean, "mean"))
        .apply(testing.assertDeepEqual([{ mean: 3 }])),
  },
  co_group_by: {
    pipeline: (root) => {
      const names = root.apply(beam.withName("names", beam.create([{ id: 1, name: "ann" }])));
      const towns = root.apply(
        beam.withName("towns", beam.create([{ id: 1, town: "ulm" }, { id: 2, town: "bonn" }]))
      );
      beam
        .P({ names, towns } as any)
        .apply(beam.coGroupBy("id"))
        .apply(
          testing.assertDeepEqual([
            { key: 1, values: { names: [{ id: 1, name: "ann" }], towns: [{ id: 1, town: "ulm" }] } },
            { key: 2, values: { names: [], towns: [{ id: 2, town: "bonn" }] } },
          ] as any[])
        );
    },
  },
  many: {
    pipeline: (root) =>
      root
        .apply(beam.create([0, 1, 2, 3, 4, 5, 6, 7, 8, 9]))
        .flatMap(function* thousand(x: number) {
          for (let i = 0; i < 1000; i++) yield x * 1000 + i;
        })
        .apply(beam.groupBy(function seventh(x: number) { return x % 7; }))
        .map(function sum(kv: any) { let n = 0; for (const v of kv.value) n += v; return n; })
        .apply(beam.groupGlobally<number>().combining((c) => c, combiners.sum, "sum"))
        .apply(testing.assertDeepEqual([{ sum: 49995000 }])),
  },
  fixed_windows: grouped(windowings.fixedWindows(10), [
    { key: "", value: [1, 2, 3] },
    { key: "", value: [10, 11] },
    { key: "", value: [30] },
  ]),
  sliding_windows: grouped(windowings.slidingWindows(20, 10), [
    { key: "", value: [1, 2, 3] },
    { key: "", value: [1, 10, 11, 2, 3] },
    { key: "", value: [10, 11] },
    { key: "", value: [30] },
    { key: "", value: [30] },
  ]),
  sessions: grouped(windowings.sessions(8), [
    { key: "", value: [1, 10, 11, 2, 3] },
    { key: "", value: [30] },
  ]),
};

const observed: { [name: string]: Program } = {
  metrics: {
    pipeline: (root) =>
      root.apply(beam.create([1, 2, 3])).map(
        beam.withName(
          "measured",
          pardo.withContext(
            (x: number, context: any) => {
              context.counter.increment(x);
              context.distribution.update(x);
              return x;
            },
            { counter: pardo.counter("counter"), distribution: pardo.distribution("distribution") }
          )
        )
      ),
    check: async (result) => {
      assert.deepEqual((await result.counters()).counter, 6);
      assert.deepEqual((await result.distributions()).distribution, { count: 3, sum: 6, min: 1, max: 3 });
    },
  },
  failed_assertion: {
    pipeline: (root) => root.apply(beam.create([1, 2])).apply(testing.assertDeepEqual([1])),
    fails: true,
  },
  error: {
    pipeline: (root) =>
      root.apply(beam.create([1])).map(function picky(x: number): number {
        throw new Error("no ones allowed here");
      }),
    fails: true,
  },
};

/** All programs by name. */
export const programs: { [name: string]: Program } = { ...elementwise, ...grouping, ...observed };
