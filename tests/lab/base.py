# SPDX-License-Identifier: Apache-2.0
"""The root file system under every test host: Debian bookworm by debootstrap, made once and cached by its recipe."""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import tempfile
from pathlib import Path

CACHE = Path(os.environ.get("MESHWRIGHT_CACHE", Path.home() / ".cache" / "meshwright"))
SUITE = "bookworm"
PACKAGES = (
    "ca-certificates",
    "curl",
    "dbus",
    "iproute2",
    "nftables",
    "openssh-server",
    "procps",
    "python3",
    "python3-packaging",
    "python3-venv",
    "systemd",
    "systemd-sysv",
)
# Nothing that fetches, asks or waits for a console.
MASKED = (
    "apt-daily.service",
    "apt-daily.timer",
    "apt-daily-upgrade.service",
    "apt-daily-upgrade.timer",
    "console-getty.service",
    "dpkg-db-backup.timer",
    "e2scrub_all.timer",
    "e2scrub_reap.service",
    "fstrim.timer",
    "getty.target",
    "systemd-firstboot.service",
)
RECIPE = "1"  # raise it when _finish changes


def root() -> Path:
    """The directory; makes it first where it is missing (1-3 min, 350 MB). Raises CalledProcessError with debootstrap's words."""
    key = hashlib.sha256(" ".join((SUITE, RECIPE, *PACKAGES, *MASKED)).encode()).hexdigest()[:12]
    home = CACHE / f"host-{SUITE}-{key}"
    if home.exists():
        return home
    CACHE.mkdir(parents=True, exist_ok=True)
    print(f"making the test hosts' root file system in {home} (once, 1-3 min) ...", flush=True)
    scratch = Path(tempfile.mkdtemp(prefix=f"host-{SUITE}-new-", dir=CACHE))
    try:
        command = ["debootstrap", "--variant=minbase", f"--include={','.join(PACKAGES)}", SUITE, str(scratch)]
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
        _finish(scratch)
        scratch.chmod(0o755)
        if not home.exists():  # somebody else may have been quicker
            scratch.rename(home)
    finally:
        shutil.rmtree(scratch, ignore_errors=True)
    return home


def _finish(made: Path) -> None:
    """Takes out what must differ from host to host (keys, machine id), and what would only make noise."""
    for key in (made / "etc/ssh").glob("ssh_host_*"):
        key.unlink()
    (made / "etc/machine-id").write_text("")
    (made / "etc/resolv.conf").unlink(missing_ok=True)
    (made / "etc/resolv.conf").write_text("")
    for unit in MASKED:
        (made / "etc/systemd/system" / unit).symlink_to("/dev/null")
    for waste in ("var/cache/apt", "var/lib/apt/lists", "usr/share/doc", "usr/share/man", "usr/share/locale"):
        shutil.rmtree(made / waste, ignore_errors=True)
