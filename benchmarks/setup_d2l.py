"""Make the environment in which ``epoch.py`` measures the book's own package, d2l 1.0.3.

``python benchmarks/setup_d2l.py`` makes ``benchmarks/.venv-d2l``. It shares PyTorch with the environment that
runs this script, so that all sides of the comparison compute with the same build.
"""

import subprocess
import sys
import sysconfig
import venv
from pathlib import Path

__all__ = ["D2L_PYTHON", "main"]

FOLDER = Path(__file__).resolve().parent / ".venv-d2l"
D2L_PYTHON = FOLDER / ("Scripts" if sys.platform == "win32" else "bin") / "python"
"""Interpreter of that environment, whether or not it was made."""


def main() -> None:
    """Make the environment anew, and import d2l in it.

    Raises:
        subprocess.CalledProcessError: If a package cannot be installed or imported.
    """
    venv.create(FOLDER, clear=True, with_pip=True)
    own = sysconfig.get_path("purelib", vars={"base": str(FOLDER), "platbase": str(FOLDER)})
    (Path(own) / "shared.pth").write_text(f"{sysconfig.get_path('purelib')}\n")
    install = [str(D2L_PYTHON), "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
    subprocess.run([*install, "IPython", "matplotlib-inline", "requests", "pandas"], check=True)
    # Without dependencies: d2l pins old versions of NumPy and others, but runs with current ones.
    subprocess.run([*install, "--no-deps", "d2l==1.0.3"], check=True)
    subprocess.run([str(D2L_PYTHON), "-c", "import d2l.torch"], check=True)
    print(f"d2l 1.0.3 can be imported by {D2L_PYTHON}")


if __name__ == "__main__":
    main()
