"""Lets stores forget uploads in parts that will not become objects.

Only those of the journal: a listing of a bucket cannot tell whose an upload is.
"""

from __future__ import annotations

from catalogsync_assets.core.catalog.database import Catalog
from catalogsync_assets.core.errors import StoreError
from catalogsync_assets.core.stores.client import StoreClient
from catalogsync_assets.core.upload import journal
from catalogsync_assets.core.upload.journal import UnfinishedUpload

#: What a store answers that does not know the upload: it is completed, aborted or expired.
NO_SUCH_UPLOAD = "NoSuchUpload"
# The bucket of an earlier registration may be gone, with all that was in it.
_GONE = (NO_SUCH_UPLOAD, "NoSuchBucket")


def abort(catalog: Catalog, client: StoreClient, upload: UnfinishedUpload) -> StoreError | None:
    """Let the store forget the parts, then forget the upload.

    Does not raise: where this is called, there is a better error to report, or none.

    Returns:
        None once it is done; else why the store did not. Its row then stays for another time.
    """
    try:
        client.s3.abort_multipart_upload(
            Bucket=upload.bucket, Key=upload.locator, UploadId=upload.upload_id
        )
    except Exception as error:
        reason = client.error(error, "abort the upload of", upload.locator)
        if reason.code not in _GONE:
            return reason
    journal.forget(catalog, upload)
    return None


def abort_unfinished(catalog: Catalog, client: StoreClient, locator: str) -> None:
    """Abort what was begun at a key whose object is there already."""
    for upload in journal.unfinished(catalog, client.backend, locator):
        abort(catalog, client, upload)


def abort_abandoned(catalog: Catalog, client: StoreClient) -> int:
    """Abort uploads in parts that no task will complete, so that their parts are not paid for.

    At most a hundred at a time; what cannot be aborted now is left to another run. Without any,
    it costs one read of an index and no request.

    Returns:
        How many were aborted.
    """
    done = 0
    for upload in journal.abandoned(catalog, client.backend):
        refusal = abort(catalog, client, upload)
        if refusal is not None and refusal.retryable:
            break  # each of the others would wait as long
        done += refusal is None
    return done
