"""The S3 servers on loopback that tests and benchmarks start: SeaweedFS, MinIO and moto.

All of them know the one pair of obviously fake credentials, and have the bucket ``BUCKET``.
"""

import os
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import boto3
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError

from testbed.shared_server import HOST, ServerSpec, free_ports

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

_ROOT = Path(__file__).parents[1]
BUCKET = "graft-test"
FAKE_KEY_ID = "graft-test-fake-key-id"
FAKE_SECRET = "graft-test-fake-secret"
FAKE_AWS = {
    "AWS_ACCESS_KEY_ID": FAKE_KEY_ID,
    "AWS_SECRET_ACCESS_KEY": FAKE_SECRET,
    "AWS_DEFAULT_REGION": "us-east-1",
    "AWS_EC2_METADATA_DISABLED": "true",
    "AWS_CONFIG_FILE": os.devnull,
    "AWS_SHARED_CREDENTIALS_FILE": os.devnull,
    "NO_PROXY": HOST,
    "no_proxy": HOST,
}


def seaweedfs() -> ServerSpec:
    """Return SeaweedFS: master, volume server, filer and S3 gateway in one process."""
    binary = Path(sys.executable).parent / "weed"

    def command(data: Path, port: int) -> Sequence[str | Path]:
        master, volume, filer = free_ports(3, also_offset=10_000)
        return [
            binary if binary.exists() else "weed",
            "server",
            f"-dir={data}",
            f"-ip={HOST}",
            f"-ip.bind={HOST}",
            f"-master.port={master}",
            "-master.volumeSizeLimitMB=64",
            f"-volume.port={volume}",
            "-volume.max=200",
            f"-filer.port={filer}",
            "-s3",
            f"-s3.port={port}",
            "-s3.port.iceberg=0",
            "-s3.port.lance=0",
        ]

    return ServerSpec(command, bucket_works, environment())


def moto() -> ServerSpec:
    """Return moto: conditional writes and ranges are right, signatures are not checked."""

    def command(_data: Path, port: int) -> Sequence[str | Path]:
        return [sys.executable, "-m", "testbed.moto_main", str(port)]

    return ServerSpec(command, bucket_works, environment(PYTHONPATH=str(_ROOT)))


def minio(binary: Path) -> ServerSpec:
    """Return MinIO."""

    def command(data: Path, port: int) -> Sequence[str | Path]:
        return [binary, "server", data, "--address", f"{HOST}:{port}", "--quiet"]

    settings = {"MINIO_ROOT_USER": FAKE_KEY_ID, "MINIO_ROOT_PASSWORD": FAKE_SECRET, "MINIO_CI_CD": "1"}
    return ServerSpec(command, bucket_works, environment(**settings, MINIO_BROWSER="off", MINIO_UPDATE="off"))


def find_minio() -> Path | None:
    """Return the binary that ``scripts/build-minio`` left, or one on PATH; in CI, build it where Go is installed."""
    built = _ROOT / ".cache" / "bin" / "minio"
    if built.exists():
        return built
    on_path = shutil.which("minio")
    if on_path is not None:
        return Path(on_path)
    if os.environ.get("CI") == "true" and shutil.which("go"):
        subprocess.run([_ROOT / "scripts" / "build-minio"], check=True)
        return built
    return None


def bucket_works(endpoint: str) -> bool:
    """Make ``BUCKET`` at an S3 endpoint if it does not exist, and return whether objects can be put."""
    client = boto3.client(
        "s3",
        endpoint_url=endpoint,
        region_name="us-east-1",
        aws_access_key_id=FAKE_KEY_ID,
        aws_secret_access_key=FAKE_SECRET,
        config=Config(retries={"total_max_attempts": 1}, connect_timeout=2, read_timeout=5),
    )
    try:
        _ensure_bucket(client)
        client.put_object(Bucket=BUCKET, Key="ready", Body=b"ready")
        client.delete_object(Bucket=BUCKET, Key="ready")
    except (ClientError, BotoCoreError):
        return False
    finally:
        client.close()
    return True


def environment(**more: str) -> dict[str, str]:
    """Return this process's variables with the fake credentials in place of all AWS ones."""
    inherited = {name: value for name, value in os.environ.items() if not name.startswith("AWS_")}
    return inherited | FAKE_AWS | more


def _ensure_bucket(client: "S3Client") -> None:
    try:
        client.create_bucket(Bucket=BUCKET)
    except ClientError as error:
        if not error.response["Error"]["Code"].startswith("BucketAlready"):
            raise
