"""Fixtures that every test may use: fake credentials always, and S3 servers on loopback, started when needed.

    s3_moto_url      a fresh s3://bucket/prefix?endpoint=… on moto, which needs nothing installed
    seaweedfs_url    the same on SeaweedFS; real_s3
    minio_url        the same on MinIO; real_s3, skipped where there is no MinIO
    real_s3_url      the test runs twice, on SeaweedFS and on MinIO
    faulty_s3        moto behind a proxy, at ``faulty_s3.url``, that misbehaves as told (testbed/faulty_proxy.py)

A test that uses a real server is thereby marked ``real_s3``. The processes of ``pytest -n`` share each server.
"""

import os
import uuid

import hypothesis
import pytest

from testbed import s3_servers
from testbed.faulty_proxy import FaultyProxy
from testbed.shared_server import shared_server

# How long an example takes says how busy the machine is, nothing about the code.
hypothesis.settings.register_profile("graft", deadline=None, suppress_health_check=[hypothesis.HealthCheck.too_slow])
hypothesis.settings.load_profile("graft")

_REAL_SERVERS = {"seaweedfs_endpoint", "minio_endpoint", "real_s3_url"}


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items):
    for item in items:
        if not _REAL_SERVERS.isdisjoint(getattr(item, "fixturenames", ())):
            item.add_marker(pytest.mark.real_s3)


@pytest.fixture(scope="session", autouse=True)
def fake_aws_credentials():
    """No test sees the developer's credentials, profiles or endpoint."""
    with pytest.MonkeyPatch.context() as patch:
        for name in list(os.environ):
            if name.startswith("AWS_"):
                patch.delenv(name)
        for name, value in s3_servers.FAKE_AWS.items():
            patch.setenv(name, value)
        yield


@pytest.fixture(scope="session")
def servers_dir(tmp_path_factory):
    """A directory that all processes of this test run share."""
    own = tmp_path_factory.getbasetemp()
    return own.parent if "PYTEST_XDIST_WORKER" in os.environ else own


@pytest.fixture(scope="session")
def moto_endpoint(servers_dir):
    with shared_server(servers_dir / "moto", s3_servers.moto()) as endpoint:
        yield endpoint


@pytest.fixture(scope="session")
def seaweedfs_endpoint(servers_dir):
    with shared_server(servers_dir / "seaweedfs", s3_servers.seaweedfs()) as endpoint:
        yield endpoint


@pytest.fixture(scope="session")
def minio_endpoint(servers_dir):
    binary = s3_servers.find_minio()
    if binary is None:
        pytest.skip("MinIO is not installed; `make minio` builds it where Go is")
    with shared_server(servers_dir / "minio", s3_servers.minio(binary)) as endpoint:
        yield endpoint


@pytest.fixture
def s3_moto_url(moto_endpoint):
    return _fresh_url(moto_endpoint)


@pytest.fixture
def seaweedfs_url(seaweedfs_endpoint):
    return _fresh_url(seaweedfs_endpoint)


@pytest.fixture
def minio_url(minio_endpoint):
    return _fresh_url(minio_endpoint)


@pytest.fixture(params=["seaweedfs", "minio"])
def real_s3_url(request):
    return request.getfixturevalue(f"{request.param}_url")


@pytest.fixture
def faulty_s3(moto_endpoint):
    with FaultyProxy(moto_endpoint) as proxy:
        proxy.url = _fresh_url(proxy.endpoint)
        yield proxy


def _fresh_url(endpoint):
    return f"s3://{s3_servers.BUCKET}/{uuid.uuid4().hex}?endpoint={endpoint}"
