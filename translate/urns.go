package translate

// URNs of the Beam model that translation acts on.
const (
	urnImpulse     = "beam:transform:impulse:v1"
	urnGroupByKey  = "beam:transform:group_by_key:v1"
	urnFlatten     = "beam:transform:flatten:v1"
	urnParDo       = "beam:transform:pardo:v1"
	urnCreateView  = "beam:transform:create_view:v1"
	urnIdentity    = "beam:dofn:identity:0.1" // Python's, of pipelines it optimised
	urnTestStream  = "beam:transform:teststream:v1"
	urnRead        = "beam:transform:read:v1"
	urnWindowInto  = "beam:transform:window_into:v1"
	urnMapWindows  = "beam:transform:map_windows:v1"
	urnMergeWindow = "beam:transform:merge_windows:v1"
	urnImpulseRead = "beam:transform:read_from_impulse_python:v1"
	urnToString    = "beam:transform:to_string:v1"

	urnReshuffle               = "beam:transform:reshuffle:v1"
	urnRedistributeByKey       = "beam:transform:redistribute_by_key:v1"
	urnRedistributeArbitrarily = "beam:transform:redistribute_arbitrarily:v1"

	urnCombinePerKey     = "beam:transform:combine_per_key:v1"
	urnCombineGrouped    = "beam:transform:combine_grouped_values:v1"
	urnCombinePrecombine = "beam:transform:combine_per_key_precombine:v1"
	urnCombineMerge      = "beam:transform:combine_per_key_merge_accumulators:v1"
	urnCombineExtract    = "beam:transform:combine_per_key_extract_outputs:v1"
	urnCombineConvert    = "beam:transform:combine_per_key_convert_to_accumulators:v1"

	urnPairWithRestriction = "beam:transform:sdf_pair_with_restriction:v1"
	urnSplitAndSize        = "beam:transform:sdf_split_and_size_restrictions:v1"
	urnProcessSized        = "beam:transform:sdf_process_sized_element_and_restrictions:v1"
	urnTruncateSized       = "beam:transform:sdf_truncate_sized_restrictions:v1"

	urnExecutableStage = "beam:runner:executable_stage:v1"
	urnSource          = "beam:runner:source:v1"
	urnSink            = "beam:runner:sink:v1"

	urnSideIterable = "beam:side_input:iterable:v1"
	urnSideMultimap = "beam:side_input:multimap:v1"

	urnBagState         = "beam:user_state:bag:v1"
	urnMultimapState    = "beam:user_state:multimap:v1"
	urnOrderedListState = "beam:user_state:ordered_list:v1"

	urnEnvAnyOf = "beam:env:anyof:v1"

	urnGlobalWindows  = "beam:window_fn:global_windows:v1"
	urnFixedWindows   = "beam:window_fn:fixed_windows:v1"
	urnSlidingWindows = "beam:window_fn:sliding_windows:v1"
	urnSessionWindows = "beam:window_fn:session_windows:v1"
)

// URNs of the coders whose wire format the runner knows.
const (
	urnCoderBytes               = "beam:coder:bytes:v1"
	urnCoderString              = "beam:coder:string_utf8:v1"
	urnCoderVarInt              = "beam:coder:varint:v1"
	urnCoderBool                = "beam:coder:bool:v1"
	urnCoderDouble              = "beam:coder:double:v1"
	urnCoderKV                  = "beam:coder:kv:v1"
	urnCoderIterable            = "beam:coder:iterable:v1"
	urnCoderStateBackedIterable = "beam:coder:state_backed_iterable:v1"
	urnCoderNullable            = "beam:coder:nullable:v1"
	urnCoderShardedKey          = "beam:coder:sharded_key:v1"
	urnCoderLengthPrefix        = "beam:coder:length_prefix:v1"
	urnCoderGlobalWindow        = "beam:coder:global_window:v1"
	urnCoderIntervalWindow      = "beam:coder:interval_window:v1"
	urnCoderCustomWindow        = "beam:coder:custom_window:v1"
	urnCoderWindowedValue       = "beam:coder:windowed_value:v1"
	urnCoderParamWindowedValue  = "beam:coder:param_windowed_value:v1"
	urnCoderTimer               = "beam:coder:timer:v1"
	urnCoderGoCustom            = "beam:go:coder:custom:v1"
)

// Requirements a pipeline may state.
const (
	reqStateful         = "beam:requirement:pardo:stateful:v1"
	reqFinalization     = "beam:requirement:pardo:finalization:v1"
	reqSplittable       = "beam:requirement:pardo:splittable_dofn:v1"
	reqStableInput      = "beam:requirement:pardo:stable_input:v1"
	reqTimeSortedInput  = "beam:requirement:pardo:time_sorted_input:v1"
	reqWindowExpiration = "beam:requirement:pardo:on_window_expiration:v1"
)

// leafClass says who executes a transform without subtransforms.
type leafClass int

const (
	leafUnknown leafClass = iota
	// leafSDK is executed by the harness of the transform's environment.
	leafSDK
	leafImpulse
	// leafTest is an output of a TestStream.
	leafTest
	leafGroup
	// leafTimeSort brings the elements of each key in order of time.
	leafTimeSort
	// leafView is only a stage: it materialises a side input.
	leafView
	// leafAlias makes no new element: the outputs are the inputs.
	leafAlias
	leafCombine
	// leafRefused is in the Beam model but not executed.
	leafRefused
)

func classOf(urn string) leafClass {
	switch urn {
	case urnParDo, urnWindowInto, urnMapWindows, urnMergeWindow, urnToString, urnImpulseRead,
		urnCombineGrouped, urnCombinePrecombine, urnCombineMerge, urnCombineExtract, urnCombineConvert,
		urnPairWithRestriction, urnSplitAndSize, urnProcessSized, urnTruncateSized:
		return leafSDK
	case urnImpulse:
		return leafImpulse
	case urnTestStream:
		return leafTest
	case urnGroupByKey:
		return leafGroup
	case urnFlatten, urnCreateView, urnIdentity, urnReshuffle, urnRedistributeByKey, urnRedistributeArbitrarily:
		return leafAlias
	case urnCombinePerKey:
		return leafCombine
	case urnRead:
		return leafRefused
	}
	return leafUnknown
}
