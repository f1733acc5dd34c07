"""Look up API tokens, with a cache of a few seconds."""

import time
from datetime import UTC, datetime

from packshot.catalog.clients.tokens import Token, digest_of
from packshot.site import Site
from resolvers.tokens import find_token

# Seconds for which a revoked token can still be accepted; see docs/operating.md.
BELIEVED_SECONDS = 5.0


class Tokens:
    """Finds tokens by their secrets, with one statement per token every few seconds.

    Unknown secrets are not cached: a token works as soon as it is created, and guesses take no memory.
    """

    def __init__(self, site: Site) -> None:
        self._site = site
        self._found: dict[str, tuple[float, Token]] = {}

    def recent(self, secret: str) -> Token | None:
        """Return the token from the cache if it was found recently and is valid. Reads nothing."""
        asked_at, token = self._found.get(digest_of(secret), (0.0, None))
        is_recent = token is not None and time.monotonic() - asked_at < BELIEVED_SECONDS
        return token if is_recent and token is not None and token.is_good(datetime.now(UTC)) else None

    def find(self, secret: str) -> Token | None:
        """Return the valid token with that secret; None: there is none. Reads the database."""
        digest, now = digest_of(secret), time.monotonic()
        token = find_token(self._site, secret)
        if token is not None:
            self._found[digest] = (now, token)
        else:
            self._found.pop(digest, None)
        return token
