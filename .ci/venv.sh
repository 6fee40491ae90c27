#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# venv.sh PYTHON VENV: the development environment: locked packages by hash, this checkout editable, the command on top.
set -eu
python=$1 venv=$2

"$python" -c 'import sys; sys.exit(sys.version_info[:2] != (3, 11))' || {
    echo "needs Python 3.11 (found: $("$python" -V 2>&1)): make PYTHON=/path/to/python3.11 ..." >&2
    exit 1
}
if ! "$python" -c 'import ensurepip, venv' 2>/dev/null; then
    if [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null; then
        echo "installing python3-venv ..."
        { apt-get update -q && DEBIAN_FRONTEND=noninteractive apt-get install -q -y --no-install-recommends python3-venv; } >/dev/null
    else
        echo "needs the venv module: install python3-venv" >&2
        exit 1
    fi
fi
echo "making $venv (once, a minute or two) ..."
[ -x "$venv/bin/pip" ] || "$python" -m venv "$venv"
"$venv/bin/pip" install -q --disable-pip-version-check --require-hashes -r requirements/dev.txt
"$venv/bin/pip" install -q --disable-pip-version-check --no-deps --no-build-isolation -e .
