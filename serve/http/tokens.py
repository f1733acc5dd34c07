"""API tokens at the door: what was found once is believed for a few seconds."""

import time
from datetime import UTC, datetime

from packshot.catalog.clients.tokens import Token, digest_of
from packshot.site import Site
from resolvers.tokens import find_token

# So long after it was revoked does a token still let in, at most; docs/operating.md says so.
BELIEVED_SECONDS = 5.0


class Tokens:
    """Finds the token that a secret belongs to, by one statement every few seconds.

    What is not found is asked for each time: a token works from the moment it
    is made, and guesses take no room.
    """

    def __init__(self, site: Site) -> None:
        self._site = site
        self._found: dict[str, tuple[float, Token]] = {}

    def recent(self, secret: str) -> Token | None:
        """Return the token with that secret if it was found within the last seconds and is good; asks nobody."""
        asked_at, token = self._found.get(digest_of(secret), (0.0, None))
        is_recent = token is not None and time.monotonic() - asked_at < BELIEVED_SECONDS
        return token if is_recent and token is not None and token.is_good(datetime.now(UTC)) else None

    def find(self, secret: str) -> Token | None:
        """Return the token with that secret if it is good; blocks while the database is asked."""
        digest, now = digest_of(secret), time.monotonic()
        token = find_token(self._site, secret)
        if token is not None:
            self._found[digest] = (now, token)
        else:
            self._found.pop(digest, None)
        return token
