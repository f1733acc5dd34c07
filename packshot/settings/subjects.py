"""Reserved names of callers. Change histories show them, so no identity provider may issue them."""

import unicodedata

ADMIN = "admin"
MAX_SUBJECT_CHARACTERS = 255

# Names of the admin token and of the installation's own programs.
_RESERVED = frozenset({ADMIN, "demo", "live upload", "unnamed"})
# Prefixes for API tokens and for commands in a shell.
_RESERVED_PREFIXES = ("token:", "cli:")


def is_acceptable_subject(name: str) -> bool:
    """Whether an external user may have this name: printable, and not similar to a reserved one."""
    plain = unicodedata.normalize("NFKC", name).casefold()
    return (
        0 < len(name) <= MAX_SUBJECT_CHARACTERS
        # Unpaired surrogates and control characters are not printable.
        and name.isprintable()
        and name == name.strip()
        and plain not in _RESERVED
        and not plain.startswith(_RESERVED_PREFIXES)
    )
