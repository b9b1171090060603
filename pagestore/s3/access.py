"""Finds endpoint, region and credentials like AWS's tools, for obstore, which is not an AWS client.

If environment variables alone decide, they are read here. If a profile, a configuration file, single sign-on or a role
is involved, botocore resolves them (150 ms to import), so precedence and refreshing are AWS's own. A set-up that
obstore cannot honour (proxies, private certificates, dual-stack or FIPS endpoints, unusual regions) is `Unsupported`
and needs boto3.
"""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit
from urllib.request import getproxies, proxy_bypass

from pagestore.s3.settings import S3Settings
from pagestore.s3.sigv4 import Credentials

if TYPE_CHECKING:
    import botocore.session

_ORDINARY_REGION = re.compile(r"(af|ap|ca|eu|il|me|mx|sa|us)-[a-z]+-\d", re.ASCII)
"""Regions whose host names end in amazonaws.com."""
_SWITCHES = ("AWS_USE_FIPS_ENDPOINT", "AWS_USE_DUALSTACK_ENDPOINT")
_PROFILE_OPTIONS = ("s3", "use_fips_endpoint", "use_dualstack_endpoint")


@dataclass(frozen=True, slots=True)
class Access:
    """What a client needs to know."""

    endpoint: str
    """Base URL of the server, without the bucket."""
    bucket_url: str
    """Base URL of the bucket's objects."""
    region: str
    credentials: Callable[[], Credentials]
    """Returns the current credentials; raises botocore's error if they cannot be fetched."""

    @property
    def by_host_name(self) -> bool:
        """Whether the bucket is part of the host name, not of the path."""
        return urlsplit(self.endpoint).netloc != urlsplit(self.bucket_url).netloc


@dataclass(frozen=True, slots=True)
class Unsupported:
    """A set-up that needs boto3."""

    reason: str
    """Why obstore cannot be used, as a clause of a sentence."""


@dataclass(frozen=True, slots=True)
class _Found:
    endpoint: str | None
    region: str | None
    credentials: Callable[[], Credentials]
    ca_bundle: str | None


def find_access(bucket: str, settings: S3Settings, environ: Mapping[str, str]) -> Access | Unsupported:
    """Return how to reach ``bucket`` through obstore; raises botocore's errors about profiles and credentials."""
    if find_spec("obstore") is None:
        return Unsupported("it is not installed (the extra 'fast': in a checkout, pip install '.[fast]')")
    if any(environ.get(name, "").lower() == "true" for name in _SWITCHES):
        return Unsupported("it does not support dual-stack and FIPS endpoints")
    found = _from_environment(environ) if _environment_decides(environ) else _from_botocore()
    if isinstance(found, Unsupported):
        return found
    region = settings.region or environ.get("AWS_REGION") or found.region or "us-east-1"
    endpoint = (settings.endpoint or found.endpoint or "").rstrip("/")
    if endpoint:
        bucket_url = f"{endpoint}/{bucket}"
    else:
        endpoint = f"https://s3.{region}.amazonaws.com"
        bucket_url = f"{endpoint}/{bucket}" if "." in bucket else f"https://{bucket}.s3.{region}.amazonaws.com"
    access = Access(endpoint, bucket_url, region, found.credentials)
    return _obstacle(access, found) or access


def _obstacle(access: Access, found: _Found) -> Unsupported | None:
    url = urlsplit(access.bucket_url)
    if access.endpoint.endswith(f".{access.region}.amazonaws.com") and not _ORDINARY_REGION.fullmatch(access.region):
        return Unsupported(f"it does not know the host of region {access.region}")
    if found.ca_bundle and url.scheme == "https":
        return Unsupported("AWS_CA_BUNDLE is set, and it refuses self-signed certificates")
    if url.scheme in getproxies() and not proxy_bypass(url.netloc):
        return Unsupported("requests go through a proxy here")
    return None


def _environment_decides(environ: Mapping[str, str]) -> bool:
    """Return whether the environment alone decides, without any file, profile or role."""
    config = Path(environ.get("AWS_CONFIG_FILE") or "~/.aws/config").expanduser()
    return (
        bool(environ.get("AWS_ACCESS_KEY_ID") and environ.get("AWS_SECRET_ACCESS_KEY"))
        and not environ.get("AWS_PROFILE")
        and not environ.get("AWS_DEFAULT_PROFILE")
        and not config.is_file()
    )


def _from_environment(environ: Mapping[str, str]) -> _Found:
    credentials = Credentials(
        environ["AWS_ACCESS_KEY_ID"], environ["AWS_SECRET_ACCESS_KEY"], environ.get("AWS_SESSION_TOKEN") or None
    )
    ignored = environ.get("AWS_IGNORE_CONFIGURED_ENDPOINT_URLS", "").lower() == "true"
    endpoint = environ.get("AWS_ENDPOINT_URL_S3") or environ.get("AWS_ENDPOINT_URL")
    return _Found(
        endpoint=None if ignored else endpoint,
        region=environ.get("AWS_DEFAULT_REGION"),
        credentials=lambda: credentials,
        ca_bundle=environ.get("AWS_CA_BUNDLE"),
    )


def _from_botocore() -> _Found | Unsupported:
    import botocore.session  # noqa: PLC0415 - takes 150 ms to import
    from botocore.exceptions import NoCredentialsError  # noqa: PLC0415

    session = botocore.session.get_session()
    profile: Mapping[str, Any] = session.get_scoped_config()
    option = next((name for name in _PROFILE_OPTIONS if name in profile), None)
    if option is not None:
        return Unsupported(f"the AWS profile sets {option}")
    held = session.get_credentials()
    if held is None:
        raise NoCredentialsError

    def credentials() -> Credentials:
        now = held.get_frozen_credentials()
        if now.access_key is None or now.secret_key is None:
            raise NoCredentialsError
        return Credentials(now.access_key, now.secret_key, now.token)

    return _Found(
        endpoint=_configured_endpoint(session),
        region=session.get_config_variable("region"),
        credentials=credentials,
        ca_bundle=session.get_config_variable("ca_bundle"),
    )


def _configured_endpoint(session: "botocore.session.Session") -> str | None:
    from botocore.configprovider import ConfiguredEndpointProvider  # noqa: PLC0415

    if session.get_config_variable("ignore_configured_endpoint_urls"):
        return None
    provider = ConfiguredEndpointProvider(
        full_config=session.full_config, scoped_config=session.get_scoped_config(), client_name="s3"
    )
    endpoint: str | None = provider.provide()
    return endpoint
