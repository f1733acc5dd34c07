"""How S3 is called: with deadlines and retries, and every failure an `OSError`.

Nothing of botocore or urllib3 is raised to callers. The retries are not
botocore's, so that one budget bounds all of them, and so that wrong bytes and
conflicts are retried like the rest.
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
# Seconds; a pause is drawn from between nothing and twice the one before, the first from 0.2.
FIRST_PAUSE, LONGEST_PAUSE = 0.2, 2.0
_PASSING_STATUS = (408, 409, 429, 500, 502, 503, 504)
# Bytes that were changed on their way are BadDigest; AWS answers some passing faults with 400.
_PASSING_CODES = ("BadDigest", "RequestTimeout", "XAmzContentSHA256Mismatch", "XAmzContentChecksumMismatch")
_CREDENTIALS = "check AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or the role or profile that stands for them"
_REGION = "set PACKSHOT_S3_REGION to the bucket's region"
_NO_BUCKET = "the bucket does not exist: make it, or correct the setting that names it"
_CLOCK = "this machine's clock is wrong: set it, and keep it set by NTP"
# Seconds by which clocks may differ; S3 refuses what was signed a quarter of an hour away.
_MAX_SKEW = 840.0
_MEND = {
    "NoSuchBucket": _NO_BUCKET,
    "404": _NO_BUCKET,  # HEAD answers without a body, so with a status alone.
    "301": f"the bucket is in another region: {_REGION}",
    "InvalidBucketName": "no bucket can have that name: correct the setting that names it",
    "InvalidAccessKeyId": f"the store does not know this access key: {_CREDENTIALS}",
    "SignatureDoesNotMatch": f"the secret key is not that of the access key: {_CREDENTIALS}",
    "ExpiredToken": f"the credentials have expired: {_CREDENTIALS}",
    "InvalidToken": f"the session token is wrong: {_CREDENTIALS}",
    "RequestTimeTooSkewed": _CLOCK,
    "AuthorizationHeaderMalformed": f"the bucket is in another region: {_REGION}",
    "PermanentRedirect": f"the bucket is in another region: {_REGION}",
    "IllegalLocationConstraintException": f"the bucket is in another region: {_REGION}",
    "NotImplemented": "the store lacks what Packshot needs, conditional writes (If-None-Match) above all",
}
_DENIED = (
    f"access denied: {_CREDENTIALS}, and allow s3:GetObject, s3:PutObject and s3:DeleteObject on the bucket's objects "
    "and s3:ListBucket on the bucket (without which S3 denies what is merely absent)"
)

log = logging.getLogger(__name__)
T = TypeVar("T")

# It keeps S3's description, which takes 0.1 s to read, for every client of the process.
_loader = botocore.session.Session().get_component("data_loader")
_making = threading.Lock()


def _renew_lock() -> None:
    global _making
    _making = threading.Lock()


# A child would inherit a lock that another thread holds, and wait for ever.
os.register_at_fork(after_in_child=_renew_lock)


class Damaged(OSError):
    """Bytes came that are not those that were put, or not all of them; they are asked for again."""

    def __init__(self, text: str) -> None:
        super().__init__(errno.EIO, text)


class WrongBytes(Damaged, DamagedObject):
    """All bytes came, and are not those that were put. Changed on their way they are right the next time."""


class S3Client:
    """A bucket's client, one for each process: made when first used there, so it survives a fork.

    Args:
        endpoint_url: of an S3-compatible store; None: AWS.
        region: None: what the usual AWS configuration says, else us-east-1 at an `endpoint_url`.
        connect_seconds: longest wait for a connection, and for each part of a body to be taken.
        read_seconds: longest silence of the store while an answer is waited for.
        patience_seconds: no attempt is begun that a silent store could draw out beyond this.
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
        self._made: tuple[int, Any] | None = None
        self._known: tuple[int, Availability] | None = None

    def __getstate__(self) -> dict[str, Any]:
        return self.__dict__ | {"_made": None, "_known": None}

    def call(self, doing: str, act: Callable[[Any], T]) -> T:
        """Return what `act` does with the client of boto3; what may pass is tried again.

        While the store is known to be silent, one call at a time makes one attempt, and the others fail at once.

        Args:
            doing: what it is, for the error's text: "get a/b".
            act: repeatable; what it raises itself, other than `Damaged`, is passed on at once.

        Raises:
            DamagedObject: other bytes than were put came each time.
            OSError: an outage, EIO; or something to be mended, EINVAL, and its text says what.
        """
        with self._availability().trying() as is_probe:
            return self._try(doing, act, 1 if is_probe else ATTEMPTS)

    def _try(self, doing: str, act: Callable[[Any], T], attempts: int) -> T:
        begun = time.monotonic()
        # A store may fall silent twice in one attempt: before its answer and within it.
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
                    "S3 bucket %s, %s, attempt %d: %s; again.", self.bucket, doing, attempt, _describe_error(error)
                )
            time.sleep(wait)
            pause = min(pause * 2, LONGEST_PAUSE)
            attempt += 1

    def _availability(self) -> Availability:
        known = self._known
        if known is None or known[0] != os.getpid():
            # A process that was forked must not wait for a lock that a thread of its parent holds.
            with _making:
                known = self._known
                if known is None or known[0] != os.getpid():
                    self._known = known = os.getpid(), Availability(_outage, self._read_seconds)
        return known[1]

    def _client(self) -> Any:
        made = self._made
        if made is None or made[0] != os.getpid():
            with _making:
                made = self._made
                if made is None or made[0] != os.getpid():
                    self._made = made = os.getpid(), self._make()
        return made[1]

    def _make(self) -> Any:
        # At debug level botocore logs whole headers, and with them session tokens.
        chatty = logging.getLogger("botocore")
        chatty.setLevel(max(chatty.level, logging.INFO))
        # Its own session, since those are not for threads; a client is.
        session = botocore.session.Session()
        session.register_component("data_loader", _loader)
        region = self._region or session.get_config_variable("region")
        config = Config(
            connect_timeout=self._connect_seconds,
            read_timeout=self._read_seconds,
            retries={"total_max_attempts": 1},
            max_pool_connections=CONNECTIONS,
            tcp_keepalive=True,
            # Signed addresses too: the older kind cannot bind a header.
            signature_version="s3v4",
            # Packshot sends and verifies SHA-256 itself; other stores stumble over botocore's trailers.
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
    """Return the HTTP status of an answer that boto3 raised; 0 if it came without one."""
    return int(error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0))


def code_of(error: ClientError) -> str:
    """Return S3's own word for an answer that boto3 raised, "NoSuchKey"; of a HEAD the status as text."""
    return str(error.response.get("Error", {}).get("Code", ""))


def _skew_of(error: ClientError) -> float | None:
    """Return the seconds by which this machine's clock is ahead of the store's; None: they agree well enough."""
    said = error.response.get("ResponseMetadata", {}).get("HTTPHeaders", {}).get("date", "")
    try:
        skew = time.time() - parsedate_to_datetime(said).timestamp()
    except (TypeError, ValueError):
        return None
    return skew if abs(skew) > _MAX_SKEW else None


def may_pass(error: Exception) -> bool:
    """Whether asking again may well get another answer."""
    if isinstance(error, ClientError):
        return status_of(error) in _PASSING_STATUS or code_of(error) in _PASSING_CODES
    if isinstance(error, SSLError):
        return False
    return isinstance(error, (*_BROKEN, IncompleteReadError, ResponseParserError, Damaged))


def _describe_error(error: Exception) -> str:
    if isinstance(error, ClientError):
        code, status = code_of(error), status_of(error)
        said = error.response.get("Error", {}).get("Message", "")
        mend = _MEND.get(code) or (_DENIED if status in (401, 403) else None)
        if status in (401, 403) and (skew := _skew_of(error)):
            # The answer to a HEAD has no body, which would say RequestTimeTooSkewed.
            mend = f"{_CLOCK} (it is {abs(skew) / 60:.0f} minutes {'ahead' if skew > 0 else 'behind'} of the store's)"
        return f"{mend} ({status} {code})" if mend else f"the store answered {status} {code} {str(said)[:200]!r}"
    if isinstance(error, NoCredentialsError | PartialCredentialsError | CredentialRetrievalError):
        return f"no credentials were found: {_CREDENTIALS}"
    if isinstance(error, Damaged):
        return str(error.strerror)
    if isinstance(error, _BROKEN):
        name = type(error).__name__
        return f"the store cannot be reached or broke off ({name}): check PACKSHOT_S3_ENDPOINT_URL and the network"
    return f"{type(error).__name__}: {str(error)[:200]}"
