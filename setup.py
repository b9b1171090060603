"""The one thing that pyproject.toml cannot say: the accelerator, in C, which is left out where there is no compiler."""

from pathlib import Path

from setuptools import Extension, setup

NATIVE = Path("graft_sqlite_vfs/native")

setup(
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
