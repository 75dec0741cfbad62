#!/usr/bin/env bash
# Installs what the tests talk to and npm cannot bring: today a browser for the dashboard. Debian packages, as root.
set -euo pipefail
if command -v chromium >/dev/null 2>&1; then
  echo "install: chromium is here: $(chromium --version 2>/dev/null || true)"
  exit 0
fi
as_root() { if [ "$(id -u)" = 0 ]; then "$@"; else sudo "$@"; fi; }
export DEBIAN_FRONTEND=noninteractive
as_root apt-get update -qq
as_root apt-get install -y -qq --no-install-recommends chromium fonts-dejavu-core >/dev/null
chromium --version
