"""Known vulnerabilities of the libraries in uv.lock, by pip-audit; says how many it could ask about, and never guesses.

    python .ci/audit.py [--required]

Fails when a locked version is known to be vulnerable. PyPI's database is asked, then OSV's, then, for mirrors that
have no pages of single releases, PyPI's pages of the newest ones, which tell of a package that is locked at its newest.
Where none can be reached nothing was audited, and that is what it says: an error with --required, for releases, and
otherwise a warning, since a change can be right without a network. A package that a database does not know is named,
not counted as sound.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any

from packaging.requirements import Requirement

BIN = Path(sys.executable).parent
# diskcache unpickles what lies in its folder; llama-cpp-python, of the extra `llama`, has it for a cache that nothing
# here switches on.
DISKCACHE = "comes with llama-cpp-python, whose cache on disk is not used"
ACCEPTED: dict[str, str] = {  # id of an advisory -> why it does not concern us
    "CVE-2025-69872": DISKCACHE,
    "GHSA-w8v5-vhqr-4h9v": DISKCACHE,
    "PYSEC-2026-2447": DISKCACHE,
}


def main() -> int:
    with tempfile.TemporaryDirectory() as folder:
        locked = Path(folder) / "locked.txt"
        export = [str(BIN / "uv"), "export", "--quiet", "--frozen", "--all-extras", "--no-emit-project"]
        subprocess.run([*export, "--output-file", str(locked)], check=True, stdout=subprocess.DEVNULL)
        for service, ask in (("pypi", asked), ("osv", asked), ("pypi's newest releases", newest)):
            known, unknown, why = ask(service, locked)
            if known:
                return told(service, known, unknown)
            print(f"{service}: {why or 'knows none of the packages'}")
    print("NOT AUDITED: no vulnerability database could be reached. Run this where there is one before a release.")
    return int("--required" in sys.argv)


def asked(service: str, locked: Path) -> tuple[list[dict[str, Any]], list[str], str]:
    """Packages that the service knows, names of those that it does not, and what went wrong."""
    command = [sys.executable, "-m", "pip_audit", "--requirement", str(locked), "--disable-pip", "--format", "json"]
    command += ["--vulnerability-service", service, "--progress-spinner", "off"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    try:
        packages = json.loads(done.stdout)["dependencies"]
    except (json.JSONDecodeError, KeyError):
        return [], [], (done.stderr.strip().splitlines() or ["no answer"])[-1]
    known = [package for package in packages if "skip_reason" not in package]
    return known, [package["name"] for package in packages if "skip_reason" in package], ""


def newest(service: str, locked: Path) -> tuple[list[dict[str, Any]], list[str], str]:
    """As `asked`, without pip-audit."""
    known, unknown = list[dict[str, Any]](), list[str]()
    lines = [line.rstrip(" \\") for line in locked.read_text().splitlines() if "==" in line and line[0].isalnum()]
    for need in map(Requirement, lines):
        if need.marker and not need.marker.evaluate():
            continue
        version = str(need.specifier).removeprefix("==")
        try:
            with urllib.request.urlopen(f"https://pypi.org/pypi/{need.name}/json", timeout=20) as page:
                about = json.load(page)
        except urllib.error.HTTPError:
            about = {"info": {}}
        except OSError as error:
            return [], [], str(error)
        if about["info"].get("version") == version and "vulnerabilities" in about:
            bad = [{**v, "fix_versions": v["fixed_in"]} for v in about["vulnerabilities"] if not v["withdrawn"]]
            known.append({"name": need.name, "version": version, "vulns": bad})
        else:
            unknown.append(need.name)
    return known, unknown, ""


def told(service: str, known: list[dict[str, Any]], unknown: list[str]) -> int:
    found = [(p, v) for p in known for v in p["vulns"] if not {v["id"], *v["aliases"]} & ACCEPTED.keys()]
    for package, bad in found:
        mended = ", ".join(bad["fix_versions"]) or "no version yet"
        print(f"{package['name']} {package['version']}: {bad['id']} {' '.join(bad['aliases'])}; mended in {mended}")
    print(f"audited by {service}: {len(known)} packages, {len(found)} known vulnerabilities")
    if unknown:
        print(f"not audited, unknown there: {', '.join(unknown)}")
    return int(bool(found))


if __name__ == "__main__":
    sys.exit(main())
