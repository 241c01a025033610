"""Reports in the store: `reports/<report_id>/` holds report.json and report.html."""

import hashlib
import threading
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from functools import partial

from pydantic import ValidationError

from services.evaluator.reports.report import Provenance, Report
from signet.errors import DataLoss, NotFound, quote
from signet.rpc.limits import MAX_MESSAGE_BYTES
from signet.store import ObjectStore, keys
from signet.store.strays import log_skipped_object, read_limited

JSON_FILE = "report.json"
HTML_FILE = "report.html"

# The most reports of an index. Without its clips, a report takes some kilobytes.
MAX_INDEXED = 1000

# Reports are read in parallel, because each read waits for the store.
_READERS = 8


def new_report_id(content: str, now: datetime | None = None) -> str:
    """An id that sorts by time: the UTC time in milliseconds, and a hash of the time and the content."""
    now = now or datetime.now(UTC)
    digest = hashlib.sha256(f"{now.isoformat()} {content}".encode()).hexdigest()[:8]
    return f"{now:%Y%m%dT%H%M%S}{now.microsecond // 1000:03d}Z-{digest}"


def store_report(store: ObjectStore, report: Report, html: str) -> None:
    """Store report.html first and report.json last, because a report is listed if it has a report.json."""
    store.create(keys.report(report.report_id, HTML_FILE), html.encode())
    store.create(keys.report(report.report_id, JSON_FILE), report.to_json())


def read_report_json(store: ObjectStore, report_id: str) -> bytes:
    """report.json as stored. Raises `NotFound`, and `DataLoss` if it is too large."""
    try:
        return read_limited(store, keys.report(report_id, JSON_FILE))
    except NotFound:
        raise NotFound(
            f"{store.url}: no report {quote(report_id)}. `signet reports` lists them; `signet evaluate` writes one."
        ) from None


def read_report_html(store: ObjectStore, report_id: str) -> str:
    """report.html as stored. Raises `NotFound`, and `DataLoss` if it is damaged."""
    try:
        return read_limited(store, keys.report(report_id, HTML_FILE)).decode()
    except UnicodeDecodeError as error:
        raise DataLoss(f"{store.url}: the page of report {quote(report_id)} is damaged: it is not UTF-8.") from error
    except NotFound:
        raise NotFound(f"{store.url}: report {quote(report_id)} has no page. `signet reports` lists reports.") from None


def read_report_texts(store: ObjectStore, report_id: str) -> tuple[str, str]:
    """report.json and report.html as stored, for one message.

    Raises:
        NotFound: there is no such report.
        DataLoss: it is damaged, or larger than a message can be.
    """
    data, html = read_report_json(store, report_id), read_report_html(store, report_id)
    size = len(data) + len(html.encode())
    if size > MAX_MESSAGE_BYTES:
        raise DataLoss(
            f"{store.url}: report {quote(report_id)} has {size} bytes; a message carries at most {MAX_MESSAGE_BYTES}. "
            "`signet reports` shows it from the store."
        )
    try:
        return data.decode(), html
    except UnicodeDecodeError as error:
        raise DataLoss(f"{store.url}: report {quote(report_id)} is damaged: it is not UTF-8.") from error


def read_report(store: ObjectStore, report_id: str) -> Report:
    """Read a report.

    Raises:
        NotFound: there is no such report.
        DataLoss: the report is damaged.
    """
    try:
        report = Report.model_validate_json(read_report_json(store, report_id))
    except ValidationError as error:
        raise DataLoss(f"{store.url}: report {quote(report_id)} is damaged ({error.error_count()} faults).") from error
    if report.report_id != report_id:
        raise DataLoss(f"{store.url}: report {quote(report_id)} is a copy of another report. Delete the copy.")
    return report


class ReportIndex:
    """The newest reports of a store, without their clips. It can be used from any thread.

    Reports never change, so each is read once. What is no report is left out until the process starts again.
    """

    def __init__(self, store: ObjectStore) -> None:
        self._store = store
        self._lock = threading.Lock()
        self._known: dict[str, Report | None] = {}

    def newest(self) -> Sequence[Report]:
        """At most `MAX_INDEXED` reports, newest first."""
        with self._lock:
            ids = list_report_ids(self._store)[:MAX_INDEXED]
            self._known = {report_id: self._known[report_id] for report_id in ids if report_id in self._known}
            unknown = [report_id for report_id in ids if report_id not in self._known]
            with ThreadPoolExecutor(_READERS) as readers:
                for report_id, report in zip(unknown, readers.map(self._read, unknown), strict=True):
                    self._known[report_id] = report
            return [report for report_id in ids if (report := self._known[report_id]) is not None]

    def find(self, provenance: Provenance) -> Report | None:
        """The newest report on this model, these clips and this code; None if there is none."""
        return next((report for report in self.newest() if report.provenance == provenance), None)

    def _read(self, report_id: str) -> Report | None:
        report = _read_if_usable(self._store, report_id)
        lists = {"clips": (), "per_gloss": (), "confusions": (), "notes": (), "left_out": ()}
        return report and report.model_copy(update={**lists, "nothing_signed": None, "continuous_signing": None})


def list_report_ids(store: ObjectStore) -> list[str]:
    """The ids of all reports, newest first. Objects that belong to no report are logged once and left out."""
    ids = []
    for info in store.list(keys.reports()):
        report_id, file = keys.report_file(info.key)
        if not report_id:
            log_skipped_object(store, info.key, "it is not a file of a report. Delete it.")
        elif file == JSON_FILE:
            ids.append(report_id)
    return sorted(ids, reverse=True)


def list_reports(store: ObjectStore, limit: int | None = None) -> Sequence[Report]:
    """Reports, newest first, all or at most `limit`. What cannot be read as a report is logged once and left out."""
    ids = list_report_ids(store)
    reports: list[Report] = []
    with ThreadPoolExecutor(_READERS) as readers:
        while ids and (limit is None or len(reports) < limit):
            count = len(ids) if limit is None else limit - len(reports)
            read = readers.map(partial(_read_if_usable, store), ids[:count])
            reports += [report for report in read if report is not None]
            del ids[:count]
    return reports


def _read_if_usable(store: ObjectStore, report_id: str) -> Report | None:
    try:
        return read_report(store, report_id)
    except NotFound:
        return None  # deleted since it was listed
    except DataLoss as error:
        log_skipped_object(store, keys.report(report_id, JSON_FILE), str(error))
        return None
