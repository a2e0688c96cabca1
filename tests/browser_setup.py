"""Find or install a Chromium and a Chinese font: an installed one, else Debian's, else Playwright's own."""

import shutil
import subprocess
import sys
from pathlib import Path

NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")


def find_browser() -> str | None:
    """Path of a Chromium the tests can start, None where there is none."""
    for name in NAMES:
        if path := shutil.which(name):
            return path
    found = sorted(Path.home().glob(".cache/ms-playwright/chromium-*/chrome-linux*/chrome"))
    return str(found[-1]) if found else None


def main() -> None:
    """Install what is missing."""
    if find_browser() is None and not _debian("chromium"):
        subprocess.run([sys.executable, "-m", "playwright", "install", "chromium"], check=False)
    if find_browser() is None:
        sys.exit("No Chromium could be installed; install one (apt-get install chromium) and try again.")
    if not _has_chinese_font() and not _debian("fonts-noto-cjk"):
        print("warning: no Chinese font found; screenshots will show boxes", file=sys.stderr)


def _has_chinese_font() -> bool:
    if shutil.which("fc-list") is None:
        return sys.platform != "linux"
    return bool(subprocess.run(["fc-list", ":lang=zh"], capture_output=True, text=True, check=False).stdout.strip())


def _debian(package: str) -> bool:
    """Whether Debian's package could be installed."""
    if shutil.which("apt-get") is None:
        return False
    root = [] if _is_root() else ["sudo", "-n"]
    if root and shutil.which("sudo") is None:
        return False
    steps = (
        ["apt-get", "update", "-qq"],
        ["apt-get", "install", "-y", "-qq", "--no-install-recommends", package],
    )
    return all(subprocess.run([*root, *step], check=False).returncode == 0 for step in steps)


def _is_root() -> bool:
    import os

    return hasattr(os, "geteuid") and os.geteuid() == 0


if __name__ == "__main__":
    main()
