#!/usr/bin/env bash
# Installs what the tests talk to and npm cannot bring: a browser for the dashboard, Redis and Memcached (Debian packages, as root), and
# the Bigtable emulator (a Go module, into .cache/bin of this checkout). What is there already is left as it is.
set -euo pipefail
cd "$(dirname "$0")/../.."

as_root() { if [ "$(id -u)" = 0 ]; then "$@"; else sudo "$@"; fi; }
export DEBIAN_FRONTEND=noninteractive
updated=no
policy=/usr/sbin/policy-rc.d

# Tests start servers of their own; a package must not leave one listening. Debian asks this policy before it starts a service.
install_packages() {
  if [ "$updated" = no ]; then
    as_root apt-get update -qq
    updated=yes
  fi
  local written=no
  if [ ! -e "$policy" ]; then
    printf '#!/bin/sh\nexit 101\n' | as_root tee "$policy" >/dev/null
    as_root chmod 755 "$policy"
    written=yes
  fi
  local failed=0
  as_root apt-get install -y -qq --no-install-recommends "$@" >/dev/null || failed=$?
  if [ "$written" = yes ]; then as_root rm -f "$policy"; fi
  return "$failed"
}

keep_service_off() {
  if [ -d /run/systemd/system ]; then as_root systemctl disable --now "$1" >/dev/null 2>&1 || true; fi
  if command -v update-rc.d >/dev/null 2>&1; then as_root update-rc.d "$1" disable >/dev/null 2>&1 || true; fi
}

if ! command -v chromium >/dev/null 2>&1; then install_packages chromium fonts-dejavu-core; fi
echo "install: chromium: $(chromium --version 2>/dev/null || true)"

if ! command -v redis-server >/dev/null 2>&1 || ! command -v redis-cli >/dev/null 2>&1; then
  install_packages redis-server redis-tools
  keep_service_off redis-server
fi
echo "install: redis: $(redis-server --version)"

if ! command -v memcached >/dev/null 2>&1; then
  install_packages memcached
  keep_service_off memcached
fi
echo "install: memcached: $(memcached --version)"

# The version is in the file's name, so that a newer one here replaces it.
bigtable_version=v1.58.0
emulator=".cache/bin/bigtable-emulator-$bigtable_version"
if [ ! -x "$emulator" ]; then
  if ! command -v go >/dev/null 2>&1; then install_packages golang-go; fi
  # 1.21 and later fetch the toolchain that a module asks for by themselves; this module asks for 1.26.
  built="$(mktemp -d)"
  trap 'rm -rf "$built"' EXIT
  if ! GOBIN="$built" go install -trimpath -ldflags='-s -w' "cloud.google.com/go/bigtable/cmd/emulator@$bigtable_version"; then
    echo "install: the Bigtable emulator $bigtable_version cannot be built with $(go version): it needs Go 1.26 or later" >&2
    exit 1
  fi
  mkdir -p .cache/bin
  mv "$built/emulator" "$emulator"
fi
echo "install: bigtable emulator: $emulator"
