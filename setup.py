"""Builds the accelerator in C, which pyproject.toml cannot describe; without a compiler it is left out."""

import sys
from pathlib import Path

from setuptools import Extension, setup
from setuptools.command.build_ext import build_ext

NATIVE = Path("graft_sqlite_vfs/native")


class BuildAccelerator(build_ext):
    """Removes the accelerator of an earlier build where this one fails: Python would go on to load it."""

    def build_extension(self, ext: Extension) -> None:
        """Build it, or say on stderr that it is left out, and why."""
        try:
            super().build_extension(ext)
        except Exception as error:
            # Beside the sources, where an editable installation has it, and where this build would have put it.
            beside = Path(__file__).parent / self.get_ext_filename(ext.name)
            for stale in {beside, Path(self.get_ext_fullpath(ext.name))}:
                stale.unlink(missing_ok=True)
            sys.stderr.write(f"graft: the accelerator was not built, reads and commits take Python: {error}\n")
            raise  # setuptools goes on, since the extension is optional


setup(
    cmdclass={"build_ext": BuildAccelerator},
    ext_modules=[
        Extension(
            "graft_sqlite_vfs._accelerator",
            sources=sorted(map(str, NATIVE.glob("*.c"))),
            depends=sorted(map(str, NATIVE.glob("*.h"))),
            extra_compile_args=["-std=c11", "-O2", "-fvisibility=hidden", "-pthread"],
            extra_link_args=["-pthread"],
            optional=True,
        )
    ],
)
