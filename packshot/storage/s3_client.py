"""Calls to S3 with deadlines and retries; every failure becomes an `OSError`.

No exception of botocore or urllib3 reaches callers. Packshot retries itself instead of botocore, so that one time
limit covers all attempts, and so that wrong bytes and conflicts are retried too.
"""

import errno
import logging
import os
import random
import threading
import time
from collections.abc import Callable
from email.utils import parsedate_to_datetime
from typing import Any, TypeVar

import botocore.session
from botocore.config import Config
from botocore.exceptions import (
    BotoCoreError,
    ClientError,
    CredentialRetrievalError,
    HTTPClientError,
    IncompleteReadError,
    NoCredentialsError,
    PartialCredentialsError,
    SSLError,
)
from botocore.exceptions import ConnectionError as BotoConnectionError
from botocore.parsers import ResponseParserError
from urllib3.exceptions import HTTPError

from packshot.availability import Availability
from packshot.storage.base import DamagedObject

ATTEMPTS = 4
CONNECTIONS = 32
_BROKEN = (BotoConnectionError, HTTPClientError, HTTPError)
# Seconds. A pause is random between 0 and a limit; the limit starts at 0.2 and doubles after each attempt.
FIRST_PAUSE, LONGEST_PAUSE = 0.2, 2.0
_PASSING_STATUS = (408, 409, 429, 500, 502, 503, 504)
# BadDigest: bytes were changed on the way. AWS answers some temporary faults with status 400.
_PASSING_CODES = ("BadDigest", "RequestTimeout", "XAmzContentSHA256Mismatch", "XAmzContentChecksumMismatch")
_CREDENTIALS = "check AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or the role or profile that replaces them"
_REGION = "set PACKSHOT_S3_REGION to the bucket's region"
_NO_BUCKET = "the bucket does not exist: create it, or correct the setting that names it"
_CLOCK = "this machine's clock is wrong: set it, and keep it set by NTP"
# Seconds by which the clocks may differ. S3 refuses a signature that is more than 15 minutes off.
_MAX_SKEW = 840.0
_ADVICE = {
    "NoSuchBucket": _NO_BUCKET,
    "404": _NO_BUCKET,  # A response to HEAD has a status but no body.
    "301": f"the bucket is in another region: {_REGION}",
    "InvalidBucketName": "this is not a valid name of a bucket: correct the setting that names it",
    "InvalidAccessKeyId": f"the store does not know this access key: {_CREDENTIALS}",
    "SignatureDoesNotMatch": f"the secret key does not belong to the access key: {_CREDENTIALS}",
    "ExpiredToken": f"the credentials have expired: {_CREDENTIALS}",
    "InvalidToken": f"the session token is wrong: {_CREDENTIALS}",
    "RequestTimeTooSkewed": _CLOCK,
    "AuthorizationHeaderMalformed": f"the bucket is in another region: {_REGION}",
    "PermanentRedirect": f"the bucket is in another region: {_REGION}",
    "IllegalLocationConstraintException": f"the bucket is in another region: {_REGION}",
    "NotImplemented": "the store lacks a function that Packshot needs, such as conditional writes (If-None-Match)",
}
_DENIED = (
    f"access denied: {_CREDENTIALS}, and allow s3:GetObject, s3:PutObject and s3:DeleteObject on the bucket's objects "
    "and s3:ListBucket on the bucket (without it, S3 denies access to objects that do not exist)"
)

log = logging.getLogger(__name__)
T = TypeVar("T")

# Loads S3's service description, which takes 0.1 s, once for all clients of the process.
_loader = botocore.session.Session().get_component("data_loader")
_making = threading.Lock()


def _renew_lock() -> None:
    global _making
    _making = threading.Lock()


# A child process would inherit a lock that another thread holds, and wait forever.
os.register_at_fork(after_in_child=_renew_lock)


class Damaged(OSError):
    """The bytes that arrived are wrong or incomplete; the call is retried."""

    def __init__(self, text: str) -> None:
        super().__init__(errno.EIO, text)


class WrongBytes(Damaged, DamagedObject):
    """All bytes arrived, but not those that were put. If they were changed on the way, a retry helps."""


class S3Client:
    """The client of a bucket. Each process makes its own on first use, so this object survives a fork.

    Args:
        endpoint_url: URL of an S3-compatible store; None: AWS.
        region: None: from the AWS configuration, or us-east-1 if there is an `endpoint_url`.
        connect_seconds: longest wait for a connection, and for the store to accept each part of a body.
        read_seconds: longest silence of the store while a response is awaited.
        patience_seconds: no attempt starts that could last longer than this with a silent store.
    """

    def __init__(
        self,
        bucket: str,
        *,
        endpoint_url: str | None,
        region: str | None,
        connect_seconds: float,
        read_seconds: float,
        patience_seconds: float,
    ) -> None:
        self.bucket = bucket
        self._endpoint_url = endpoint_url
        self._region = region
        self._connect_seconds, self._read_seconds = connect_seconds, read_seconds
        self._patience_seconds = patience_seconds
        self._client_of_process: tuple[int, Any] | None = None
        self._availability_of_process: tuple[int, Availability] | None = None

    def __getstate__(self) -> dict[str, Any]:
        return self.__dict__ | {"_client_of_process": None, "_availability_of_process": None}

    def call(self, doing: str, act: Callable[[Any], T]) -> T:
        """Return the result of `act` with the client of boto3; temporary failures are retried.

        While the store is known to be silent, one call at a time makes one attempt, and other calls fail at once.

        Args:
            doing: the action, for the error's text: "get a/b".
            act: must be repeatable. Exceptions that it raises itself, other than `Damaged`, pass through at once.

        Raises:
            DamagedObject: every attempt got other bytes than were put.
            OSError: an outage (EIO); or a fault that an operator must correct (EINVAL), and the text says how.
        """
        with self._availability().trying() as is_probe:
            return self._try(doing, act, 1 if is_probe else ATTEMPTS)

    def _try(self, doing: str, act: Callable[[Any], T], attempts: int) -> T:
        begun = time.monotonic()
        # A store may fall silent twice in one attempt: before its response and within it.
        latest = begun + self._patience_seconds - self._connect_seconds - 2 * self._read_seconds
        pause = FIRST_PAUSE
        attempt = 1
        while True:
            try:
                return act(self._client())
            except (ClientError, BotoCoreError, ResponseParserError, HTTPError, Damaged) as error:
                wait = random.uniform(0, pause)  # noqa: S311 - only to spread the retries
                if not may_pass(error) or attempt == attempts or time.monotonic() + wait > latest:
                    text = f"S3 bucket {self.bucket}, {doing}, attempt {attempt}: {_describe_error(error)}"
                    if isinstance(error, DamagedObject):
                        raise WrongBytes(text) from error
                    raise OSError(errno.EIO if may_pass(error) else errno.EINVAL, text) from error
                log.info(
                    "S3 bucket %s, %s, attempt %d: %s; trying again.",
                    self.bucket,
                    doing,
                    attempt,
                    _describe_error(error),
                )
            time.sleep(wait)
            pause = min(pause * 2, LONGEST_PAUSE)
            attempt += 1

    def _availability(self) -> Availability:
        availability = self._availability_of_process
        if availability is None or availability[0] != os.getpid():
            # The lock is used only here: a forked process must not wait for a lock that a thread of its parent holds.
            with _making:
                availability = self._availability_of_process
                if availability is None or availability[0] != os.getpid():
                    self._availability_of_process = availability = (
                        os.getpid(),
                        Availability(_outage, self._read_seconds),
                    )
        return availability[1]

    def _client(self) -> Any:
        client = self._client_of_process
        if client is None or client[0] != os.getpid():
            with _making:
                client = self._client_of_process
                if client is None or client[0] != os.getpid():
                    self._client_of_process = client = os.getpid(), self._make()
        return client[1]

    def _make(self) -> Any:
        # At debug level, botocore logs whole headers, including session tokens.
        chatty = logging.getLogger("botocore")
        chatty.setLevel(max(chatty.level, logging.INFO))
        # A session of its own: sessions are not thread-safe, clients are.
        session = botocore.session.Session()
        session.register_component("data_loader", _loader)
        region = self._region or session.get_config_variable("region")
        config = Config(
            connect_timeout=self._connect_seconds,
            read_timeout=self._read_seconds,
            retries={"total_max_attempts": 1},
            max_pool_connections=CONNECTIONS,
            tcp_keepalive=True,
            # Also for signed URLs: the older signature version cannot bind a header.
            signature_version="s3v4",
            # Packshot sends and verifies SHA-256 itself; some other stores fail on botocore's trailers.
            request_checksum_calculation="when_required",
            response_checksum_validation="when_required",
            s3={"addressing_style": "path" if self._endpoint_url else "auto"},
        )
        return session.create_client(
            "s3",
            endpoint_url=self._endpoint_url,
            region_name=region or ("us-east-1" if self._endpoint_url else None),
            config=config,
        )


def _outage(error: Exception) -> OSError | None:
    is_outage = isinstance(error, OSError) and error.errno == errno.EIO and not isinstance(error, DamagedObject)
    return OSError(errno.EIO, error.strerror) if isinstance(error, OSError) and is_outage else None


def status_of(error: ClientError) -> int:
    """Return the HTTP status of a response that boto3 raised; 0: it has none."""
    return int(error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0))


def code_of(error: ClientError) -> str:
    """Return S3's error code of a response that boto3 raised, such as "NoSuchKey"; for a HEAD, the status as text."""
    return str(error.response.get("Error", {}).get("Code", ""))


def _skew_of(error: ClientError) -> float | None:
    """Return how many seconds this machine's clock is ahead of the store's; None: within the permitted difference."""
    date = error.response.get("ResponseMetadata", {}).get("HTTPHeaders", {}).get("date", "")
    try:
        skew = time.time() - parsedate_to_datetime(date).timestamp()
    except (TypeError, ValueError):
        return None
    return skew if abs(skew) > _MAX_SKEW else None


def may_pass(error: Exception) -> bool:
    """Whether a retry may succeed."""
    if isinstance(error, ClientError):
        return status_of(error) in _PASSING_STATUS or code_of(error) in _PASSING_CODES
    if isinstance(error, SSLError):
        return False
    return isinstance(error, (*_BROKEN, IncompleteReadError, ResponseParserError, Damaged))


def _describe_error(error: Exception) -> str:
    if isinstance(error, ClientError):
        code, status = code_of(error), status_of(error)
        message = error.response.get("Error", {}).get("Message", "")
        advice = _ADVICE.get(code) or (_DENIED if status in (401, 403) else None)
        if status in (401, 403) and (skew := _skew_of(error)):
            # The response to a HEAD has no body, which would name RequestTimeTooSkewed.
            advice = f"{_CLOCK} (it is {abs(skew) / 60:.0f} minutes {'ahead' if skew > 0 else 'behind'} of the store's)"
        return f"{advice} ({status} {code})" if advice else f"the store answered {status} {code} {str(message)[:200]!r}"
    if isinstance(error, NoCredentialsError | PartialCredentialsError | CredentialRetrievalError):
        return f"no credentials were found: {_CREDENTIALS}"
    if isinstance(error, Damaged):
        return str(error.strerror)
    if isinstance(error, _BROKEN):
        name = type(error).__name__
        return f"the store cannot be reached or broke off ({name}): check PACKSHOT_S3_ENDPOINT_URL and the network"
    return f"{type(error).__name__}: {str(error)[:200]}"
