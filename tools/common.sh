# common.sh - sourced by the bash scripts beside it: strict mode, the clone's root, messages.
# shellcheck shell=bash
set -euo pipefail

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd -P)
# Debian's own python3 sees Debian's python3-redis; another one that comes first in PATH may not.
python=/usr/bin/python3
[[ -x $python ]] || python=python3
export root python PYTHONDONTWRITEBYTECODE=1

say() {
    printf '%s\n' "$*" >&2
}

die() {
    say "$(basename "$0"): $*"
    exit 1
}
