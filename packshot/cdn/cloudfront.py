"""CloudFront: invalidations by cache tag, or by path if a distribution keeps no tags."""

import os
import threading
from collections.abc import Callable, Sequence
from datetime import timedelta
from typing import Any, TypeVar

import botocore.session
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError
from botocore.parsers import ResponseParserError
from urllib3.exceptions import HTTPError

from packshot.cdn.base import REPEAT_AFTER, ProviderBusy
from packshot.cdn.paths import paths_of
from packshot.errors import Invalid

# S3 returns an object's metadata under this name, so bucket and application send the same header.
TAG_HEADER = "x-amz-meta-tags"
# A distribution allows 3,000 invalidation paths in progress, tags included, and 15 that end in `*`.
MAX_WILDCARDS = 15
_NO_ROOM = ("TooManyInvalidationsInProgress", "Throttling", "ThrottlingException", "RequestLimitExceeded")
_REFUSED = ("InvalidArgument", "BatchTooLarge", "InvalidationBatchAlreadyExists")
_CREDENTIALS = "check AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or the role or profile that replaces them"
_ADVICE = {
    "NoSuchDistribution": "this distribution does not exist: correct PACKSHOT_CLOUDFRONT_DISTRIBUTION",
    "AccessDenied": f"access denied: {_CREDENTIALS}, and allow cloudfront:CreateInvalidation, "
    "cloudfront:GetInvalidation and cloudfront:GetDistributionConfig",
    "InvalidClientTokenId": f"AWS does not know this access key: {_CREDENTIALS}",
    "SignatureDoesNotMatch": f"the secret key does not belong to the access key: {_CREDENTIALS}",
}

T = TypeVar("T")


class CloudFrontPurger:
    """One distribution. Credentials come from the usual AWS chain.

    With tags, the distribution's `CacheTagConfig` must name `x-amz-meta-tags`. Then one invalidation finds responses of
    the application and of the bucket. An erasure is also invalidated by its paths, because copies that were cached
    before tags were configured have none. Without tags, a change of a location invalidates all stable URLs, and any
    change invalidates all live ones.

    Args:
        distribution: its id.
        by_tags: whether it keeps tags.
        prefix: the path of the public URL before `/i/` and `/api/`; may contain `{tenant}`.
        live: paths that cover every live URL.
        endpoint_url: URL of another service with CloudFront's protocol; None: AWS.
    """

    repeat_after: timedelta | None = REPEAT_AFTER

    def __init__(
        self,
        distribution: str,
        *,
        by_tags: bool,
        prefix: str = "",
        live: Sequence[str] = (),
        endpoint_url: str | None = None,
    ) -> None:
        self.by_tags = by_tags
        # Half of a distribution's limit, so that two batches fit. The number of paths is small for any number of tags.
        self.most_tags = 1500 if by_tags else 1000
        self._distribution = distribution
        self._prefix = prefix
        self._live = live
        self._endpoint_url = endpoint_url
        self._making = threading.Lock()
        self._made: tuple[int, Any] | None = None

    def headers(self, tags: Sequence[str]) -> dict[str, str]:
        return {TAG_HEADER: ",".join(tags)} if self.by_tags else {}

    def purge(self, tags: Sequence[str], *, reference: str, erasing: bool) -> str:
        """Create an invalidation; for a known reference, return the existing one."""
        items = [f"#{tag}" for tag in tags] if self.by_tags else []
        if erasing or not self.by_tags:
            items += paths_of(tags, prefix=self._prefix, most=MAX_WILDCARDS, live=self._live)
        batch = {"Paths": {"Quantity": len(items), "Items": items}, "CallerReference": reference}
        answer = self._call(
            lambda client: client.create_invalidation(DistributionId=self._distribution, InvalidationBatch=batch)
        )
        return str(answer["Invalidation"]["Id"])

    def is_complete(self, provider_id: str) -> bool:
        answer = self._call(lambda client: client.get_invalidation(DistributionId=self._distribution, Id=provider_id))
        return bool(answer["Invalidation"]["Status"] == "Completed")

    def check(self) -> str:
        answer = self._call(lambda client: client.get_distribution_config(Id=self._distribution))
        config = answer["DistributionConfig"]
        if not config["Enabled"]:
            raise OSError(f"The distribution {self._distribution} is disabled: enable it.")
        header = config.get("CacheTagConfig", {}).get("HeaderName")
        if self.by_tags and str(header).lower() != TAG_HEADER:
            advice = f"set it to {TAG_HEADER}, or PACKSHOT_CLOUDFRONT_PURGE_BY to paths"
            raise OSError(f"The header of CacheTagConfig is {header or 'not set'}: {advice}.")
        return f"CloudFront, purged by {'tags' if self.by_tags else 'paths'}"

    def _call(self, act: Callable[[Any], T]) -> T:
        try:
            return act(self._client())
        except ClientError as error:
            raise self._translated(error) from error
        except (BotoCoreError, ResponseParserError, HTTPError) as error:
            raise OSError(f"CloudFront does not answer: {error}") from error

    def _translated(self, error: ClientError) -> Exception:
        code = error.response.get("Error", {}).get("Code", "")
        message = error.response.get("Error", {}).get("Message") or code
        if code in _NO_ROOM:
            return ProviderBusy(f"CloudFront: {message}")
        if code in _REFUSED:
            return Invalid(
                "CloudFront refuses the purge.", expected="an invalidation that it accepts", got=f"{code}: {message}"
            )
        return OSError(f"CloudFront: {_ADVICE.get(code) or f'{code}: {message}'}")

    def _client(self) -> Any:
        """Return this process's client. It is made on first use, because most processes purge nothing."""
        with self._making:
            if self._made is None or self._made[0] != os.getpid():
                session = botocore.session.Session()
                retries = {"mode": "standard", "total_max_attempts": 2}
                config = Config(connect_timeout=3, read_timeout=10, retries=retries)
                client = session.create_client(
                    "cloudfront", region_name="us-east-1", endpoint_url=self._endpoint_url, config=config
                )
                self._made = os.getpid(), client
            return self._made[1]
