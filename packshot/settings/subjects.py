"""Names of callers, as change histories show them, that no identity provider may give out."""

import unicodedata

ADMIN = "admin"
MAX_SUBJECT_CHARACTERS = 255

# Of the admin token and of the installation's own programs.
_RESERVED = frozenset({ADMIN, "demo", "live upload", "unnamed"})
# Of API tokens, and of commands in a shell.
_RESERVED_PREFIXES = ("token:", "cli:")


def is_acceptable_subject(name: str) -> bool:
    """Whether a person from outside may have this name: printable, and not to be mistaken for one of ours."""
    plain = unicodedata.normalize("NFKC", name).casefold()
    return (
        0 < len(name) <= MAX_SUBJECT_CHARACTERS
        # Halves of surrogate pairs and control characters are not.
        and name.isprintable()
        and name == name.strip()
        and plain not in _RESERVED
        and not plain.startswith(_RESERVED_PREFIXES)
    )
