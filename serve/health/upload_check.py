"""Check for `packshot doctor` that the store accepts uploads by the method that clients use."""

from packshot.settings.settings import Settings
from packshot.site import open_stores
from serve.health.findings import Finding, Problem, Status

ONE_TIME_TOKEN = "one_time_token"  # noqa: S105 - the name of a method
SETTING = "PACKSHOT_UPLOAD_METHOD"


def check_uploads(settings: Settings) -> Finding:
    """Send a small upload as clients do; if the store refuses it, name a method that works."""
    store = open_stores(settings)["uploads"]
    method = settings.upload_method
    if store.direct is None:
        return Finding("uploads", "to the application, as there is no bucket")
    if method == ONE_TIME_TOKEN:
        return Finding("uploads", "one_time_token: to the application")
    # boto3 takes long to import, and some installations lack it.
    from packshot.storage.upload_check import (
        POST,
        PUT,
        StoreUnreachable,
        UploadRefused,
        find_working_method,
        try_upload,
    )

    try:
        try_upload(store, store.direct, method)
    except StoreUnreachable as error:
        # Perhaps only clients can reach the address.
        name = "PACKSHOT_S3_PUBLIC_ENDPOINT_URL" if settings.s3_public_endpoint_url else "PACKSHOT_S3_ENDPOINT_URL"
        cure = f"correct {name}, or set {SETTING}={ONE_TIME_TOKEN} if clients do not reach that address either"
        reason = f"{method}: the store cannot be reached from here"
        return Finding("uploads", problems=(Problem(reason, cure, Status.DEGRADED, detail=str(error)),))
    except UploadRefused as error:
        works = find_working_method(store, store.direct, [PUT if method == POST else POST]) or ONE_TIME_TOKEN
        reason = f"the store refuses uploads by {method}"
        return Finding("uploads", problems=(Problem(reason, f"set {SETTING}={works}", detail=str(error)),))
    return Finding("uploads", f"{method}: the store accepts uploads")
