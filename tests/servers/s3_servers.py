"""The S3 servers that the tests run against.

All of them know the one pair of obviously fake credentials, and have the bucket ``BUCKET``.
"""

import os
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from benchmarks.servers.process import HOST, ServerSpec
from benchmarks.servers.seaweedfs import (
    BUCKET,
    FAKE_AWS,
    FAKE_KEY_ID,
    FAKE_SECRET,
    bucket_works,
    environment,
    seaweedfs,
)

__all__ = ["BUCKET", "FAKE_AWS", "FAKE_KEY_ID", "FAKE_SECRET", "find_minio", "minio", "moto", "seaweedfs"]

ROOT = Path(__file__).parents[2]


def moto() -> ServerSpec:
    """Return moto: conditional writes and ranges are right, signatures are not checked."""

    def command(_data: Path, port: int) -> Sequence[str | Path]:
        return [sys.executable, "-m", "tests.servers.moto_main", str(port)]

    return ServerSpec(command, bucket_works, environment(PYTHONPATH=str(ROOT)))


def minio(binary: Path) -> ServerSpec:
    """Return MinIO."""

    def command(data: Path, port: int) -> Sequence[str | Path]:
        return [binary, "server", data, "--address", f"{HOST}:{port}", "--quiet"]

    settings = {"MINIO_ROOT_USER": FAKE_KEY_ID, "MINIO_ROOT_PASSWORD": FAKE_SECRET, "MINIO_CI_CD": "1"}
    return ServerSpec(command, bucket_works, environment(**settings, MINIO_BROWSER="off", MINIO_UPDATE="off"))


def find_minio() -> Path | None:
    """Return the binary that ``scripts/build-minio`` left, or one on PATH; in CI, build it where Go is."""
    built = ROOT / ".cache" / "bin" / "minio"
    if built.exists():
        return built
    on_path = shutil.which("minio")
    if on_path is not None:
        return Path(on_path)
    if os.environ.get("CI") == "true" and shutil.which("go"):
        subprocess.run([ROOT / "scripts" / "build-minio"], check=True)
        return built
    return None
