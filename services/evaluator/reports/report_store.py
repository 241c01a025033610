"""Reports in the store: `reports/<report_id>/` holds report.json and report.html."""

import hashlib
import logging
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime

from pydantic import ValidationError

from services.evaluator.reports.report import Report
from signet.errors import DataLoss, NotFound
from signet.store import ObjectStore, keys

_log = logging.getLogger(__name__)

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
    """report.json as stored. Raises `NotFound`."""
    try:
        return store.get(keys.report(report_id, JSON_FILE))
    except NotFound:
        raise NotFound(
            f"{store.url}: no report {report_id!r}. `signet reports` lists them; `signet evaluate` writes one."
        ) from None


def read_report_html(store: ObjectStore, report_id: str) -> str:
    """report.html as stored. Raises `NotFound`."""
    try:
        return store.get(keys.report(report_id, HTML_FILE)).decode()
    except NotFound:
        raise NotFound(f"{store.url}: report {report_id!r} has no page. `signet reports` lists reports.") from None


def read_report(store: ObjectStore, report_id: str) -> Report:
    """Read a report.

    Raises:
        NotFound: there is no such report.
        DataLoss: the report is damaged.
    """
    try:
        return Report.model_validate_json(read_report_json(store, report_id))
    except ValidationError as error:
        raise DataLoss(f"{store.url}: report {report_id!r} is damaged ({error.error_count()} faults).") from error


def list_reports(store: ObjectStore, limit: int | None = None) -> Sequence[Report]:
    """Reports, newest first, all or at most `limit`. A report that cannot be read is logged and left out."""
    prefix = keys.reports()
    names = (info.key.removeprefix(prefix) for info in store.list(prefix))
    ids = sorted((name.removesuffix(f"/{JSON_FILE}") for name in names if name.endswith(f"/{JSON_FILE}")), reverse=True)

    def read(report_id: str) -> Report | None:
        try:
            return read_report(store, report_id)
        except (DataLoss, NotFound) as error:
            _log.warning("%s It is left out of the list.", error)
            return None

    with ThreadPoolExecutor(_READERS) as readers:
        return [report for report in readers.map(read, ids[:limit]) if report is not None]
