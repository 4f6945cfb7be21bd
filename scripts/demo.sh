#!/usr/bin/env bash
# Count words with a Go pipeline and with Beam's own Python example, both on one
# gorunner, and compare.
#
#   INPUT=file-or-glob   text to count; by default source text of the Beam Go
#                        module, put together under .cache/demo
#   PYTHON=python        interpreter with apache-beam; default .venv/bin/python
#   KEEP=1               keep the outputs (their directory is printed)
set -euo pipefail

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
caller=$PWD
cd "$root"
PYTHON=${PYTHON:-$root/.venv/bin/python}
bin=$root/bin/gorunner
cache=$root/.cache/demo
work=$(mktemp -d)
server=

cleanup() {
	status=$?
	if [[ -n $server ]]; then
		kill "$server" 2>/dev/null || true
		wait "$server" 2>/dev/null || true
	fi
	if [[ ${KEEP:-} ]]; then echo "outputs: $work"; else rm -rf "$work"; fi
	exit "$status"
}
trap cleanup EXIT
trap 'exit 130' INT TERM

say() { printf '\n\033[1m%s\033[0m\n' "$*"; }

fail() {
	echo "demo: $*" >&2
	for log in server go python; do
		[[ -s $work/$log.log ]] && { echo "--- last lines of the $log log" >&2; tail -n 20 "$work/$log.log" >&2; }
	done
	exit 1
}

[[ -x $bin ]] || fail "$bin is missing: make build"
"$PYTHON" -c 'import apache_beam' 2>/dev/null || fail "$PYTHON has no apache_beam: make python"

# default_input puts source files of the Beam module into one text file, once.
default_input() {
	local dir out
	dir=$(go mod download -json github.com/apache/beam/sdks/v2@v2.77.0 | sed -n 's/^\t"Dir": "\(.*\)",$/\1/p')
	[[ -d $dir ]] || fail "the Beam module is not in the module cache"
	out=$cache/beam-2.77.0.txt
	if [[ ! -s $out ]]; then
		mkdir -p "$cache"
		# Python reads UTF-8 only: what is not is left out.
		find "$dir/go" "$dir/python" -type f \( -name '*.go' -o -name '*.py' -o -name '*.md' \) -print0 |
			LC_ALL=C sort -z | xargs -0 cat | iconv -f UTF-8 -t UTF-8 -c >"$out.new" || true
		mv "$out.new" "$out"
	fi
	echo "$out"
}

input=${INPUT:-}
if [[ -z $input ]]; then
	input=$(default_input)
elif [[ $input != /* ]]; then
	input=$caller/$input
fi
files=$(compgen -G "$input") || fail "no file matches $input"
while IFS= read -r file; do
	[[ -f $file ]] || fail "$file is not a file: name files, or a glob of files"
done <<<"$files"
bytes=$(printf '%s\n' "$files" | tr '\n' '\0' | xargs -0 cat | wc -c)
say "Input: $(printf '%s\n' "$files" | wc -l) file(s), $((bytes / 1000000)) MB ($input)"

say "Building the Go word count"
CGO_ENABLED=0 go build -o "$work/wordcount" ./examples/wordcount

# The server takes a free port and says which.
"$bin" serve --listen=127.0.0.1:0 --http=off --log-kind=text >"$work/server.log" 2>&1 &
server=$!
endpoint=
for _ in $(seq 100); do
	endpoint=$(sed -n 's/.*msg="gorunner is ready".* endpoint=\([^ ]*\).*/\1/p' "$work/server.log")
	[[ -n $endpoint ]] && break
	kill -0 "$server" 2>/dev/null || fail "the server did not start"
	sleep 0.1
done
[[ -n $endpoint ]] || fail "the server did not get ready"
say "gorunner serves at $endpoint"

# follow shows the progress of the job that runs until the process $1 ends.
follow() {
	tail -n 0 -F "$work/server.log" --pid="$1" 2>/dev/null |
		sed -u -n -e 's/.*msg="progress: \([^"]*\)".*/  \1/p' \
			-e 's/.*msg="job ended".* state=\([A-Z]*\) duration=\([^ ]*\).*/  \1 after \2/p' || true
}

# measure runs a command, its output in the log $1, and shows progress.
measure() {
	local log=$work/$1.log begin end
	shift
	begin=$(date +%s%N)
	"$@" >"$log" 2>&1 &
	local job=$!
	follow "$job" &
	local follower=$!
	wait "$job" || { kill "$follower" 2>/dev/null || true; fail "the pipeline failed"; }
	wait "$follower" || true
	end=$(date +%s%N)
	awk -v ns=$((end - begin)) -v bytes="$bytes" \
		'BEGIN { s = ns / 1e9; printf "  %.1f s from start to end of the program, %.1f MB/s\n", s, bytes / 1e6 / s }'
}

say "Go: examples/wordcount"
measure go "$work/wordcount" --input="$input" --output="$work/go.txt" --endpoint="$endpoint" \
	--environment_type=LOOPBACK --job_name=wordcount-go

say "Python: apache_beam.examples.wordcount"
measure python "$PYTHON" -m apache_beam.examples.wordcount --input="$input" --output="$work/python" \
	--runner=PortableRunner --job_endpoint="$endpoint" --environment_type=LOOPBACK --job_name=wordcount-python

LC_ALL=C sort "$work/go.txt" >"$work/go.sorted"
cat "$work"/python-* | LC_ALL=C sort >"$work/python.sorted"

# top prints the ten most frequent words of a file of "word: count" lines.
top() { LC_ALL=C sort -t: -k2,2nr -k1,1 "$1" | head -n 10; }

say "Top ten words (Go, Python)"
paste <(top "$work/go.sorted") <(top "$work/python.sorted") |
	awk -F '\t' '{ printf "  %-24s %-24s\n", $1, $2 }'

if ! cmp -s "$work/go.sorted" "$work/python.sorted"; then
	diff "$work/go.sorted" "$work/python.sorted" | head -n 10 || true
	fail "the counts of the two SDKs differ"
fi
say "The same $(wc -l <"$work/go.sorted") words and counts from both SDKs."
