#!/usr/bin/env bash
# Finds a container engine that works, or installs one, and prints its command:
#
#   export GORUNNER_TEST_CONTAINER_ENGINE="$(conformance/images/engine.sh)"
#   export GORUNNER_TEST_CONTAINER_RUN_ARGS="$(conformance/images/engine.sh run-args)"
#
# With the argument run-args it prints what the engine's subcommand run takes in
# addition. Where there is no engine to be had, it prints nothing, says why on
# standard error, and exits 1. CONTAINER_ENGINE in the environment is tried
# first.
set -euo pipefail

# A podman that needs neither a daemon, nor systemd, nor an overlay file system,
# nor what crun wants of the kernel: it runs inside of containers and small
# virtual machines, too.
bare_podman='podman --storage-driver=vfs --cgroup-manager=cgroupfs --runtime=runc'

say() { printf 'engine.sh: %s\n' "$*" >&2; }

# works ENGINE... says whether the engine is there and answers.
works() {
	command -v "$1" >/dev/null || return 1
	timeout 60 "$@" info >/dev/null 2>&1
}

# found ENGINE prints the answer.
found() {
	case "${1%% *},$want" in
	*podman,run-args)
		# Its own default limits are above what an unprivileged machine allows.
		echo '--ulimit nofile=4096:4096 --ulimit nproc=4096:4096' ;;
	*,run-args) echo ;;
	*) echo "$1" ;;
	esac
	exit 0
}

want=${1-engine}
case $want in
engine | run-args) ;;
*) say "usage: engine.sh [run-args]"; exit 2 ;;
esac

for engine in "${CONTAINER_ENGINE-}" docker; do
	# The engine is a command with arguments: it is to be split.
	# shellcheck disable=SC2086
	if [ -n "$engine" ] && works $engine; then found "$engine"; fi
done

if [ "$(id -u)" -ne 0 ]; then
	if works podman; then found podman; fi
	say 'no container engine answers, and only root can install one'
	exit 1
fi
# shellcheck disable=SC2086
if command -v runc >/dev/null && works $bare_podman; then found "$bare_podman"; fi
if ! command -v apt-get >/dev/null; then
	say 'no container engine answers, and there is no apt-get to install one'
	exit 1
fi
say 'installing podman'
if ! { apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends podman runc; } >&2; then
	say 'podman cannot be installed'
	exit 1
fi
# shellcheck disable=SC2086
if works $bare_podman; then found "$bare_podman"; fi
say 'podman is installed and does not work'
exit 1
