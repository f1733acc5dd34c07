"""The URLs that clients are given, each built in one place."""

from packshot.variants.key import Key

# How the bytes of an upload prove that they are the announced ones.
UPLOAD_TOKEN_HEADER = "X-Upload-Token"  # noqa: S105
UPLOAD_TOKEN_FIELD = "token"  # noqa: S105


def immutable_url(origin: str, key: Key | str) -> str:
    """Where one variant is for good."""
    return f"{origin}/i/{key}"


def stable_url(origin: str, pack_id: str, location: str | None = None) -> str:
    """Where whatever a pack shows now is found, at one location or its main one."""
    query = "" if location is None else f"?location={location}"
    return f"{origin}/api/v2/img/{pack_id}{query}"


def upload_url(origin: str, tenant: str, upload_id: str) -> str:
    """Where the application takes the bytes of an upload, with its token."""
    return f"{origin}/uploads/{tenant}/{upload_id}"


def original_url(origin: str, key: str, expires: int, signature: str) -> str:
    """Where an original can be read until `expires`, in seconds since 1970, by the application itself."""
    return f"{origin}/originals/{key}?expires={expires}&signature={signature}"


def report_url(origin: str, tenant: str, job_id: str, expires: int, signature: str) -> str:
    """Where a job's failures can be read as CSV until `expires`, in seconds since 1970."""
    return f"{origin}/reports/{tenant}/{job_id}.csv?expires={expires}&signature={signature}"
