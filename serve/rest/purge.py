"""Purging one pack from the CDN by hand."""

from packshot.errors import NotFound
from packshot.ids import IdKind, global_id
from resolvers import purges
from serve.rest.calls import Call, Document, no_pack


def purge(call: Call) -> Document:
    """Purge a pack's copies from the CDN now.

    Raises:
        NotFound: the path names another tenant than the caller's, or the pack does not exist.
    """
    tenant = call.path["tenant"]
    if tenant != call.caller.tenant:
        raise NotFound("There is no such tenant.", field=("tenant",), got=tenant)
    try:
        job = purges.purge(call.caller, pack_ids=[call.pack_id], location=None)
    except NotFound:
        raise no_pack(call.path["id"]) from None
    return {"job": global_id(IdKind.JOB, job.id), "tenant": tenant, "id": call.pack_id}
