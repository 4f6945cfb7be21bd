package main

import (
	"github.com/apache/beam/sdks/v2/go/pkg/beam"
	"github.com/apache/beam/sdks/v2/go/pkg/beam/options/resource"
	"github.com/apache/beam/sdks/v2/go/test/integration/primitives"
)

// corpus lists the pipelines in the order in which they are written. Those of
// package primitives are the ones that Beam's own integration suite submits.
func corpus() []pipeline {
	return []pipeline{
		{name: "impulse_pardo", build: impulseParDo},
		{name: "wordcount", build: wordcount},
		{name: "gbk", build: groupByKey},
		{name: "gbk_two_consumers", build: gbkTwoConsumers},
		{name: "combine_liftable", build: combineLiftable},
		{name: "combine_triggered", build: combineTriggered},
		{name: "combine_globally", build: combineGlobally},
		{name: "cogbk", build: primitives.CoGBK},
		{name: "flatten", build: primitives.Flatten},
		{name: "flatten_duplicate", build: primitives.FlattenDup},
		{name: "flatten_single", build: flattenSingle},
		{name: "flatten_of_roots", build: flattenOfRoots},
		{name: "reshuffle", build: primitives.Reshuffle},
		{name: "reshuffle_windowed", build: reshuffleWindowed},
		{name: "multi_output", root: primitives.ParDoMultiOutput},
		{name: "unused_outputs", build: unusedOutputs},
		{name: "side_input_iterable", root: primitives.ParDoSideInput},
		{name: "side_input_multimap", root: primitives.ParDoMultiMapSideInput},
		{name: "side_input_singleton", build: sideInputSingleton},
		{name: "side_input_windowed", build: primitives.ValidateWindowedSideInputs},
		{name: "side_input_diamond", build: sideInputDiamond},
		{name: "side_input_chain", build: sideInputChain},
		{name: "sdf_bounded", build: sdfBounded},
		{name: "sdf_checkpointing", build: primitives.Checkpoints},
		{name: "sdf_unbounded", build: primitives.Drain},
		{name: "periodic_impulse", build: periodicImpulse},
		{name: "sdf_stateful", build: sdfStateful},
		{name: "state_value", build: primitives.ValueStateParDo},
		{name: "state_bag", build: primitives.BagStateParDo},
		{name: "state_combining", build: primitives.CombiningStateParDo},
		{name: "state_map", build: primitives.MapStateParDo},
		{name: "state_set", build: primitives.SetStateParDo},
		{name: "state_ordered_list", build: primitives.OrderedListStateParDo},
		{name: "state_windowed", build: primitives.ValueStateParDoWindowed},
		{name: "stateful_chain", build: statefulChain},
		{name: "timers_both_domains", build: timersBothDomains},
		{name: "timers_teststream", build: primitives.TimersProcessingTimeTestStream_Infinity},
		{name: "finalization", build: primitives.ParDoFinalizerInAll},
		{name: "windows_all_gbk", build: primitives.WindowSums_GBK},
		{name: "windows_all_lifted", build: primitives.WindowSums_Lifted},
		{name: "triggers_all", build: triggersAll},
		{name: "lateness_accumulating", build: latenessAccumulating},
		{name: "teststream", build: primitives.TestStreamTwoInt64Sequences},
		{name: "teststream_triggered", build: primitives.TriggerAfterEndOfWindow},
		{name: "streaming_sessions", build: streamingSessions},
		{name: "streaming_side_input", build: streamingSideInput},
		{name: "panes", build: primitives.Panes},
		{name: "custom_coder", build: customCoder},
		{name: "row", build: rowCoder},
		{name: "fixed_key", build: fixedKey},
		{name: "nested_composites", build: nestedComposites},
		{name: "partition", build: partition},
		{name: "big", build: big},
		{name: "external_unexpanded", build: externalUnexpanded},
		{name: "env_process", build: impulseParDo, env: environment{
			urn: "beam:env:process:v1", config: `{"command":"/opt/worker/boot","env":{"TZ":"UTC"}}`,
		}},
		{name: "env_docker_hints", build: impulseParDo, env: environment{
			urn: "beam:env:docker:v1", config: "apache/beam_go_sdk:2.77.0",
			hints: resource.NewHints(resource.MinRAMBytes(1<<30), resource.CPUCount(2)),
		}},
	}
}

// words makes a small PCollection of words.
func words(s beam.Scope) beam.PCollection {
	return beam.Create(s, "to", "be", "or", "not", "to", "be")
}
