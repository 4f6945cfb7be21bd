#!/usr/bin/env bash
# Makes a container image for the workers of Go pipelines:
#
#   [CONTAINER_ENGINE=command] go.sh IMAGE
#
# The image holds Beam's boot program for Go, statically linked, and hardly anything
# else. The worker binary comes to it with each job, as an artifact, and must be
# statically linked as well (CGO_ENABLED=0). A pipeline uses the image with
#
#   --environment_type=DOCKER --environment_config=IMAGE --worker_binary=FILE
set -euo pipefail

if [ $# -ne 1 ]; then
	echo 'usage: [CONTAINER_ENGINE=command] go.sh IMAGE' >&2
	exit 2
fi
image=$1
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
# The engine is a command with arguments: it is to be split.
read -ra engine <<<"${CONTAINER_ENGINE:-$("$here/engine.sh")}"

root=$(mktemp -d)
trap 'rm -rf "$root"' EXIT
# The boot program copies the worker binary into /tmp. The Go SDK looks up the
# user it runs as, and does not survive finding nobody.
mkdir -p "$root/opt/apache/beam" "$root/tmp" "$root/root" "$root/etc"
echo 'root:x:0:0:root:/root:/sbin/nologin' >"$root/etc/passwd"
chmod 755 "$root"
chmod 1777 "$root/tmp"

# The version of Beam is the one that the module asks for.
cd "$here/../.."
CGO_ENABLED=0 GOOS=linux go build -trimpath -ldflags='-s -w' -o "$root/opt/apache/beam/boot" \
	github.com/apache/beam/sdks/v2/go/container

tar -C "$root" -c . |
	"${engine[@]}" import --change 'ENTRYPOINT ["/opt/apache/beam/boot"]' - "$image" >&2
echo "$image"
