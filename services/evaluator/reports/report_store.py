"""Reports in the store: `reports/<report_id>/` holds report.json and report.html."""

import hashlib
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime

from pydantic import ValidationError

from services.evaluator.reports.report import Report
from signet.errors import DataLoss, NotFound
from signet.store import ObjectStore, keys
from signet.store.strays import log_skipped_object, read_limited

JSON_FILE = "report.json"
HTML_FILE = "report.html"

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
            f"{store.url}: no report {report_id!r}. `signet reports` lists them; `signet evaluate` writes one."
        ) from None


def read_report_html(store: ObjectStore, report_id: str) -> str:
    """report.html as stored. Raises `NotFound`, and `DataLoss` if it is damaged."""
    try:
        return read_limited(store, keys.report(report_id, HTML_FILE)).decode()
    except UnicodeDecodeError as error:
        raise DataLoss(f"{store.url}: the page of report {report_id!r} is damaged: it is not UTF-8.") from error
    except NotFound:
        raise NotFound(f"{store.url}: report {report_id!r} has no page. `signet reports` lists reports.") from None


def read_report(store: ObjectStore, report_id: str) -> Report:
    """Read a report.

    Raises:
        NotFound: there is no such report.
        DataLoss: the report is damaged.
    """
    try:
        report = Report.model_validate_json(read_report_json(store, report_id))
    except ValidationError as error:
        raise DataLoss(f"{store.url}: report {report_id!r} is damaged ({error.error_count()} faults).") from error
    if report.report_id != report_id:
        raise DataLoss(f"{store.url}: report {report_id!r} is a copy of another report. Delete the copy.")
    return report


def list_reports(store: ObjectStore, limit: int | None = None) -> Sequence[Report]:
    """Reports, newest first, all or at most `limit`. What cannot be read as a report is logged once and left out."""
    ids = []
    for info in store.list(keys.reports()):
        report_id, file = keys.report_file(info.key)
        if not report_id:
            log_skipped_object(store, info.key, "it is not a file of a report. Delete it.")
        elif file == JSON_FILE:
            ids.append(report_id)
    ids.sort(reverse=True)

    def read(report_id: str) -> Report | None:
        try:
            return read_report(store, report_id)
        except NotFound:
            return None  # deleted since it was listed
        except DataLoss as error:
            log_skipped_object(store, keys.report(report_id, JSON_FILE), str(error))
            return None

    reports: list[Report] = []
    with ThreadPoolExecutor(_READERS) as readers:
        while ids and (limit is None or len(reports) < limit):
            count = len(ids) if limit is None else limit - len(reports)
            reports += [report for report in readers.map(read, ids[:count]) if report is not None]
            del ids[:count]
    return reports
