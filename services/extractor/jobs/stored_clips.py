"""The stored clips of one corpus. A corpus holds landmarks of one origin only, and this module refuses any other."""

import contextlib
import logging
import time

from services.extractor.jobs.scan_cache import RecordCache
from services.extractor.tracking.trackers import describe_extractor
from signet.datasets.corpus import list_clips
from signet.errors import AlreadyExists, DataLoss, InvalidLandmarks, Unavailable, quote
from signet.landmarks import HEADER_BYTES, ClipRecord, read_record
from signet.store import ObjectInfo, ObjectStore, keys
from signet.store.strays import log_skipped_object

_log = logging.getLogger(__name__)

# The store does not retry conditional writes, because after a lost response the own object looks like a foreign one.
# Here the content tells them apart, so a retry is safe. These are the pauses in seconds; a restarting store is back in
# time.
_STORE_PAUSES = (0.5, 1.0, 2.0, 4.0)


class StoredClips:
    """The clips of a corpus that are in the store when this object is created. It can be used from any thread.

    Args:
        store: the store for the landmarks.
        corpus: name of the corpus in the store: landmarks/v1/<corpus>/.
        extractor: the extractor version of the clips that will be added.

    Raises:
        AlreadyExists: the corpus was made by another extractor.
    """

    def __init__(self, store: ObjectStore, corpus: str, extractor: str) -> None:
        self._store = store
        self._corpus = corpus
        self._extractor = extractor
        self._objects = {info.key: info for info in list_clips(store, corpus)}
        self._records = RecordCache(store, corpus)
        # Every writer checks the corpus before it adds to it, so checking one clip that is not damaged is enough.
        for key in sorted(self._objects):
            try:
                self._check_extractor(key, self._read_record(key))
                break
            except DataLoss as error:
                log_skipped_object(store, key, str(error))

    @property
    def clip_ids(self) -> frozenset[str]:
        """The ids of the clips that were stored when this object was created."""
        return frozenset(keys.clip_id(self._corpus, key) for key in self._objects)

    def __contains__(self, clip_id: str) -> bool:
        return keys.clip(self._corpus, clip_id) in self._objects

    def check_record(self, clip_id: str, /, **expected: object) -> ClipRecord:
        """Read the record of a stored clip, and compare its fields with the expected values.

        Raises:
            AlreadyExists: a field differs, or another extractor made the clip.
            DataLoss: the stored clip is damaged.
        """
        key = keys.clip(self._corpus, clip_id)
        record = self._records.find(self._objects[key]) if key in self._objects else None
        record = self._check_extractor(key, record or self._read_record(key))
        for field, value in expected.items():
            if (stored := getattr(record, field)) != value:
                raise self.conflict(clip_id, f"with {field} {quote(stored)}, not {quote(value)}")
        return record

    def create(self, clip_id: str, data: bytes) -> bool:
        """Store a clip. Returns False if another process has stored the same bytes in the meantime.

        Raises:
            AlreadyExists: another process has stored other bytes.
            Unavailable: the store cannot be reached, also after several attempts.
        """
        key = keys.clip(self._corpus, clip_id)
        for pause in (*_STORE_PAUSES, None):
            try:
                etag = self._store.create(key, data)
            except AlreadyExists:
                if self._store.get(key) != data:
                    raise self.conflict(clip_id, "made differently by another process just now") from None
                return False
            except Unavailable as error:
                if pause is None:
                    raise
                _log.warning("%s Trying again in %g s.", error, pause)
                time.sleep(pause)
            else:
                with contextlib.suppress(InvalidLandmarks):
                    self._records.add(ObjectInfo(key, len(data), etag), read_record(data[:HEADER_BYTES], key))
                self._records.save_if_due()
                return True
        raise AssertionError  # the last pause is None

    def save_records(self) -> None:
        """Save the records on this machine, so that the next scan need not read them from the store."""
        self._records.save()

    def conflict(self, clip_id: str, difference: str) -> AlreadyExists:
        """The error for a stored clip that differs from the clip to store."""
        return self._conflict(keys.clip(self._corpus, clip_id), difference)

    def _read_record(self, key: str) -> ClipRecord:
        head, etag = self._store.get_head_versioned(key, HEADER_BYTES)
        try:
            record = read_record(head, key)
        except InvalidLandmarks as error:
            raise DataLoss(
                f"{self._store.url}/{key}: damaged. Delete it, and extract or import again. ({error})"
            ) from error
        listed = self._objects.get(key)
        if listed is not None and listed.etag == etag:
            self._records.add(listed, record)
        return record

    def _check_extractor(self, key: str, record: ClipRecord) -> ClipRecord:
        if record.extractor != self._extractor:
            raise self._conflict(
                key, f"made by {describe_extractor(record.extractor)}, not by {describe_extractor(self._extractor)}"
            )
        return record

    def _conflict(self, key: str, difference: str) -> AlreadyExists:
        return AlreadyExists(
            f"{self._store.url}/{key}: is there already, {difference}. Landmarks of different origin are never mixed: "
            f"choose another --corpus than {quote(self._corpus)}, or delete {keys.clips(self._corpus)} first."
        )
